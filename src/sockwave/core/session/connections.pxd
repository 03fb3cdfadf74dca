"""The connected clients of a server, by number and in their order."""

from libc.stdint cimport uint64_t

cdef class Connections:
    """The connected clients of one server: see connections.pyx."""
    # In the order of their ids; None: it has left. A dict would take four times the memory.
    cdef list places
    cdef uint64_t* ids          # of each place
    cdef Py_ssize_t capacity    # of `ids`
    cdef Py_ssize_t left_count  # places of those who have left

    cdef int join(self, object connection, uint64_t id) except -1
    cdef int leave(self, uint64_t id) except -1
    cdef int have_ids(self, Py_ssize_t capacity) except -1
    cdef Py_ssize_t find_place(self, uint64_t id) noexcept
    cdef object find(self, object id)
    cdef int close_ranks(self) except -1

"""The connected clients of a server, by id and in the order of their ids."""

from libc.stdint cimport uint64_t

cdef class Connections:
    """The connected clients of one server: see connections.pyx."""
    # The connections in the order of their ids; None: this one has left. A dict would take four
    # times the memory.
    cdef list places
    cdef uint64_t* ids          # of the connection at each place
    cdef Py_ssize_t capacity    # how many `ids` has room for
    cdef Py_ssize_t left_count  # places of connections that have left

    cdef int join(self, object connection, uint64_t id) except -1
    cdef int leave(self, uint64_t id) except -1
    cdef int have_ids(self, Py_ssize_t capacity) except -1
    cdef Py_ssize_t find_place(self, uint64_t id) noexcept
    cdef object find(self, object id)
    cdef int close_ranks(self) except -1

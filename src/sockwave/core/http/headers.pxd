"""The header fields of one message, looked up without regard to case: RFC 9110, section 5."""

from libc.stdint cimport uint8_t, uint32_t

# One field line: where its name and its value, without the white space around it, stand in the
# block. In bytes.
cdef struct Field:
    uint32_t name_start, name_size
    uint32_t value_start, value_size

cdef class Headers:
    """Header fields in the order in which they were sent; a name may occur several times."""
    cdef bytes block            # the field lines, each with its CRLF, and perhaps what is around
    cdef uint32_t start, end    # where the first line begins, and the last one ends
    cdef Field* fields          # NULL: the lines have not been read yet
    cdef Py_ssize_t count

    cdef int read_lines(self) except -1
    cdef Py_ssize_t find(self, object name, Py_ssize_t start) except -2
    cdef str name_at(self, Py_ssize_t i)
    cdef str value_at(self, Py_ssize_t i)

cdef Headers headers_in(bytes block, uint32_t start, uint32_t end)

"""Response heads as bytes: RFC 9112, section 4."""

from libc.stdint cimport uint8_t

from sockwave.core.flag cimport flag

cdef enum:
    DATE_LINE_SIZE = 37         # "Date: Sun, 06 Nov 1994 08:49:37 GMT\r\n"
    NOT_GIVEN = -1

cdef class HeaderFields:
    """The header fields of a response as the application gives them. Those that frame the response
    stand apart from the others, as the server has its own say about them."""
    cdef uint8_t* block         # the field lines, each with its CRLF; NULL: there are none
    cdef size_t size, capacity
    cdef list options           # the elements of its Connection; None: it has none
    cdef Py_ssize_t length      # its Content-Length; NOT_GIVEN
    cdef flag has_date, has_upgrade, has_type

    cdef int add(self, object name, object value) except -1
    cdef int add_all(self, object headers) except -1
    cdef int add_raw_pairs(self, object headers) except -1
    cdef int add_raw(self, bytes name, bytes value) except -1
    cdef int append(
        self, const uint8_t* name, size_t name_size, const uint8_t* value, size_t value_size
    ) except -1
    cdef int add_values(self, object name, object value) except -1
    cdef bint has_taken_length(self, const uint8_t* at, const uint8_t* end) noexcept
    cdef bint frames(self, const uint8_t* name, size_t size, str value) except -1
    cdef bint has(self, const uint8_t* name, size_t size) noexcept
    cdef uint8_t* make_room(self, size_t size) except NULL

cpdef int check_status(object status) except -1
cpdef bint has_content(int status) noexcept
cdef HeaderFields copy_of(HeaderFields fields)
cdef bytes status_line(int status, object reason)
cdef const uint8_t* date_line() except NULL

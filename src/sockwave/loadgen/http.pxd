"""Requests of HTTP/1.1, and the check of their answers (Linux)."""

from libc.stdint cimport uint8_t

from sockwave.loadgen.exchange cimport Exchange, LoadClient

cdef class HttpExchange(Exchange):
    """The same request, again and again, and the same answer but for its Date."""
    cdef bytes request
    cdef bytes body             # of every answer
    cdef size_t body_size
    # The last head that was found right, and where the value of its Date is; others are compared
    # with it.
    cdef bytes accepted_head
    cdef size_t accepted_size, date_at

    cdef bint is_accepted(self, const uint8_t* data, size_t size) noexcept
    cdef size_t collect_head(self, LoadClient client, const uint8_t* data, size_t size) except 0
    cdef int accept_head(self, bytes head) except -1
    cdef int end_answer(self, LoadClient client) except -1

"""Server-sent events: HTML Living Standard, section 9.2."""

from sockwave.core.http.response cimport Response

cdef class EventStream:
    """The events of one response, and comments where there are none."""
    cdef object __weakref__
    cdef Response response
    cdef object loop
    cdef object timer           # of the next comment; None: there are no comments
    cdef double keepalive_s     # 0: no comments
    cdef double sent_at         # by the loop's clock

    cdef int set_timer(self) except -1
    cdef int cancel_timer(self) except -1

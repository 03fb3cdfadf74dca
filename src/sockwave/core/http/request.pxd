"""A request that does not upgrade, as the application sees it: RFC 9110, section 6."""

from sockwave.core.flag cimport flag
from sockwave.core.http.exchange cimport Exchange
from sockwave.core.http.request_head cimport RequestHead
from sockwave.core.io.transport cimport Transport

cdef class Request(RequestHead):
    """A request: its head, its body, and its client."""
    cdef Transport transport    # that its client is connected by
    # The exchange of a request that has a body; None: it has none, and `exchange` is not kept, so
    # that the two do not refer to each other.
    cdef Exchange exchange
    cdef object client          # as trusted proxies tell; None: there are none
    cdef bytes whole            # the whole body, once `body` has read it
    cdef flag is_claimed        # the application reads the body, or has begun to

    cdef bint is_over_tls(self) except -1
    cdef int claim(self) except -1
    cdef int check_thread(self) except -1

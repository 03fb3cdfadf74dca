"""Routes of requests: a function of the application for one path. RFC 9110, section 9."""

from sockwave.core.http.settings cimport Taker

cdef class RequestRoute(Taker):
    """Calls the application's function for each request that it takes."""
    cdef object handler
    cdef long code              # how it is called: see `core.events.emitter`

cdef class MethodRefusal(Taker):
    """Answers a request by a method that its path has not."""
    cdef str allowed            # the methods that it has, as `Allow` lists them

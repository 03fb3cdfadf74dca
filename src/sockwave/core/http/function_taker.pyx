"""A function that takes requests in place of the listeners of `request`."""

from sockwave.core.http.exchange cimport Exchange


cdef class FunctionTaker(Taker):
    """Calls a function with each request that it takes, and with the response."""

    def __init__(self, function):
        self.function = function

    cdef int take(self, object exchange, object request, object response) except -1:
        try:
            self.function(request, response)
        except Exception as error:
            (<Exchange>exchange).listener_failed(error)
        return 0

"""A function that takes requests in place of the listeners of `request`."""

from sockwave.core.http.settings cimport Taker

cdef class FunctionTaker(Taker):
    """Calls a function with each request that it takes, and with the response."""
    cdef object function        # (request, response) → nothing; it answers, or begins to

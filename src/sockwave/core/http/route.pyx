"""Routes of requests: a function of the application for one path. RFC 9110, section 9."""

from inspect import isawaitable

from sockwave.core.events.emitter cimport Hooks, call_one, code_of
from sockwave.core.events.waiter cimport Done
from sockwave.core.http.exchange cimport Exchange

from sockwave.core.events.emitter import SERVER_EVENTS
from sockwave.timeouts import outcome_of


# ---- how a route's function is called: as a listener, and what it returns is the answer

cdef int failed(object emitter, object error) except -1:
    (<Exchange>emitter).listener_failed(error)
    return 0


cdef int started(object emitter, object coroutine) except -1:
    # `outcome_of` wraps what a plain function has returned: an awaitable, no coroutine.
    is_plain = getattr(coroutine, "cr_code", None) is outcome_of.__code__
    (<Exchange>emitter).listener_started(coroutine, is_plain)
    return 0


cdef bint is_settled(object emitter, object result) except -1:
    """Answer a request with what its function has returned, unless that has to be awaited."""
    cdef Exchange exchange = <Exchange>emitter
    if result is None or type(result) is Done:
        return True
    if not isinstance(result, (str, bytes, dict, list, tuple)) and isawaitable(result):
        return False
    exchange.answer(result)
    return True


cdef Hooks hooks
hooks.add = NULL
hooks.drop_once = NULL
hooks.failed = failed
hooks.started = started
hooks.is_settled = is_settled


cdef class RequestRoute(Taker):
    """Calls the application's function for each request that it takes.

    Raises TypeError for a function that cannot be called with a request and its response.
    """

    def __init__(self, handler):
        self.handler = handler
        self.code = code_of(SERVER_EVENTS, "request", handler, False)
        self.limits_body = True

    cdef int take(self, object exchange, object request, object response) except -1:
        (<Exchange>exchange).plain_count = 1
        (<Exchange>exchange).takes_result = True
        return call_one(exchange, &hooks, self.handler, self.code, request, response)


cdef class MethodRefusal(Taker):
    """Answers a request by a method that its path has not."""

    def __init__(self, methods):
        found = set(methods)
        if "GET" in found:
            found.add("HEAD")
        self.allowed = ", ".join(sorted(found))
        self.limits_body = True

    cdef int take(self, object exchange, object request, object response) except -1:
        # RFC 9110, 15.5.6: "The origin server MUST generate an Allow header field in a 405 response
        # containing a list of the target resource's currently supported methods."
        response.write_head(
            405, {"Allow": self.allowed, "Content-Type": "text/plain; charset=utf-8"}
        )
        response.end(f"expected the method {self.allowed}\n")
        return 0

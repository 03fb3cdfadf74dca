"""One call of an ASGI application for a request: ASGI's HTTP Connection Format 2.4."""

from cpython.object cimport PyObject
from libc.stdint cimport uint8_t

from sockwave.core.asgi.scope cimport ScopeTemplate
from sockwave.core.asgi.waiting cimport Waiting
from sockwave.core.flag cimport flag
from sockwave.core.http.connection cimport HttpConnection
from sockwave.core.http.exchange cimport Exchange, Watcher
from sockwave.core.http.request cimport Request
from sockwave.core.http.response cimport Response
from sockwave.core.http.settings cimport Taker
from sockwave.core.session.hub cimport Hub

# How far the response is.
cdef enum ResponsePhase:
    IDLE                        # its head is not known
    BODY                        # its head is known, and leaves with the first of the body, or soon
    TRAILERS                    # its body is whole
    COMPLETE                    # nothing more is taken

cdef class ApplicationTaker(Taker):
    """Calls an application for each request that it takes."""
    cdef readonly object application
    cdef ScopeTemplate template
    cdef Hub hub                # whose calls share tasks
    cdef object call_type       # a subclass of `ApplicationCall`
    cdef object find_tls        # transport → what is known of the client's TLS, for the scope
    cdef readonly object report

cdef class ApplicationCall(Watcher):
    """A request and its response, as an application sees them by `receive` and `send`.

    It is the coroutine of its task: each step of the task is a step of the application's coroutine.
    """
    cdef readonly ApplicationTaker taker
    cdef readonly Exchange exchange
    cdef HttpConnection connection      # until the application is called
    cdef readonly Request request
    cdef readonly Response response
    cdef object coroutine       # the application's; None: it has not begun, or has ended
    cdef Waiting waiting        # the tasks that wait in `receive`; None: none has
    cdef uint8_t phase          # a ResponsePhase
    cdef flag has_begun
    cdef flag is_stepping       # the application's coroutine takes a step now
    cdef flag has_trailers
    cdef flag awaits_body       # a call of the loop is going to send the head, if nothing comes
    cdef flag is_body_given     # all of the body has been given
    cdef readonly bint is_detached      # the response can reach the client no longer

    cdef object begin(self)
    cdef object advance(self, object error)
    cdef object next_message(self)
    cdef int wake(self) except -1
    cdef Waiting waiting_here(self)
    cdef int take_start(self, object message) except -1
    cdef object take_body(self, object message)
    cdef int end_response(self, bytes body) except -1
    cdef int complete(self) except -1
    cdef int expect_body(self) except -1

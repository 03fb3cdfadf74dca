"""One call of an ASGI application for a request: ASGI's HTTP Connection Format 2.4.

What nearly every request does is here; the rest is in the subclass, `sockwave.asgi.http`.
"""

from asyncio import CancelledError, sleep
from collections.abc import Coroutine

from cpython.object cimport PyObject
from cpython.ref cimport Py_DECREF

from sockwave.core.asgi.received cimport received
from sockwave.core.events.emitter cimport raise_pending
from sockwave.core.http.response_head cimport NOT_GIVEN, HeaderFields
from sockwave.core.session.calls cimport OF_REQUEST

from sockwave.core.events.waiter import DONE
from sockwave.errors import ClientDisconnected

cdef extern from "Python.h":
    int PYGEN_RETURN, PYGEN_NEXT
    int send_to "PyIter_Send" (object coroutine, object value, PyObject** result) noexcept
    bint is_coroutine "PyCoro_CheckExact" (object) noexcept
    PyObject* find_item "PyDict_GetItem" (object mapping, object key)
    ctypedef struct PyTypeObject:
        pass
    object call_vector "PyObject_Vectorcall" (
        object callable, PyObject* const* arguments, size_t count, PyObject* names
    )

cdef extern from *:
    """
    #define sockwave_new(type, arguments, words) (type)->tp_new(type, arguments, words)
    """
    # Returns a bound method, without a look into the class: that would ask `__getattr__`'s slot.
    object bind "PyMethod_New" (object function, object owner)
    object new_of "sockwave_new" (PyTypeObject* type, object arguments, PyObject* words)

# A head waits so many seconds for the first part of the body, to leave with it. Then it leaves
# alone: the client of an event stream waits for it, and the first event may be a long time off.
cdef double HEAD_S = 0.01

# What `advance` returns when the application has ended.
cdef object ENDED = object()


cdef inline object item_of(object message, object key, object default):
    """Return what a message has under a key; `default` where it has nothing."""
    cdef PyObject* found
    if type(message) is dict:
        found = find_item(message, key)
        return default if found is NULL else <object>found
    return message.get(key, default)


cdef class ApplicationTaker(Taker):
    """Calls an application for each request that it takes."""

    def __init__(self, application, ScopeTemplate template, Hub hub, call_type, find_tls, report):
        self.application = application
        self.template = template
        self.hub = hub
        self.call_type = call_type
        self.find_tls = find_tls
        self.report = report

    cdef int take(self, object exchange, object request, object response) except -1:
        """Call the application for a request, from the loop's next turn on."""
        cdef ApplicationCall call = new_of(<PyTypeObject*>self.call_type, (), NULL)
        call.taker = self
        call.exchange = exchange
        call.request = request
        call.response = response
        call.connection = <HttpConnection>call.exchange.carrier
        call.exchange.watch(call)
        self.hub.calls.start(call, None, OF_REQUEST)
        return 0


cdef class ApplicationCall(Watcher):
    """A request and its response, as an application sees them by `receive` and `send`.

    Nothing cancels the application: that the client has gone is told by `http.disconnect`, and by
    ClientDisconnected that `send` raises.
    """

    # ---- the coroutine of its task

    cdef object begin(self):
        """Call the application, and return its coroutine."""
        # The exchange may have lost it by now: its client may have gone since the request came.
        cdef HttpConnection connection = self.connection
        cdef ApplicationTaker taker = self.taker
        cdef dict scope
        cdef PyObject* arguments[3]
        if self.request.client is None:
            client = connection.client_address()
        else:
            client = self.request.client.address
        scope = taker.template.make(
            self.request, self.request.is_over_tls(),
            client if type(client) is tuple else None, connection.server_address(),
            connection.settings.get_debug(),
        )
        if self.request.transport.is_secure:
            tls = taker.find_tls(self.request.transport)
            if tls is not None:
                scope["extensions"]["tls"] = tls
        self.connection = None
        receive = bind(plain_receive, self)
        send = bind(plain_send, self)
        arguments[0] = <PyObject*>scope
        arguments[1] = <PyObject*>receive
        arguments[2] = <PyObject*>send
        coroutine = call_vector(taker.application, arguments, 3, NULL)
        if is_coroutine(coroutine) or isinstance(coroutine, Coroutine):
            return coroutine
        return coroutine.__await__()

    cdef object advance(self, object error):
        """Take one step of the application: by an error that is raised where it waits, if one is
        given. Returns what it waits for; ENDED when it has ended."""
        cdef PyObject* result = NULL
        cdef int status
        if self.has_begun and self.coroutine is None:
            raise RuntimeError("expected a call that has not ended yet")
        try:
            if not self.has_begun:
                self.has_begun = True
                if error is not None:
                    raise error
                self.coroutine = self.begin()
            self.is_stepping = True
            if error is not None:
                return self.coroutine.throw(error)
            status = send_to(self.coroutine, None, &result)
            if status < 0:
                raise_pending()
            given = <object>result
            Py_DECREF(given)
            if status == PYGEN_NEXT:
                if self.phase == BODY and not self.awaits_body and not self.response.headers_sent:
                    self.expect_body()
                return given
        except StopIteration:
            pass
        except (KeyboardInterrupt, SystemExit):
            self.coroutine = None
            raise
        except CancelledError:
            self.coroutine = None
            self.cancelled()
            raise
        except BaseException as raised:
            self.coroutine = None
            self.failed(raised)     # the response is complete after that
        finally:
            self.is_stepping = False
        self.coroutine = None
        if self.phase != COMPLETE:
            self.returned()
        return ENDED

    def __await__(self):
        return self

    def __iter__(self):
        return self

    def __next__(self):
        given = self.advance(None)
        if given is ENDED:
            raise StopIteration
        return given

    def send(self, value):
        """Take one step; a task sends nothing but None into its coroutine."""
        return self.__next__()

    def throw(self, *error):
        """Raise an error where the application waits."""
        given = self.advance(error[0] if isinstance(error[0], BaseException) else error[0]())
        if given is ENDED:
            raise StopIteration
        return given

    def close(self):
        """End a call that will not go on; one that has not begun is answered for."""
        if not self.has_begun:
            self.has_begun = True
            self.cancelled()
        elif self.coroutine is not None:
            self.coroutine.close()

    def __getattr__(self, name):
        """Look like the application's coroutine, where asyncio lists tasks and shows their stacks.
        """
        if self.coroutine is None:
            if name == "__qualname__" or name == "__name__":
                return type(self).__name__
            raise AttributeError(name)
        return getattr(self.coroutine, name)

    # ---- called by the HTTP side

    cdef int body_arrived(self) except -1:
        return self.wake()

    cdef int detached(self) except -1:
        self.is_detached = True
        return self.wake()

    cdef int wake(self) except -1:
        """Let `receive` look again."""
        if self.waiting is not None:
            self.waiting.wake()
        return 0

    cdef Waiting waiting_here(self):
        """Return the tasks that wait: most calls never have any."""
        if self.waiting is None:
            self.waiting = Waiting()
        return self.waiting

    # ---- called by the application

    cdef object next_message(self):
        """Return the next part of the body, or `http.disconnect` once all is over; None: wait.

        A body that has arrived whole is given even if its client has gone meanwhile.
        """
        cdef bint is_received = self.exchange.is_received
        if self.phase == COMPLETE or (
            self.is_detached and (self.is_body_given or not is_received)
        ):
            return {"type": "http.disconnect"}
        if not self.is_body_given:
            if self.exchange.content is not None or is_received:
                body = b"" if self.exchange.content is None else self.exchange.take_content()
                self.is_body_given = is_received
                return {"type": "http.request", "body": body, "more_body": not is_received}
            self.exchange.want_body()
        return None

    def receive(self):
        """Return the next part of the body, or `http.disconnect` once all is over."""
        cdef bint is_over = self.phase == COMPLETE or self.is_detached
        message = self.next_message()
        if message is None:
            return self._receive_later()
        if is_over and message["type"] == "http.disconnect" and self.waiting_here().is_pressed():
            return self._tell_later(message)
        return received(message)

    async def _receive_later(self):
        message = None
        while message is None:
            await self.waiting_here().wait()
            message = self.next_message()
        return message

    async def _tell_later(self, message):
        await sleep(0)
        return message

    def send_message(self, message):
        """Take a message of the application; awaiting it waits while the client is slow.

        Raises ClientDisconnected if the client has gone, RuntimeError for a message that may not
        come now, TypeError or ValueError for one that cannot be sent as it is.
        """
        kind = message["type"]
        if self.is_detached and self.phase != COMPLETE:
            raise ClientDisconnected("the client has gone")
        if self.phase == BODY and kind == "http.response.body":
            return self.take_body(message)
        if self.phase == IDLE and kind == "http.response.start":
            self.take_start(message)
            return DONE
        return self.take_other(self.phase, kind, message)

    cdef int take_start(self, object message) except -1:
        """Keep the head of the response: it leaves with the first part of the body."""
        cdef HeaderFields fields = HeaderFields.__new__(HeaderFields)
        headers = item_of(message, "headers", None)
        if headers is not None:
            fields.add_raw_pairs(headers)
        self.response.set_status(item_of(message, "status", None), None)
        self.response.fields = fields
        self.response.is_head_given = True
        self.has_trailers = bool(item_of(message, "trailers", False))
        self.phase = BODY
        # In a step of the application, its end tells whether the body is long in coming. Here it is
        # another task of the application's that answers.
        return 0 if self.is_stepping else self.expect_body()

    cdef int expect_body(self) except -1:
        """Have the head sent in a while, as the application waits and has sent nothing behind it.
        """
        self.awaits_body = True
        self.exchange.settings.engine.loop.call_later(HEAD_S, self._send_head)
        return 0

    def _send_head(self):
        """Send the head alone, if it still waits."""
        if self.phase == BODY and not self.is_detached and not self.response.headers_sent:
            self.response.write(b"")

    cdef object take_body(self, object message):
        cdef bint is_last = not item_of(message, "more_body", False)
        body = item_of(message, "body", b"")
        if type(body) is not bytes:
            if not isinstance(body, (bytes, bytearray, memoryview)):
                raise TypeError(f"body: expected bytes, given {type(body).__name__}")
            body = bytes(body)
        if is_last and not self.has_trailers:
            self.end_response(body)
            return DONE
        drained = self.response.write(body)
        if is_last:     # not `end`, which would frame it by its length
            self.phase = TRAILERS
        return drained if drained is DONE and not self.is_detached else self._wait(drained)

    async def _wait(self, drained):
        """Wait until the client has taken most of what was sent to it."""
        await drained
        if self.is_detached:
            raise ClientDisconnected("the client has gone")

    cdef int end_response(self, bytes body) except -1:
        """End the response; the client need not have taken it."""
        self.exchange.is_claimed = False        # the rest of the body is dropped as it arrives
        if self.exchange.is_head and not body and self.response.fields.length == NOT_GIVEN:
            # RFC 9110, 8.6: no Content-Length in the answer to HEAD "unless its field value equals"
            # that of the answer to GET, which an application that leaves out the body has not told.
            self.response.write(b"")
        self.response.end(body)
        return self.complete()

    cdef int complete(self) except -1:
        self.phase = COMPLETE
        return self.wake()

    # ---- for the subclass

    @property
    def is_complete(self):
        """Whether the response is complete."""
        return self.phase == COMPLETE

    def _end(self):
        """End the response, whose body is whole."""
        self.end_response(b"")

    def _complete(self):
        """Take nothing more, and tell the application so."""
        self.complete()


# What applications call.
cdef object plain_receive = ApplicationCall.receive
cdef object plain_send = ApplicationCall.send_message

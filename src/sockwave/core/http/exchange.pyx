"""One request and its response: how far both have come. RFC 9112, sections 6 and 9.3."""

from asyncio import CancelledError

cimport cython
from cpython.bytearray cimport PyByteArray_AS_STRING, PyByteArray_GET_SIZE, PyByteArray_Resize
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.string cimport memcpy

from sockwave.core.events.waiter cimport Done

from sockwave.errors import ClientDisconnected, Refused
from sockwave.refusals import refuse_body

cdef enum:
    # Of a body without a limit: so much is read and dropped where the application leaves it, so
    # that the connection can go on.
    UNREAD_SIZE = 1048576

cdef bytes CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


cdef bint is_answer(object result) except -1:
    """Tell whether a route's function has returned an answer, and has not used the response."""
    if isinstance(result, (str, bytes, dict, list, tuple)):
        return True
    return result is not None and type(result) is not Done and not hasattr(result, "_answer")


cdef class Watcher:
    """What is told of an exchange: a call of an application that reads the body itself."""

    cdef int body_arrived(self) except -1:
        return 0

    cdef int detached(self) except -1:
        return 0


cdef class Carrier(Receiver):
    """The connection that carries exchanges, as an exchange calls it."""

    cdef int write(self, object owner, const uint8_t* data, size_t size) except -1:
        return 0

    cdef bint is_last(self) except -1:
        return True

    cdef int finished(self, bint close) except -1:
        return 0

    cdef int body_taken(self) except -1:
        return 0

    cdef int body_expected(self) except -1:
        return 0

    cdef int drop(self) except -1:
        return 0

    cdef int keep_task(self, object task) except -1:
        return 0

    cdef int answer_500(self, Exchange exchange) except -1:
        return 0


@cython.freelist(64)
cdef class Exchange:
    """A request whose head has been accepted, its body, and its response.

    It is over when the body has arrived and the response is complete. If the application has not
    begun to read the body when the response ends, the rest of it is dropped as it arrives.

    The response refers to the exchange, and not the other way round: once the application has
    dropped the response, the request can never be answered, and `response_gone` is called.
    """

    cdef int begin(
        self, Carrier carrier, RequestHead request, const BodyFraming* framing, bint limits_body
    ) except -1:
        """Begin with the request's head; raises Refused for a body that is too big, if `body_size`
        holds for it."""
        self.carrier = carrier
        self.settings = carrier.settings
        self.request = request
        self.is_head = request.has_method("HEAD", 4)
        self.is_1_0 = request.is_1_0()
        self.has_body_limit = limits_body and self.settings.has_body_limit
        if framing.is_chunked:
            self.chunks = ChunkedDecoder(self.settings.limits, self.has_body_limit)
        elif self.has_body_limit and framing.size > self.settings.body_size:
            raise refuse_body(self.settings.limits)
        else:
            self.left_size = framing.size
            # RFC 9112, 6.3: "If this is a request message and none of the above are true, then the
            # message body length is zero".
            self.is_received = framing.size == 0
        return 0

    # ---- called by the connection

    cdef bint is_over(self) noexcept:
        """Tell whether the next request can be begun."""
        return self.is_received and self.is_answered

    cdef bint awaits_body(self) noexcept:
        """Tell whether the client has yet to send bytes of the body, and does not wait for a 100.
        """
        return not self.is_received and not self.owes_continue

    cdef bint awaits_answer(self) noexcept:
        """Tell whether the application has not yet begun to answer."""
        return not self.is_begun and not self.is_answered

    cdef bint is_being_read(self) noexcept:
        """Tell whether the application reads the body, and has not reached its end."""
        return not self.is_received and self.is_claimed

    cdef int receive(self, Span* given) except -1:
        """Take the body's part from the front of `given`; raises Refused."""
        cdef Span piece
        if not given.size:
            return 0
        self.owes_continue = False
        self.carrier.body_expected()
        if self.chunks is None:
            piece.data = given.data
            piece.size = min(self.left_size, <uint64_t>given.size)
            given.data += piece.size
            given.size -= piece.size
            self.left_size -= piece.size
            self.add_content(&piece)
            if not self.left_size:
                self.end_body()
        else:
            while self.chunks.next_piece(given, &piece):
                self.add_content(&piece)
            if self.chunks.is_done:
                self.end_body()
        return 0 if self.watcher is None else self.watcher.body_arrived()

    cdef int add_content(self, const Span* piece) except -1:
        """Keep content until the application reads it."""
        cdef bytearray buffer
        cdef Py_ssize_t size
        if self.is_dropped or not piece.size:
            return 0
        if self.content is None:
            self.content = PyBytes_FromStringAndSize(<const char*>piece.data, piece.size)
        else:
            if type(self.content) is not bytearray:
                self.content = bytearray(self.content)
            buffer = self.content
            size = PyByteArray_GET_SIZE(buffer)
            PyByteArray_Resize(buffer, size + piece.size)
            memcpy(PyByteArray_AS_STRING(buffer) + size, piece.data, piece.size)
        self.content_size += piece.size
        return self.wake_reader()

    cdef int end_body(self) except -1:
        """Note that the body is complete."""
        self.is_received = True
        self.chunks = None
        return self.wake_reader()

    cdef int drop_body(self) except -1:
        """Drop a body that is incomplete, and cancel its reader, now or once it begins to read. The
        application has done nothing wrong, and can do nothing about it, so it gets no error."""
        if self.is_received or self.is_dropped:
            return 0
        self.is_dropped = True
        self.content = None
        self.content_size = 0
        if self.waiter is not None:
            self.waiter.cancel()
        return 0

    cdef int fail(self) except -1:
        """End with the connection: drop what is still written, cancel the task that reads."""
        self.drop_body()
        self.is_answered = True
        self.detach()
        return self.leave()

    cdef int leave(self) except -1:
        """Let go of the connection and of the request, which may refer to this exchange."""
        self.carrier = None
        self.request = None
        return 0

    cdef int detach(self) except -1:
        """Let the response go: what is written to it from now on is dropped."""
        cdef Watcher watcher = self.watcher
        self.watcher = None
        self.is_detached = True
        if self.response is not NULL:
            (<object>self.response)._detach()
        return 0 if watcher is None else watcher.detached()

    cdef int watch(self, Watcher watcher) except -1:
        """Tell `watcher`, from now on, what happens to the exchange; it alone reads the body."""
        self.watcher = watcher
        self.is_claimed = True
        return 0

    def inform(self, bytes head):
        """Send an interim response (RFC 9110, section 15.2)."""
        if self.carrier is not None:
            self.carrier.write(
                head, <const uint8_t*>PyBytes_AS_STRING(head), PyBytes_GET_SIZE(head)
            )

    # ---- called by the request

    cdef int wake_reader(self) except -1:
        if self.waiter is not None and not self.waiter.done():
            self.waiter.set_result(None)
        return 0

    cdef int want_body(self) except -1:
        """Send 100 (Continue) to a client that waits for it: RFC 9110, section 10.1.1. Not behind
        the head of the answer, where the client would take it for a part of the body."""
        if self.owes_continue and self.carrier is not None and not self.is_begun:
            self.owes_continue = False
            self.carrier.write(
                CONTINUE, <const uint8_t*>PyBytes_AS_STRING(CONTINUE), PyBytes_GET_SIZE(CONTINUE)
            )
            self.carrier.body_expected()
        return 0

    cdef bytes take_content(self):
        """Return what has come of the body and was not read, and let the client send more."""
        content = self.content
        self.content = None
        self.content_size = 0
        if self.carrier is not None and not self.is_received:
            self.carrier.body_taken()
        return content if type(content) is bytes else bytes(content)

    # ---- called by the response

    cdef bint must_close(self) except -1:
        """Tell whether the connection has to end with this response."""
        if not self.is_received and (
            self.owes_continue
            or not self.has_body_limit and (self.chunks is not None or self.left_size > UNREAD_SIZE)
        ):
            # The client may never send the rest of the body, or the rest has no limit, or is too
            # long to be read for nothing: do not wait for it.
            return True
        return not self.keeps_alive or self.carrier.is_last()

    cdef int finish(self, bint close) except -1:
        """Go on, as the response is complete; `close`: its head said `Connection: close`."""
        cdef Carrier carrier = self.carrier
        self.is_answered = True
        self.response = NULL
        self.watcher = None
        if not self.is_claimed:
            self.drop_body()
        return carrier.finished(close)

    cdef int response_gone(self) except -1:
        """Answer in place of the application, which has dropped the response, and cannot any more.

        The garbage collector may call this in any thread, in the middle of any code: so the answer
        is given in a later turn of the loop.
        """
        self.response = NULL
        try:
            self.settings.engine.loop.call_soon_threadsafe(
                self._give_up, "the application has dropped its response"
            )
        except Exception:
            pass                # the loop has ended, and the connection before it
        return 0

    def _give_up(self, str reason):
        self.give_up(reason)

    cdef int give_up(self, str reason) except -1:
        """Answer with 500 in place of the application, and cancel the tasks of its listeners."""
        cdef Carrier carrier = self.carrier
        if self.is_answered:
            return 0
        self.detach()
        for task in self.listener_tasks or ():
            task.cancel()
        # No task will read the rest of the body: do not wait for it.
        self.drop_body()
        self.is_claimed = False
        self.settings.host.report_unanswered(self.request, reason)
        if self.is_answered:
            return 0            # a listener of `error` has ended the connection
        if self.is_begun:
            return carrier.drop()       # else the client would take a part for the whole
        return carrier.answer_500(self)

    # ---- its listeners
    #
    # An answer by one of them is enough. An asynchronous listener must have answered when it
    # returns. A plain function may keep the response for later, until `answer_timeout`; if it drops
    # the response without an answer, the response itself tells.

    cdef int add_task(self, object task) except -1:
        """Keep a task, and cancel it when the connection is lost, or the exchange gives up."""
        if self.listener_tasks is None:
            self.listener_tasks = []
        self.listener_tasks.append(task)
        if self.carrier is None or self.is_answered:
            task.cancel()
        else:
            self.carrier.keep_task(task)
        return 0

    def listener_started(self, coroutine, bint is_plain):
        """Run what a listener has returned as a task; `is_plain`: an awaitable of a plain function.
        """
        # A task of the coroutine itself, so that a cancel before its first step is seen, too.
        task = self.settings.engine.create_task(coroutine)
        if not is_plain:
            self.plain_count -= 1
        self.running_count += 1
        if self.kept_response is None and self.response is not NULL:
            self.kept_response = <object>self.response
        task.add_done_callback(self._listener_ended)
        self.add_task(task)

    def _listener_ended(self, task):
        self.running_count -= 1
        try:
            if task.cancelled():
                self.fail_response(None, "a listener of it was cancelled")
            elif task.exception() is not None:
                self.listener_failed(task.exception())
            else:
                if self.takes_result:
                    self.answer(task.result())
                if not self.running_count and self.plain_count <= 0 and not self.sends_file:
                    if self.has_events:
                        self.end_events()
                    self.fail_response(None, "its listener returned without ending the response")
        finally:
            if not self.running_count:
                self.kept_response = None

    def listener_failed(self, error):
        """Answer with an error for a listener that has raised, and report the error."""
        if isinstance(error, CancelledError):
            self.fail_response(None, "a listener of it raised CancelledError")
            return
        if isinstance(error, ClientDisconnected) and self.response is NULL:
            return              # it has written to a client that has gone, which is no mistake
        request = self.request          # which the answer lets go of
        self.fail_response(error, None)
        if not isinstance(error, Refused):
            self.settings.host.report(error, None, request)

    cdef int fail_response(self, object error, str reason) except -1:
        """End the response for its listeners: with the answer to an error, or with 500 and a reason
        that is reported. Nothing happens if it has ended."""
        if self.response is NULL:
            return 0
        response = <object>self.response
        if reason is None:
            response._fail(error)
        else:
            response._give_up(reason)
        return 0

    cdef int answer(self, object result) except -1:
        """Answer with what a route's function has returned."""
        if not is_answer(result) or self.response is NULL and (
            self.is_detached or hasattr(result, "__await__")
        ):
            return 0            # or the client has gone, or it is what `end` has returned
        try:
            if self.response is NULL:
                raise RuntimeError(
                    f"expected an answer that is returned, or a response that was ended, given "
                    f"both: {type(result).__name__} is returned"
                )
            (<object>self.response)._answer(result)
        except Exception as error:
            self.listener_failed(error)
        return 0

    cdef int end_events(self) except -1:
        """End the event stream: its listener has returned, or the server closes."""
        if self.response is not NULL:
            (<object>self.response).end()
        return 0

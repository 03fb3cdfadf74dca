"""The answer to one request, written by the application: RFC 9112, sections 6 and 7.1."""

from contextvars import copy_context
from functools import partial

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.object cimport PyObject
from libc.stdint cimport uint8_t

from sockwave.core.events.emitter cimport CLOSED, code_of, find_event
from sockwave.core.events.member_docs cimport describe_member
from sockwave.core.http.request cimport Request
from sockwave.core.http.response_body cimport (
    COPIED_SIZE, FRAMING_SIZE, as_payload, choose_connection, choose_framing, may_have_body, put,
    send_body,
)
from sockwave.core.http.response_head cimport (
    DATE_LINE_SIZE, NOT_GIVEN, check_status, copy_of, date_line, has_content, status_line,
)

from sockwave.cookies import format_cookie
from sockwave.core.http.response_head import check_reason
from sockwave.errors import ClientDisconnected, Refused
from sockwave.json_codec import encode_json
from sockwave.locations import check_redirect, encode_location
from sockwave.paths import check_path

# The types of what is returned, or given to `json`, where the application has said no other.
cdef str TEXT_TYPE = "text/plain; charset=utf-8"
cdef str JSON_TYPE = "application/json"
cdef str BYTES_TYPE = "application/octet-stream"

# Event name → (event, how many arguments it has).
RESPONSE_EVENTS = {"close": (CLOSED, 0)}

# The head of an event stream. A cache or a proxy that waits for the end of a response (nginx does,
# unless X-Accel-Buffering forbids it) would keep its events back.
EVENT_STREAM_FIELDS = (
    ("Content-Type", "text/event-stream"),
    ("Cache-Control", "no-store"),
    ("X-Accel-Buffering", "no"),
)

# The default of a parameter for which None is a value like others.
cdef object MISSING = object()


cdef inline uint8_t* put_bytes(uint8_t* to, bytes data) noexcept:
    return put(to, PyBytes_AS_STRING(data), PyBytes_GET_SIZE(data))


@cython.freelist(64)
@cython.no_gc_clear
cdef class Response:
    """The response to one request: `write_head`, any number of `write`, and one `end`.

    An invalid call raises at once and sends nothing. When the client has gone, what is still
    written is dropped, and a task that awaits it is cancelled.

    `status` is that of the head that was written, 200 until then. `headers_sent` says whether the
    head has been sent, by the first `write` or by `end`.
    """

    def __dealloc__(self):
        # The application can no longer answer the request: it is answered with 500.
        if self.exchange is not None:
            self.exchange.response_gone()

    cdef int begin(self, Exchange exchange) except -1:
        """Begin the response of an exchange, which has one at a time."""
        self.exchange = exchange
        self.settings = exchange.settings
        self.status = 200
        self.framing.is_head_request = exchange.is_head
        exchange.response = <PyObject*>self
        return 0

    def write_head(self, status, headers=None, reason=None):
        """Set the head: once, before anything is written; it is sent with the first data.

        `status` is 200 to 599. Header values are str or int, or a list for repeated fields. The
        server frames the body: a body that does not match a given Content-Length raises ValueError,
        as a Transfer-Encoding does.
        """
        cdef HeaderFields fields = None
        self.settings.engine.thread.check("response.write_head")
        if self.is_head_given or self.headers_sent or self.has_ended:
            raise RuntimeError("write_head: expected once, before write and end")
        if headers is not None:
            fields = HeaderFields.__new__(HeaderFields)
            fields.add_all(headers)
        self.set_status(status, reason)
        self.fields = fields
        self.is_head_given = True
        return self

    cdef int set_status(self, object status, object reason) except -1:
        """Check and keep the status and its reason phrase."""
        cdef int checked = check_status(status)
        self.reason = None if reason is None else check_reason(reason)
        self.status = checked
        return 0

    cpdef object write(self, data):
        """Send a part of the body; awaiting it waits while the backlog is over the high-water mark.

        The first call sends the head; `write(b"")` sends it alone. For HEAD, and for 204 and 304,
        the data are dropped. Raises RuntimeError after `end`, ValueError for more data than the
        Content-Length.
        """
        cdef Payload payload
        self.settings.engine.thread.check("response.write")
        owner = as_payload(data, &payload)
        self.check_open("write")
        if self.exchange is None:
            return self.cancelled()
        self.count(payload.size, False)
        self.send(owner, &payload, False)
        return self.exchange.carrier.transport.drain_awaitable()

    cpdef object end(self, data=b""):
        """Send the last part of the body, and finish the response.

        Without a `write` before, the server adds a Content-Length. Raises RuntimeError when called
        twice, and ValueError if the body is shorter or longer than the given Content-Length: if it
        is partly sent already, the connection is dropped.
        """
        cdef Exchange exchange = self.exchange
        cdef Payload payload
        self.settings.engine.thread.check("response.end")
        owner = as_payload(data, &payload)
        self.check_open("end")
        if exchange is None:
            self.has_ended = True
            return self.cancelled()
        self.count(payload.size, True)
        self.send(owner, &payload, True)
        transport = exchange.carrier.transport
        self.has_ended = True
        if self.settings.log_access is not None:
            self.log(exchange.request)
        self.exchange = None
        exchange.finish(self.framing.closes)
        if self.close_listeners is not None:
            self.tell_closed()
        return transport.drain_awaitable()

    cdef int log(self, Request request) except -1:
        """Log that a request is answered."""
        self.settings.log_access(
            request.remote_address, request.method_of(), request.target_of(),
            request.http_version, self.status,
        )
        return 0

    def send_file(self, path, headers=None):
        """Send one file as the whole response; awaiting it waits until all of it is queued.

        Its type is guessed from its name; `headers`, or an earlier `write_head`, add headers and
        override those of the file. If the status is 200, GET and HEAD are answered as their
        conditions (RFC 9110, section 13) and their Range (section 14) ask for; of several ranges,
        all is sent. A big file is read piece by piece as the client receives it. Raises TypeError
        for anything but a path (a descriptor, an open file), FileNotFoundError if there is no such
        file, which is a 404 where nothing catches it, OSError if it cannot be opened, ValueError if
        it is no regular file.
        """
        self.settings.engine.thread.check("response.send_file")
        check_path("path", path)
        self.check_open("send_file")
        if self.headers_sent:
            raise RuntimeError("send_file: expected before write")
        if self.exchange is None:
            return self.cancelled()
        return self.settings.send_file(
            self, self.exchange.request, path, self._file_fields(headers)
        )

    def json(self, value, status=None):
        """Send a value as JSON (RFC 8259), and finish the response.

        `status` is 200, or that of an earlier `write_head`, unless it is given. Raises TypeError
        for a value that JSON cannot say, ValueError for NaN, infinity or a lone surrogate in it,
        RuntimeError behind `write` or `end`.
        """
        self.settings.engine.thread.check("response.json")
        return self.end_with(status, JSON_TYPE, encode_json(value))

    def redirect(self, location, status=303):
        """Send the client to another place, and finish the response: RFC 9110, section 15.4.

        `location` is a URL or a path; what may not stand in one is percent-encoded. 303 (See Other)
        has it asked for by GET, 307 and 308 by the same method; 301 and 308 are for good. Raises
        TypeError or ValueError for what is no location, or for another status, RuntimeError behind
        `write_head`.
        """
        check_redirect(status)
        return self.write_head(status, {"Location": encode_location(location)}).end()

    def set_cookie(self, name, value="", *, max_age=None, expires=None, path="/", domain=None,
                   secure=None, httponly=True, samesite="lax"):
        """Have the client keep a cookie: RFC 6265, section 4.1. Returns the response.

        Without `max_age` (seconds) and `expires` (a datetime with a time zone, or seconds since the
        epoch), it lasts as long as the browser runs. Scripts cannot read it unless `httponly` is
        False, and pages of other sites send it only where they link here, unless `samesite` is
        "strict", "none" or None. `secure` is True where the request came by TLS, to this server or
        to a trusted proxy. A second cookie of the same name, path and domain replaces the first.

        Raises TypeError or ValueError for what cannot be a cookie, or what browsers would not keep,
        RuntimeError once the head has been sent.
        """
        self.settings.engine.thread.check("response.set_cookie")
        self.keep_cookie(name, value, {
            "max_age": max_age, "expires": expires, "path": path, "domain": domain,
            "secure": secure, "httponly": httponly, "samesite": samesite,
        })
        return self

    def delete_cookie(self, name, *, path="/", domain=None, secure=None, httponly=True,
                      samesite="lax"):
        """Have the client forget a cookie, which was set with this path and domain. Returns the
        response; raises what `set_cookie` raises."""
        self.settings.engine.thread.check("response.delete_cookie")
        self.keep_cookie(name, "", {
            "max_age": 0, "expires": 0, "path": path, "domain": domain,
            "secure": secure, "httponly": httponly, "samesite": samesite,
        })
        return self

    def event_stream(self, *, keepalive=15.0):
        """Begin a stream of server-sent events (HTML, section 9.2), and return its `EventStream`.

        The head leaves at once; an earlier `write_head` may add headers to it. Where nothing was
        sent for `keepalive` seconds, a comment is, so that proxies keep the connection; None:
        never. The stream ends when an `async` listener returns, with `end`, when the client leaves,
        and when the server closes: then the page connects again.

        Raises RuntimeError behind `write` or `end`.
        """
        cdef Exchange exchange = self.exchange
        cdef HeaderFields fields = copy_of(self.fields)
        self.settings.engine.thread.check("response.event_stream")
        self.check_unsent("event_stream")
        if fields.length != NOT_GIVEN:
            raise ValueError("Content-Length: expected none, as an event stream has no end")
        stream = self.settings.open_event_stream(self, self.settings.engine.loop, keepalive)
        self._set_file_head(self.status, fields, EVENT_STREAM_FIELDS)
        if exchange is None:
            return stream
        if not may_have_body(&self.framing, self.status):
            self.end()          # no events follow: of 204, a page does not connect again
        else:
            exchange.has_events = True
            self.write(b"")
            if exchange.carrier is not None and exchange.carrier.is_last():
                self.end()      # the server closes already
        return stream

    def on(self, event, listener=MISSING):
        """Call `listener` at the event "close": once, when the response has ended, or its client
        has gone before. Without `listener`, return a decorator that adds one.

        It has no arguments, and may be `async def`. It is called in the loop's next turn; where the
        end has come already, in the next turn from now. Raises ValueError for another event,
        TypeError for a listener that needs arguments, or is a generator function.
        """
        self.settings.engine.thread.check("response.on")
        if listener is MISSING:
            find_event(RESPONSE_EVENTS, event)
            return partial(self._add_listener, event)
        self._add_listener(event, listener)
        return self

    def _add_listener(self, event, listener):
        code = code_of(RESPONSE_EVENTS, event, listener, False)
        if self.close_listeners is None:
            self.close_listeners = []
        self.close_listeners.append((listener, code, copy_context()))
        if self.exchange is None:
            self.tell_closed()
        return listener

    cdef int tell_closed(self) except -1:
        """Have the listeners of the end called, in the loop's next turn: this one may be in the
        middle of a call of the application."""
        cdef list listeners = self.close_listeners
        self.close_listeners = None
        if listeners is not None and not self.settings.engine.loop.is_closed():
            call = self.settings.host.call_listener
            for listener, code, context in listeners:
                self.settings.engine.loop.call_soon(call, listener, code, context=context)
        return 0

    cdef object end_with(self, object status, str kind, object data):
        """Finish with a whole body of a type, unless the application has given another one."""
        cdef HeaderFields fields
        self.check_unsent("end")
        if status is not None:
            if self.is_head_given:
                raise RuntimeError("status: expected none behind write_head, given one")
            self.set_status(status, None)
        if isinstance(data, str):
            try:
                data = data.encode()
            except UnicodeEncodeError:
                raise ValueError("data: expected str without lone surrogates, given one") from None
        if kind is not None and has_content(self.status):
            fields = copy_of(self.fields)
            if not fields.has_type:
                fields.add("Content-Type", kind)
            self.fields = fields
        return self.end(data)

    cdef int keep_cookie(self, object name, object value, dict attributes) except -1:
        """Keep the line of a cookie until the head is sent."""
        self.check_unsent("set_cookie")
        if self.exchange is None:
            return 0            # the client has gone
        if attributes["secure"] is None:
            attributes["secure"] = (<Request>self.exchange.request).is_over_tls()
        line = f"Set-Cookie: {format_cookie(name, value, **attributes)}\r\n".encode()
        if self.cookies is None:
            self.cookies = {}
        # RFC 6265, 4.1.1: "Servers SHOULD NOT include more than one Set-Cookie header field in the
        # same response with the same cookie-name." With another path or domain, it is another one.
        self.cookies[name, attributes["domain"], attributes["path"]] = line
        return 0

    # ---- called by a route

    def _answer(self, value):
        """Answer with what a route's function has returned; raise TypeError if that says nothing.
        """
        status = None
        if isinstance(value, tuple):
            if len(value) != 2:
                raise TypeError(
                    f"expected (status, body) as an answer, given a tuple of {len(value)}"
                )
            status, value = value
            check_status(status)
        if self.headers_sent or self.has_ended:
            raise RuntimeError(
                f"expected an answer that is returned, or a response that is ended, given both: "
                f"{type(value).__name__} is returned"
            )
        if value is None and status is not None:
            self.end_with(status, None, b"")
        elif isinstance(value, str):
            self.end_with(status, TEXT_TYPE, value)
        elif isinstance(value, (dict, list)):
            self.end_with(status, JSON_TYPE, encode_json(value))
        elif isinstance(value, (bytes, bytearray, memoryview)):
            self.end_with(status, BYTES_TYPE, value)
        else:
            raise TypeError(
                "expected str, bytes, dict, list, (status, body) or None as an answer, given "
                f"{type(value).__name__}"
            )

    # ---- called by an event stream

    def _send_event(self, data):
        """Send a part of an event stream; raise ClientDisconnected if nobody hears it any more.

        A client that takes less than it is sent is dropped at `max_backlog`: it connects again.
        """
        cdef Exchange exchange = self.exchange
        self.settings.engine.thread.check("stream.send")
        if exchange is None:
            raise ClientDisconnected("the event stream has ended")
        if exchange.carrier.transport.backlog.size > (
            exchange.carrier.transport.cork.marks.max_backlog
        ):
            self.settings.engine.limit_counters.count_by_name("max_backlog")
            exchange.carrier.drop()
            raise ClientDisconnected("the client takes less than it is sent (max_backlog)")
        return self.write(data)

    def _is_behind(self):
        """Tell whether the client is slow to take what it was sent, or nobody hears it any more."""
        return self.exchange is None or not (
            self.exchange.carrier.transport.backlog.size <= self.settings.high_water
        )

    @property
    def _has_closed(self):
        """Whether the response has ended, or its client has gone."""
        return self.exchange is None

    # ---- called by `http.files`

    def _file_fields(self, headers):
        """Return the fields that the application gives to a file: those of `write_head`, and these.
        """
        cdef HeaderFields fields = copy_of(self.fields)
        if headers is not None:
            fields.add_all(headers)
        if fields.length != NOT_GIVEN:
            raise ValueError("Content-Length: expected none, as the file has its own")
        return fields

    def _set_file_head(self, status, HeaderFields fields, pairs):
        """Set the head of a file's response: `fields`, which the application has given, and of the
        file's own, `pairs`, those that are not among them."""
        cdef bytes wanted
        for name, value in pairs:
            wanted = name.encode()
            if not fields.has(<const uint8_t*>PyBytes_AS_STRING(wanted), PyBytes_GET_SIZE(wanted)):
                fields.add(name, value)
        self.set_status(status, self.reason if status == self.status else None)
        self.fields = fields
        self.is_head_given = True

    def _stream_file(self, coroutine, file):
        """Run the coroutine that sends a big file; the task closes it at its end."""
        cdef Exchange exchange = self.exchange
        task = self.settings.engine.create_task(coroutine)
        task.add_done_callback(lambda _: self._end_file(file))
        exchange.add_task(task)
        exchange.sends_file = True
        return task

    def _end_file(self, file):
        """Close a file; fail the response if the file was not sent to its end."""
        file.close()
        self._fail(None)

    # ---- called by an ASGI application's call

    def _add_trailers(self, bytes lines):
        """Send these field lines behind the last chunk; a body without chunks drops them."""
        self.trailers = lines if self.trailers is None else self.trailers + lines

    # ---- called by the exchange

    def _fail(self, error):
        """End the response because the application failed; do nothing if it has ended.

        Before the head is sent, the client gets 500, or the answer of a `Refused`; after that the
        connection is dropped, as the client would take a part of the body for all of it.
        """
        cdef Exchange exchange = self.exchange
        if exchange is None:
            return
        if self.headers_sent:
            self.exchange = None
            exchange.response = NULL
            exchange.carrier.drop()
            self.tell_closed()
            return
        status, body, headers = 500, b"internal server error\n", ()
        if isinstance(error, Refused):
            status, body, headers = error.status, error.body, error.headers
        else:
            self.cookies = None
        self.fields = HeaderFields.__new__(HeaderFields)
        self.fields.add_all(headers)
        if body and not self.fields.has_type:
            self.fields.add("Content-Type", "text/plain; charset=utf-8")
        self.set_status(status, None)
        self.framing.closes = True
        self.end(body)

    def _give_up(self, str reason):
        """Have the request answered with 500, as no listener does, and the reason reported.

        If the response has begun, the connection is dropped instead; nothing happens if it has
        ended.
        """
        if self.exchange is not None:
            self.has_ended = True
            self.exchange.give_up(reason)

    def _detach(self):
        """Detach from the connection: what is written from now on is dropped."""
        if self.exchange is not None:
            self.exchange.response = NULL
            self.exchange = None
            self.tell_closed()

    cdef int check_unsent(self, str verb) except -1:
        """Raise RuntimeError once the head has been sent."""
        self.check_open(verb)
        if self.headers_sent:
            raise RuntimeError(f"{verb}: expected before write")
        return 0

    cdef int check_open(self, str verb) except -1:
        if self.has_ended:
            raise RuntimeError(f"{verb}: expected before the end of the response")
        return 0

    cdef object cancelled(self):
        """Return a cancelled future: it cancels a task that awaits it, and else logs nothing."""
        future = self.settings.engine.loop.create_future()
        future.cancel()
        return future

    cdef int count(self, size_t size, bint last) except -1:
        """Raise ValueError if the body does not match the Content-Length of the application."""
        cdef Py_ssize_t promised
        if self.fields is None or self.fields.length == NOT_GIVEN or (
            not may_have_body(&self.framing, self.status)
        ):
            return 0
        promised = self.fields.length
        size += self.given_size
        if <Py_ssize_t>size > promised or last and <Py_ssize_t>size < promised:
            if last and self.headers_sent:
                self._fail(None)
            raise ValueError(f"Content-Length: expected {promised} bytes, given {size}")
        self.given_size = size
        return 0

    # ---- bytes out

    cdef bytes list_added(self):
        """Return the lines of cookies, and of the server's own fields that the application has not
        given."""
        cdef bytes lines = b"" if self.cookies is None else b"".join(self.cookies.values())
        cdef bytes name, line
        if not self.settings.added_fields:
            return lines
        for name, line in self.settings.added_fields:
            if self.fields is None or not self.fields.has(
                <const uint8_t*>PyBytes_AS_STRING(name), PyBytes_GET_SIZE(name)
            ):
                lines += line
        return lines

    cdef int send(self, object owner, const Payload* payload, bint last) except -1:
        """Send the head, if it has not been sent, and a part of the body; `last`: the end of it."""
        cdef Exchange exchange = self.exchange
        cdef bytes line = None
        cdef bytes connection
        cdef bytes head = None
        cdef uint8_t framing[FRAMING_SIZE]
        cdef int framing_size
        cdef bytes added
        cdef bint has_date
        cdef size_t block_size = 0
        cdef size_t head_size = 0
        cdef uint8_t* out
        if not self.headers_sent:
            framing_size = choose_framing(
                &self.framing, self.fields, self.status, exchange.is_1_0,
                <Py_ssize_t>payload.size if last else NOT_GIVEN, framing,
            )
            self.framing.closes = self.framing.closes or exchange.must_close()
            connection = choose_connection(&self.framing, self.fields, exchange.is_1_0)
            line = status_line(self.status, self.reason)
            block_size = 0 if self.fields is None else self.fields.size
            added = self.list_added()
            has_date = self.settings.adds_date and (self.fields is None or not self.fields.has_date)
            head_size = (
                PyBytes_GET_SIZE(line) + block_size + (DATE_LINE_SIZE if has_date else 0)
                + PyBytes_GET_SIZE(added) + framing_size + PyBytes_GET_SIZE(connection) + 2
            )
            if head_size > COPIED_SIZE:
                head = PyBytes_FromStringAndSize(NULL, head_size)
                out = <uint8_t*>PyBytes_AS_STRING(head)
            else:
                out = self.settings.scratch
            out = put_bytes(out, line)
            if block_size:
                out = put(out, self.fields.block, block_size)
            if has_date:
                out = put(out, date_line(), DATE_LINE_SIZE)
            out = put_bytes(out, added)
            out = put(out, framing, framing_size)
            out = put_bytes(out, connection)
            put(out, b"\r\n", 2)
        if head is not None:
            exchange.carrier.write(head, <const uint8_t*>PyBytes_AS_STRING(head), head_size)
            head_size = 0
        send_body(
            &self.framing, exchange.carrier, self.settings.scratch, head_size, owner, payload,
            last, self.trailers,
        )
        self.headers_sent = exchange.is_begun = True
        return 0

describe_member(Response, "status", "The status of the head that was written; 200 until then.")
describe_member(
    Response, "headers_sent", "Whether the head has been sent: by the first `write`, or by `end`."
)

"""One HTTP/1.1 connection, until it ends or becomes a WebSocket: RFC 9112, section 9.

Requests are answered in order: the next one is parsed once the answer before it is finished, and
its bytes wait until then. A head that is ordinary in every respect (`head`) is parsed here, and
costs no objects but the request and its response; any other is parsed by the strict parser.
"""

import logging

from cpython.bytearray cimport PyByteArray_AS_STRING, PyByteArray_GET_SIZE, PyByteArray_Resize
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.string cimport memcmp, memcpy

from sockwave.core.events.emitter cimport REQUEST, Emitter, count_heard
from sockwave.core.http.deadline cimport (
    ANSWER, HEAD_END, NEXT_HEAD, PROGRESS, begin_wait, change_wait, has_stalled,
)
from sockwave.core.http.head cimport (
    CONNECTION_OPTIONS, EXPECT, ORDINARY, UPGRADE, find_framing, has_common_host, is_value,
    parse_head,
)
from sockwave.core.http.request cimport Request
from sockwave.core.http.response cimport Response
from sockwave.core.http.scanner cimport scan_head
from sockwave.core.limits.counters cimport LimitCounters
from sockwave.core.io.transport cimport DRAINS, LINGERS
from sockwave.core.io.turn_budget cimport has_messages, take_message

from sockwave.errors import Refused
from sockwave.limits import OverLimit
from sockwave.log import peers


cdef enum:
    KNOWN_COUNT = 64            # addresses of the server that connections share as objects


cdef bint is_head_request(const Span* given) noexcept:
    """Tell whether what has come, perhaps behind empty lines, is the beginning of a HEAD."""
    cdef const uint8_t* at = given.data
    cdef const uint8_t* end = at + given.size
    while end - at >= 2 and at[0] == c"\r" and at[1] == c"\n":
        at += 2
    return end - at >= 5 and memcmp(at, b"HEAD ", 5) == 0


cdef class HttpConnection(Carrier):
    """The receiver of a transport from its first request on."""

    cdef int set_up(self, HttpSettings settings, Transport transport, bint is_newcomer) except -1:
        """Take over a transport; the deadline for the first head has been set at accept."""
        self.settings = settings
        self.transport = transport
        self.is_newcomer = is_newcomer
        self.deadline.wait = HEAD_END
        self.deadline.due = transport.asked
        settings.connections.add(self)
        return 0

    @property
    def held_size(self):
        """How many bytes are held: input that is not parsed, and answers not yet received."""
        cdef size_t body_size = 0 if self.exchange is None else self.exchange.content_size
        return self.input_size() + body_size + self.transport.backlog.size

    # ---- called by the transport

    cdef int take_bytes(self, uint8_t* data, size_t size) except -1:
        cdef Span given
        if self.phase != OPEN:
            return 0
        if self.input is not None or self.is_postponed or self.awaits_drain:
            self.keep(data, size)
            if not self.is_postponed and not self.awaits_drain:
                self.read_input()
        else:
            given.data = data
            given.size = size
            self.read(&given)
            if given.size and self.phase == OPEN:
                self.keep(given.data, given.size)
        return self.update_flow()

    cdef int go_on(self) except -1:
        if self.is_postponed:
            self.is_postponed = False
            if self.phase == OPEN:
                self.read_input()
                return self.update_flow()
        return 0

    cdef int backlog_fell(self) except -1:
        """Continue once the client has received most of the answers to its earlier requests."""
        if self.phase == DRAINING:
            return self.close_transport()
        if self.awaits_drain and self.phase == OPEN:
            self.awaits_drain = False
            self.read_input()
            return self.update_flow()
        return 0

    cdef int notify_eof(self) except -1:
        """Answer the requests that are complete: the client may still be reading."""
        if self.phase == OPEN:
            self.has_ended = True
            if self.exchange is not None and not self.exchange.is_received:
                self.refuse(Refused(400, "the body ended early\n"))
            elif self.exchange is not None and self.exchange.has_events:
                # A page that was left: what is written to its stream would only tell that later.
                self.drop()
            else:
                self.update_flow()
        return 0

    cdef int notify_deadline(self) except -1:
        if self.phase == UPGRADED or self.phase == ENDED:
            return 0
        if self.deadline.due and self.deadline.due <= self.transport.engine.wheel.tick:
            self.handle_deadline()
        if self.deadline.due and self.phase != ENDED:
            self.transport.ask_for(self.deadline.due)
        return 0

    cdef int notify_closed(self, object error) except -1:
        """Cancel all tasks of the connection: its client has gone."""
        self.enter(ENDED)
        for task in list(self.tasks or ()):
            task.cancel()
        self.tasks = None           # last: without memory for it, this is called again
        return 0

    # ---- called by the receiver of a proxy's header, while it is in front of this one

    def data_received(self, bytes data):
        """Take the bytes behind the header."""
        self.take_bytes(<uint8_t*>PyBytes_AS_STRING(data), PyBytes_GET_SIZE(data))

    # ---- called by the server

    def close(self):
        """End the connection: at once, or after the present answer. An event stream ends now."""
        self.is_closing = True
        if self.phase == OPEN and self.exchange is None:
            self.end()
        elif self.exchange is not None and self.exchange.has_events:
            self.exchange.end_events()

    def abort(self):
        """Drop the connection."""
        self.drop()

    def reset(self):
        """Drop the connection, and what the kernel buffers for its client."""
        self.transport.reset()

    def dismiss(self, refused):
        """Reject this connection, which has sent no request yet, to make room for another."""
        self.enter(ENDED)
        self.settings.host.admission.reject(self.transport, refused, to_head=self.asks_head)

    # ---- called by an exchange

    cdef int write(self, object owner, const uint8_t* data, size_t size) except -1:
        if not self.transport.is_closing:
            self.written_size += size
            self.transport.write_bytes(owner, data, size)
        return 0

    cdef bint is_last(self) except -1:
        if self.is_closing or not self.has_ended:
            return self.is_closing
        return not self.has_rest if self.is_reading else self.input is None

    cdef int finished(self, bint close) except -1:
        """Begin the next request, or end; but first wait for a body that the application reads."""
        self.is_closing = self.is_closing or close
        self.has_finished = True
        if self.is_closing and self.exchange is not None and not self.exchange.is_being_read():
            return self.end()
        if self.is_reading or self.phase != OPEN:
            return 0
        if self.input is not None:
            # In a turn of its own: this one may be in the middle of another connection's.
            self.postpone()
        elif self.exchange is not None and self.exchange.is_over():
            self.step_over()
        return self.update_flow()

    cdef int body_taken(self) except -1:
        return self.update_flow() if self.is_full and not self.is_reading else 0

    cdef int body_expected(self) except -1:
        return begin_wait(&self.deadline, PROGRESS, self.settings, self.transport)

    cdef int drop(self) except -1:
        self.enter(ENDED)
        return self.transport.close_with(None)

    cdef int keep_task(self, object task) except -1:
        if self.tasks is None:
            self.tasks = set()
        self.tasks.add(task)
        task.add_done_callback(self._forget_task)
        return 0

    def _forget_task(self, task):
        if self.tasks is not None:
            self.tasks.discard(task)

    cdef int answer_500(self, Exchange exchange) except -1:
        cdef Response response = Response.__new__(Response)
        response.begin(exchange)
        response.write_head(500, {"Content-Type": "text/plain; charset=utf-8"})
        response.end("internal server error\n")
        return 0

    # ---- called by an application

    cdef object client_address(self):
        """Return the client's (host, port), or the path of its socket."""
        if self.told_client is None:
            self.told_client = self.transport.remote_address
        return self.told_client

    cdef object server_address(self):
        """Return the server's (host, port), or (path, None): the same object for all connections.
        """
        cdef dict known = self.settings.addresses
        if self.told_server is None:
            address = self.transport.local_address
            if type(address) is not tuple:
                address = address, None
            self.told_server = known.get(address)
            if self.told_server is None:
                if len(known) < KNOWN_COUNT:    # a server may listen on all addresses
                    known[address] = address
                self.told_server = address
        return self.told_server

    # ---- requests

    cdef size_t input_size(self) noexcept:
        return 0 if self.input is None else PyByteArray_GET_SIZE(self.input) - self.input_start

    cdef int keep(self, const uint8_t* data, size_t size) except -1:
        """Keep bytes that cannot be read yet, behind those that are kept already."""
        cdef size_t kept_size
        if self.input is None:
            self.input = bytearray()
        elif self.input_start:
            del self.input[:self.input_start]
        self.input_start = 0
        self.has_few = False
        kept_size = PyByteArray_GET_SIZE(self.input)
        PyByteArray_Resize(self.input, kept_size + size)
        memcpy(PyByteArray_AS_STRING(self.input) + kept_size, data, size)
        return 0

    cdef int read_input(self) except -1:
        """Read requests from what is kept."""
        # Held here: what runs meanwhile may end the connection, and that drops the input.
        cdef bytearray held = self.input
        cdef Span given
        if held is None:
            given.data = NULL
            given.size = 0
        else:
            given.data = <uint8_t*>PyByteArray_AS_STRING(held) + self.input_start
            given.size = PyByteArray_GET_SIZE(held) - self.input_start
        self.read(&given)
        if self.phase == OPEN:
            self.input = held if given.size else None
            self.input_start = 0
            if given.size:
                self.input_start = given.data - <uint8_t*>PyByteArray_AS_STRING(held)
        return 0

    cdef int read(self, Span* given) except -1:
        """Read requests from the front of `given`, as far as possible; at most a few in one turn.
        """
        cdef Py_ssize_t left = self.settings.pipelined_count
        if self.is_reading:
            return 0
        self.is_reading = True
        try:
            while self.step(given):
                left -= 1
                if not left or not has_messages(&self.transport.engine.budget):
                    if given.size:
                        self.postpone()
                    elif self.exchange is not None and self.exchange.is_over():
                        self.step_over()
                    break
        except Refused as refused:
            self.refuse(refused)
        finally:
            self.is_reading = False
        return 0

    cdef bint step(self, Span* given) except -1:
        """Go on with the present exchange, or begin the next; false if that has to wait."""
        cdef Exchange exchange = self.exchange
        if exchange is not None:
            if not exchange.is_received:
                exchange.receive(given)
            if not exchange.is_over():
                return False
            self.step_over()
        if self.phase != OPEN or not given.size:
            return False
        if self.transport.backlog.size > self.settings.high_water:
            self.awaits_drain = True
            return False
        return self.begin_next(given)

    cdef int step_over(self) except -1:
        """Leave an exchange that is over."""
        cdef Exchange exchange = self.exchange
        self.exchange = None
        exchange.leave()
        if self.is_closing:
            self.end()
        return 0

    cdef bint begin_next(self, Span* given) except -1:
        """Begin the next request; false while its head is not whole. Raises Refused."""
        cdef size_t size
        self.asks_head = is_head_request(given)
        if not self.scan.scanned_size and not self.scan.empty_count:
            # Most heads come whole.
            if self.has_begun_ordinary(given, given.size):
                return True
        size = scan_head(&self.scan, given, self.settings.limits)
        if not size:
            return False
        if self.has_begun_ordinary(given, size):
            return True
        raw = PyBytes_FromStringAndSize(<const char*>given.data, size)
        given.data += size
        given.size -= size
        self.begin_strictly(raw, given)
        return True

    cdef bint is_ordinary(self, const Head* head) noexcept:
        """Tell whether a well-formed head has nothing but what nearly every request has, and is
        under all limits."""
        cdef HttpSettings settings = self.settings
        return (
            not head.counts[UPGRADE] and has_common_host(head)
            and head.counts[CONNECTION_OPTIONS] <= 1 and not head.counts[EXPECT]
            and head.line_size <= settings.line_size and head.block_size <= settings.block_size
            and head.field_count <= settings.field_count
            and (
                not head.counts[CONNECTION_OPTIONS]
                or is_value(&head.values[CONNECTION_OPTIONS], "keep-alive", 10)
                or is_value(&head.values[CONNECTION_OPTIONS], "close", 5)
            )
        )

    cdef bint has_begun_ordinary(self, Span* given, size_t size) except -1:
        """Begin a request with an ordinary head, if the first `size` bytes of `given` hold one."""
        cdef Head head
        cdef BodyFraming framing
        cdef Request request
        cdef bint keeps_alive
        if parse_head(given.data, size, &head) != ORDINARY or not self.is_ordinary(&head) or (
            not find_framing(&head, &framing)
        ):
            return False
        keeps_alive = not head.counts[CONNECTION_OPTIONS] or not is_value(
            &head.values[CONNECTION_OPTIONS], "close", 5
        )
        request = Request.__new__(Request)
        request.raw = PyBytes_FromStringAndSize(<const char*>given.data, head.size)
        request.method_size = head.method_size
        request.target_size = head.target_size
        given.data += head.size
        given.size -= head.size
        self.begin(request, &framing, keeps_alive, False, given)
        return True

    cdef int begin_strictly(self, bytes raw, Span* given) except -1:
        """Begin a request with a head that is not ordinary; raises Refused."""
        cdef Request request = Request.__new__(Request)
        cdef BodyFraming framing
        self.end_handshake()
        facts = self.settings.parse_strictly(raw, self.settings.limits)
        if facts.wants_websocket:
            return self.upgrade(facts.head, given)
        request.raw = raw
        request.split_line()
        framing.is_chunked = facts.is_chunked
        framing.size = facts.body_size
        return self.begin(request, &framing, facts.keeps_alive, facts.expects_continue, given)

    cdef int end_handshake(self) except -1:
        """Stop counting among the handshakes under way, as the first head is whole."""
        if self.is_newcomer:
            self.is_newcomer = False
            self.settings.host.admission.end_handshake(self.transport)
        return 0

    cdef int begin(
        self, RequestHead head, const BodyFraming* framing, bint keeps_alive,
        bint expects_continue, Span* given,
    ) except -1:
        """Have the application answer one request; raises Refused."""
        cdef Request request = <Request>head
        cdef Exchange exchange = Exchange.__new__(Exchange)
        cdef HttpSettings settings = self.settings
        cdef Taker taker = None
        take_message(&self.transport.engine.budget)
        self.end_handshake()
        request.transport = self.transport
        self.exchange = exchange
        if settings.has_mounts or settings.fallback is not None or settings.routes.count:
            taker = self.find_taker(request)
        exchange.begin(
            self, request, framing,
            taker is None or taker.limits_body or settings.limits_takers,
        )
        exchange.keeps_alive = keeps_alive
        if not exchange.is_received:
            # Whether the client waits for a 100 (Continue) before it sends its body.
            exchange.owes_continue = expects_continue
            request.exchange = exchange
        if settings.asks_for_client:
            request.client = settings.host.client_of(request, self.transport)
        if not exchange.is_received:
            exchange.receive(given)
        self.has_rest = given.size > 0
        return self.ask_application(exchange, request, taker)

    cdef Taker find_taker(self, Request request):
        """Return what takes a request in place of the listeners; None: they do, or nothing."""
        cdef HttpSettings settings = self.settings
        if settings.routes.count:
            taker = settings.routes.find(request, request.method_of())
            if taker is not None:
                return <Taker?>taker
        if settings.has_mounts:
            return settings.host.find_taker(request)
        return None if settings.host.hears(REQUEST) else settings.fallback

    cdef int ask_application(self, Exchange exchange, object request, Taker taker) except -1:
        cdef Response response = Response.__new__(Response)
        cdef HttpSettings settings = self.settings
        cdef Emitter host = settings.host
        host.served()
        response.begin(exchange)
        settings.engine.contexts.enter()
        before, host.exchange = host.exchange, exchange
        try:
            if taker is not None:
                taker.take(exchange, request, response)
            else:
                exchange.plain_count = count_heard(host.listener, host.only_code, REQUEST)
                if not host.emit(REQUEST, request, response):
                    host.answer_unheard(request, response)
        except Exception as error:
            response._fail(error)
            self.report("a request was not handled", error)
        finally:
            host.exchange = before
            settings.engine.contexts.leave()
        return 0

    cdef int upgrade(self, RequestHead head, Span* given) except -1:
        """Hand the transport over for a WebSocket."""
        cdef Transport transport = self.transport
        if self.has_ended:
            # The client has closed its side: a WebSocket would have to end at once.
            peers.info("the handshake of %s is not answered: its side has ended", transport)
            return self.end()
        rest = PyBytes_FromStringAndSize(<const char*>given.data, given.size)
        given.size = 0
        if self.has_finished or self.deadline.wait != HEAD_END:
            begin_wait(&self.deadline, HEAD_END, self.settings, self.transport)
        transport.ask_for(self.deadline.due)    # the alarm may have been left at an earlier tick
        if self.is_full:
            self.is_full = False
            transport.resume()
        self.enter(UPGRADED)
        try:
            self.settings.host.handle_upgrade(transport, head, rest)
        except Exception as error:
            transport.close_with(None)
            self.report("an upgrade was not handled", error)
        return 0

    cdef int postpone(self) except -1:
        """Go on with requests in a later turn."""
        if not self.is_postponed:
            self.is_postponed = True
            self.settings.engine.postpone(self.transport)
        return 0

    cdef int refuse(self, object refused) except -1:
        """Answer the request that is being read with an error, and end; read nothing behind it."""
        cdef Exchange exchange = self.exchange
        cdef bint is_owed = exchange is None or not exchange.is_answered
        if isinstance(refused, OverLimit):
            self.settings.engine.limit_counters.count_by_name(refused.limit)
        if is_owed and exchange is not None and exchange.is_begun:
            return self.drop()
        if is_owed:
            answer = self.settings.host.serialize_refusal(refused, to_head=self.asks_head)
            self.write(answer, <const uint8_t*>PyBytes_AS_STRING(answer), PyBytes_GET_SIZE(answer))
        # Else the body is refused after the answer was complete, and cannot be answered again.
        self.drains = True
        self.end()
        # Logged, as the request may have been an opening handshake: its head was not parsed.
        if exchange is None and peers.is_on(logging.INFO):
            line = f"a request of %s is refused with {refused.status}: %s"
            peers.info(line, self.transport, refused.body.decode(errors="replace").strip())
        return 0

    cdef int report(self, str sentence, object error) except -1:
        """Report an error that the application has raised to the loop's exception handler."""
        self.settings.engine.loop.call_exception_handler({"message": sentence, "exception": error})
        return 0

    # ---- the end

    cdef int enter(self, Phase phase) except -1:
        """Enter a phase in which no more requests are read."""
        cdef Exchange exchange = self.exchange
        self.end_handshake()
        self.phase = phase
        self.input = None
        self.exchange = None
        if phase != DRAINING:
            self.settings.connections.discard(self)
        if exchange is not None:
            exchange.fail()
        return 0

    cdef int end(self) except -1:
        """Close the transport once its backlog is under the high-water mark."""
        if self.phase != OPEN:
            return 0
        if self.exchange is not None and not self.exchange.is_received:
            self.drains = True
        try:
            self.enter(DRAINING)
            begin_wait(&self.deadline, PROGRESS, self.settings, self.transport)
            if self.is_full:
                self.is_full = False
                self.transport.resume()
            if self.transport.backlog.size <= self.settings.high_water:
                self.close_transport()
        except BaseException:
            # The connection has left its open phase, so that nothing else would end it.
            self.transport.close_with(None)
            raise
        return 0

    cdef int close_transport(self) except -1:
        self.enter(ENDED)
        self.transport.ask_for(self.deadline.due)   # the alarm may be left at an earlier tick
        return self.transport.shut_down(DRAINS if self.drains else LINGERS)

    # ---- flow and time

    cdef int update_flow(self) except -1:
        """Pause or resume reading, and set the deadline for what is being waited for."""
        cdef Exchange exchange = self.exchange
        cdef bint is_busy = exchange is not None or self.is_postponed or self.awaits_drain
        cdef bint is_full
        if self.phase != OPEN or self.is_reading:
            return 0
        if self.has_ended and not is_busy:
            return self.end()
        is_full = is_busy and self.has_enough()
        if is_busy:
            if exchange is not None and exchange.awaits_answer() and (
                is_full or not exchange.awaits_body()
            ):
                # Only the application is waited for: the client has no more to send.
                change_wait(&self.deadline, ANSWER, self.settings, self.transport)
            else:
                change_wait(&self.deadline, PROGRESS, self.settings, self.transport)
        elif self.input is not None:
            if self.deadline.wait != HEAD_END or self.has_finished:
                begin_wait(&self.deadline, HEAD_END, self.settings, self.transport)
        elif self.has_finished or self.deadline.wait >= PROGRESS:
            begin_wait(&self.deadline, NEXT_HEAD, self.settings, self.transport)
        self.has_finished = False
        if is_full and not self.is_full:
            self.transport.pause()
            if exchange is None or exchange.is_received:
                self.settings.engine.limit_counters.count_by_name("pipelined_count")
        elif self.is_full and not is_full:
            self.transport.resume()
        self.is_full = is_full
        return 0

    cdef bint has_enough(self) except -1:
        """Tell whether reading has to pause: enough of a body, or enough requests, are waiting."""
        if self.exchange is not None and not self.exchange.is_received:
            return self.exchange.content_size >= self.settings.high_water
        if self.input is None:
            return False
        if self.input_size() >= self.settings.block_size:
            return True
        if not self.has_few:
            # Each answer makes them fewer: they are counted again when more has come.
            self.has_few = (
                self.input.count(b"\r\n\r\n", self.input_start) < self.settings.pipelined_count
            )
        return not self.has_few

    cdef int handle_deadline(self) except -1:
        """End a connection, or an exchange, that has taken too long."""
        cdef Exchange exchange = self.exchange
        cdef LimitCounters counters = self.settings.engine.limit_counters
        cdef uint64_t moved_size
        self.deadline.due = 0
        if self.phase == DRAINING or self.deadline.wait >= PROGRESS:
            if exchange is not None and exchange.awaits_body() and not self.is_full:
                return self.refuse(OverLimit("body_timeout", 408, "the body took too long\n"))
            if exchange is None or not exchange.awaits_answer():
                change_wait(&self.deadline, PROGRESS, self.settings, self.transport)
            elif self.deadline.wait == ANSWER and self.deadline.answer_due and (
                self.deadline.answer_due <= self.settings.engine.wheel.tick
            ):
                counters.count_by_name("answer_timeout")
                timeout = self.settings.limits.answer_timeout
                return exchange.give_up(f"it took longer than answer_timeout, {timeout:g} s")
            moved_size = self.written_size - self.transport.backlog.size
            if has_stalled(
                &self.deadline, moved_size, self.has_ended, self.settings, self.transport
            ):
                counters.count_by_name("body_timeout")
                return self.drop()
            return 0
        if self.deadline.wait == HEAD_END and self.input is not None:
            return self.refuse(OverLimit("handshake_timeout", 408, "the request took too long\n"))
        counters.count_by_name(
            "handshake_timeout" if self.deadline.wait == HEAD_END else "keep_alive_timeout"
        )
        return self.end()

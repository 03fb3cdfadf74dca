"""One WebSocket connection: its states and its closing handshake (RFC 6455 section 7); what the application holds."""

import asyncio
import time

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.unicode cimport PyUnicode_DecodeUTF8
from libc.stdint cimport SIZE_MAX
from libc.stdlib cimport free

from sockwave.close import CloseCode, check_close
from sockwave.core.carrier cimport HEADROOM_SIZE
from sockwave.core.emitter cimport CLOSED, CONNECTION, DRAIN, MESSAGE, PINGED, PONGED, READY_STATE_CHANGE
from sockwave.core.frames cimport (
    CLOSE, INVALID_UTF8, MAX_CONTROL_SIZE, PING, PONG, TEXT, TOO_SLOW, violation_code, violation_reason,
)
from sockwave.core.hixie cimport HixieReader
from sockwave.core.reader cimport NEEDS_MORE, VIOLATED
from sockwave.core.writer import DONE
from sockwave.core.writer cimport draft_frame_of, frame_of, payload_of

from sockwave.core.emitter import CONNECTION_EVENTS
from sockwave.errors import ConnectionClosed
from sockwave.states import ReadyState

cdef enum:
    FIN = 0x80

VERSIONS = ("draft75", "draft76", "hybi-07", "hybi-08", "rfc6455")
cdef enum:
    DRAFT75, DRAFT76

READY_STATES = {
    UNKNOWN: ReadyState.UNKNOWN,
    OPENING: ReadyState.OPENING,
    WAITING: ReadyState.WAITING,
    HANDSHAKING: ReadyState.HANDSHAKING,
    CONNECTED: ReadyState.CONNECTED,
    CLOSING: ReadyState.CONNECTED,
    ENDING: ReadyState.CONNECTED,
    ENDED: ReadyState.CLOSED,
}

# Section 7 as a table: where a connection stands and what happens → where it stands then, whether our close frame is sent, and
# what becomes of the carrier. What is not in it changes nothing.
cdef enum:
    KEEP        # it stays, until the peer's close frame or the deadline
    FINISH      # it ends after our last byte: 7.1.1, the server is the one to close first
    LINGER      # the same, but the peer may still be sending
    DROP        # it is gone already
MOVES = {
    (CONNECTED, WE_CLOSE): (CLOSING, True, KEEP),
    (CONNECTED, PEER_CLOSES): (ENDING, True, FINISH),
    (CONNECTED, PEER_FAILS): (ENDING, True, LINGER),
    (CONNECTED, STREAM_ENDS): (ENDING, False, DROP),
    (CLOSING, PEER_CLOSES): (ENDING, False, FINISH),
    (CLOSING, PEER_FAILS): (ENDING, False, LINGER),
    (CLOSING, STREAM_ENDS): (ENDING, False, DROP),
}

cdef uint64_t connection_count = 0


cdef class Hub:
    """What the connections of one server share."""

    def __cinit__(self, Emitter server, Engine engine, limits):
        self.server = server
        self.engine = engine
        self.limits = limits
        self.connections = {}
        self.tasks = set()
        self.max_size = SIZE_MAX if limits.max_size is None else limits.max_size
        self.queue_count = limits.queue_count
        self.queue_size = limits.queue_size
        self.close_timeout = limits.close_timeout or 0

    def broadcast(self, message, Connection besides=None):
        """Send a str or bytes-like to every connected client, `besides` one, and give how many it was queued for."""
        cdef const uint8_t* data
        cdef size_t size
        cdef int opcode
        cdef bytes frame, draft_frame = None
        cdef Connection connection
        cdef Py_ssize_t count = 0
        owner = payload_of(message, &data, &size, &opcode)
        frame = frame_of(FIN | opcode, data, size)
        for connection in self.connections.values():
            if connection.phase != CONNECTED or connection is besides:
                continue
            if not connection.is_draft():
                connection.share_frame(frame, size)
            elif opcode == TEXT:
                if draft_frame is None:
                    draft_frame = draft_frame_of(data, size)
                connection.share_frame(draft_frame, size)
            else:
                continue        # the drafts have no binary
            count += 1
        return count

    cdef int tell_server(self, int event, Connection connection, object argument) except -1:
        """Let the server's listeners hear what happens to a connection."""
        cdef Connection previous = self.current
        self.current = connection
        try:
            return self.server.emit(event, connection, argument)
        finally:
            self.current = previous

    def hold(self, coroutine, Connection connection=None):
        """Run what an asynchronous listener returned as a task: the connection's own, or one that outlives it."""
        if connection is None or connection.phase >= ENDING:
            self.start_task(connection, coroutine, self.tasks)
        else:
            if connection.tasks is None:
                connection.tasks = set()
            self.start_task(connection, coroutine, connection.tasks)

    cdef int start_task(self, Connection connection, object coroutine, set tasks) except -1:
        task = self.engine.loop.create_task(coroutine)
        tasks.add(task)

        def done(task):
            tasks.discard(task)
            if not task.cancelled() and task.exception() is not None:
                self.server.listener_failed_for(task.exception(), connection)

        task.add_done_callback(done)
        return 0


cdef class Connection(Receiver):
    """One WebSocket connection, whatever its version and whatever carries it."""

    def __cinit__(self, Hub hub, Carrier line, str version, bytes head):
        global connection_count
        cdef HixieReader draft_reader
        connection_count += 1
        self.id = connection_count
        self.hub = hub
        self.line = line
        self.head = head
        self.version_index = VERSIONS.index(version)
        self.round_trip_s = -1
        if self.is_draft():
            draft_reader = HixieReader(hub.max_size)
            draft_reader.has_close = self.version_index == DRAFT76
            self.reader = draft_reader
        else:
            self.reader = Reader(hub.max_size)

    def __repr__(self):
        return f"<Connection {self.id} {self.version} {self.ready_state.name}>"

    cdef bint is_draft(self) noexcept:
        return self.version_index <= DRAFT76

    # ---- the opening, driven from outside

    def _enter(self, int phase):
        self.enter(<Phase>phase)

    def _begin(self, opening, bytes rest):
        """Become the receiver; `rest` came behind the request. Until `_open`, what comes is kept, and `opening` is told."""
        cdef Input given
        self.opening = opening
        self.line.receiver = self
        self.enter(OPENING)
        given.data = <uint8_t*>PyBytes_AS_STRING(rest)
        given.size = PyBytes_GET_SIZE(rest)
        self.reader.hold(&given)

    def _take(self, size_t size):
        """Take `size` bytes of what came behind the request; None while they are not all there."""
        cdef Input given
        cdef size_t held_size
        cdef uint8_t* held
        if self.reader.held_size < size:
            return None
        held = self.reader.take_held(&held_size)
        taken = PyBytes_FromStringAndSize(<char*>held, size)
        given.data = held + size
        given.size = held_size - size
        self.reader.hold(&given)
        free(held)
        return taken

    def _open(self, bytes answer, str subprotocol):
        """Send the answer to the handshake: from here on the connection can send and receive."""
        self.opening = None
        self.chosen_subprotocol = subprotocol
        self.line.set_deadline(None)
        self.line.write(answer)
        self.hub.connections[self.id] = self
        self.enter(CONNECTED)
        if self.phase == CONNECTED:
            self.hub.tell_server(CONNECTION, self, None)
        self.go_on_later()

    cdef int postpone(self) except -1:
        if not self.is_postponed:
            self.is_postponed = True
            self.line.engine.postpone(self.line)
            self.set_reading()
        return 0

    cdef int go_on_later(self) except -1:
        """Take up what had to wait: first what was read already, then the socket."""
        return self.postpone() if self.reader.held_size else self.set_reading()

    cdef int enter(self, Phase phase) except -1:
        before = READY_STATES[self.phase]
        self.phase = phase
        state = READY_STATES[phase]
        if state is not before:
            self.emit(READY_STATE_CHANGE, state, None)
            self.hub.tell_server(READY_STATE_CHANGE, self, state)
        return 0

    # ---- bytes in

    cdef uint8_t* reserve(self, size_t* size) except? NULL:
        return self.reader.reserve(size) if self.phase == CONNECTED else NULL

    cdef int take_bytes(self, uint8_t* data, size_t size) except -1:
        cdef Input given
        cdef size_t held_size = self.reader.held_size
        given.data = data
        given.size = size
        if self.phase < CONNECTED:
            self.reader.hold(&given)
            self.opening.more_received()
        elif self.is_postponed or self.is_full or held_size > HEADROOM_SIZE:
            self.reader.hold(&given)
            if not self.is_full:
                self.postpone()
        else:
            if held_size:
                given.data = self.reader.prepend_held(data)
                given.size += held_size
            self.read(&given)
        return 0

    cdef int go_on(self) except -1:
        cdef Input given
        cdef uint8_t* held
        self.is_postponed = False
        if not self.is_full and self.reader.held_size:
            held = self.reader.take_held(&given.size)
            given.data = held
            try:
                self.read(&given)
            finally:
                free(held)
        if not self.is_postponed:
            self.set_reading()
        return 0

    cdef int read(self, Input* given) except -1:
        """Read what has come, message by message, until nothing whole is left or somebody has to wait."""
        cdef Found found
        cdef Engine engine = self.line.engine
        cdef int event
        # Section 1.4 of RFC 6455: "After sending a control frame indicating the connection should be closed, a peer does not send
        # any further data; after receiving [one], a peer discards any further data received."
        while self.phase == CONNECTED or self.phase == CLOSING:
            if self.is_full:
                return self.reader.hold(given)
            if engine.budget <= 0:
                self.reader.hold(given)
                return self.postpone()
            event = self.reader.next(given, &found)
            if event == NEEDS_MORE:
                return self.reader.hold(given)
            engine.budget -= 1
            if event == VIOLATED:
                return self.fail(found.violation)
            if event >= CLOSE:
                self.found_control(event, &found)
            else:
                self.found_message(event, &found)
        return 0

    cdef int found_message(self, int opcode, Found* found) except -1:
        if self.phase != CONNECTED:
            return self.reader.forget_message()
        if opcode == TEXT:
            try:
                message = PyUnicode_DecodeUTF8(<const char*>found.data, found.size, NULL)
            except UnicodeDecodeError:
                return self.fail(INVALID_UTF8)
            if found.assembled:
                self.reader.forget_message()
        elif found.assembled:
            message = self.reader.take_message()
        else:
            message = PyBytes_FromStringAndSize(<const char*>found.data, found.size)
        if not self.emit(MESSAGE, message, None) or (self.inbox is not None and self.inbox.is_awaited()):
            self.queue(message, found.size)
        return 0

    cdef int found_control(self, int opcode, const Found* found) except -1:
        cdef bytes payload = PyBytes_FromStringAndSize(<const char*>found.data, found.size)
        if opcode == CLOSE:
            if found.size:
                self.settle(found.data[0] << 8 | found.data[1], payload[2:].decode())
            else:
                self.settle(CloseCode.NO_STATUS_RECEIVED, "")
            # 5.5.1: "When sending a Close frame in response, the endpoint typically echos the status code it received."
            self.happened(PEER_CLOSES, payload[:2])
        elif self.phase != CONNECTED:
            return 0
        elif opcode == PING:
            self.write_pong(payload)
            self.emit(PINGED, payload, None)
        else:
            self.match_pong(payload)
            self.emit(PONGED, payload, None)
        return 0

    def match_pong(self, bytes payload):
        """Find the ping that a pong answers. 5.5.3: earlier ones may go unanswered, so they are answered by it too."""
        cdef Py_ssize_t i
        if self.pings is None:
            return
        now = time.perf_counter()
        for i in range(len(self.pings)):
            if self.pings[i][0] == payload:
                for _, when, waiter in self.pings[:i + 1]:
                    self.round_trip_s = now - when
                    if not waiter.done():
                        waiter.set_result(now - when)
                del self.pings[:i + 1]
                return

    # ---- the closing handshake

    cdef int happened(self, Occurrence occurrence, object close_payload) except -1:
        """Do what the table says."""
        move = MOVES.get((self.phase, occurrence))
        if move is None:
            return 0
        phase, answers, farewell = move
        self.enter(phase)
        if self.phase == CLOSING:
            self.is_full = False        # nobody takes messages any more, but the peer's close frame is among them
            self.set_reading()
        if answers:
            self.own_code = int.from_bytes(close_payload[:2], "big")
            self.write_close(close_payload)
            # No answer, or a peer that does not even take ours: it ends all the same.
            self.line.set_deadline(self.hub.close_timeout or None)
        if farewell == LINGER or self.version_index == DRAFT75:
            self.line.finish(True)
        elif farewell == FINISH:
            self.line.finish(False)
        elif farewell == DROP:
            self.line.lose(None)
        return 0

    cdef int fail(self, Violation violation) except -1:
        """Fail the connection (7.1.7): the one way out for whatever the peer does wrong."""
        cdef int code = violation_code(violation)
        reason = violation_reason(violation)
        self.settle(code, reason)
        self.reader.forget_message()
        return self.happened(PEER_FAILS, check_close(code, reason))

    cdef int settle(self, int code, str reason) except -1:
        """Note how it ended, where that is not known yet."""
        if not self.code:
            self.code = code
            self.reason = reason
        return 0

    cpdef object eof_received(self):
        if self.phase < CONNECTED:
            self.line.lose(None)
        else:
            self.happened(STREAM_ENDS, None)

    cpdef object deadline_passed(self):
        if self.phase < CONNECTED:
            self.opening.deadline_passed()
        else:
            self.happened(STREAM_ENDS, None)

    cpdef object connection_lost(self, object error):
        self.settle(CloseCode.NO_STATUS_RECEIVED if self.version_index == DRAFT75 else CloseCode.ABNORMAL_CLOSURE, "")
        opening, self.opening = self.opening, None
        if opening is not None:
            opening.connection_lost()
        self.hub.connections.pop(self.id, None)
        self.reader.forget_message()
        free(self.reader.take_held(&self.reader.held_size))
        self.enter(ENDED)
        if self.inbox is not None:
            self.inbox.end()
        for _, _, waiter in self.pings or ():
            if not waiter.done():
                waiter.set_exception(self._closed_error())
                waiter.exception()      # known: nobody has to await it
        self.pings = None
        self.emit(CLOSED, self.code, self.reason)
        # A task that reads messages hears of the end by itself, and may still have messages to read.
        for task in list(self.tasks or ()):
            if self.inbox is None or task is not self.inbox.consumer:
                task.cancel()
        self.forget_listeners()

    # ---- bytes out

    cdef int write_message(self, int opcode, object owner, const uint8_t* data, size_t size) except -1:
        if self.line.is_overfull(size):
            return self.give_up()
        if not self.is_draft():
            return self.line.write_frame(FIN | opcode, owner, data, size)
        return self.line.share(draft_frame_of(data, size))

    cdef int share_frame(self, bytes frame, size_t size) except -1:
        if self.line.is_overfull(size):
            return self.give_up()
        return self.line.share(frame)

    cdef int give_up(self) except -1:
        """Fail a peer that does not read: what has not begun to leave is dropped, so that the close frame can follow."""
        self.line.drop_backlog(True)
        return self.fail(TOO_SLOW)

    cdef int write_close(self, object payload) except -1:
        cdef bytes body = payload
        if self.version_index == DRAFT76:
            self.line.write_bytes(b"\xff\x00", b"\xff\x00", 2)
        elif self.version_index != DRAFT75:
            self.line.write_frame(FIN | CLOSE, body, <const uint8_t*>PyBytes_AS_STRING(body), PyBytes_GET_SIZE(body))
        return 0

    cdef int write_pong(self, bytes payload) except -1:
        # 5.5.3: "If an endpoint receives a Ping frame and has not yet sent Pong frame(s) in response to previous Ping frame(s), the
        # endpoint MAY elect to send a Pong frame for only the most recently processed Ping frame."
        if self.line.is_blocked:
            self.owed_pong = payload
        else:
            self.line.write_frame(FIN | PONG, payload, <const uint8_t*>PyBytes_AS_STRING(payload), PyBytes_GET_SIZE(payload))
        return 0

    cdef int backlog_rose(self) except -1:
        self.is_choked = True
        return self.set_reading()

    cdef int backlog_fell(self) except -1:
        self.is_choked = False
        self.go_on_later()
        return self.emit(DRAIN, None, None)

    cdef int backlog_emptied(self) except -1:
        cdef bytes owed = self.owed_pong
        self.owed_pong = None
        if owed is not None and self.phase == CONNECTED:
            self.write_pong(owed)
        return 0

    cdef int set_reading(self) except -1:
        """Read while both the application and the peer keep up; when it closes, in any case."""
        if self.is_postponed or self.phase == CONNECTED and (self.is_full or self.is_choked):
            self.line.pause()
        elif self.phase >= CONNECTED:
            self.line.resume()
        return 0

    # ---- what the application uses

    cpdef dict event_table(self):
        return CONNECTION_EVENTS

    cpdef object listener_failed(self, BaseException error):
        self.hub.server.listener_failed_for(error, self)

    cpdef object listener_started(self, object coroutine):
        self.hub.hold(coroutine, self)

    def send(self, message):
        """Send a str (text) or bytes-like (binary) message.

        It is queued at once and leaves in order and whole. The awaitable that is returned is done when the backlog is under the
        high-water mark; it need not be awaited.

        Raises ConnectionClosed when not connected, TypeError for anything but str and bytes-like (on a draft: but str),
        ValueError for a str with a lone surrogate. Serves RFC 6455, section 6.1.
        """
        cdef const uint8_t* data
        cdef size_t size
        cdef int opcode
        if self.phase != CONNECTED:
            raise self._closed_error()
        owner = payload_of(message, &data, &size, &opcode)
        if self.is_draft() and opcode != TEXT:
            raise TypeError(f"{self.version} has text messages only: expected str, given {type(message).__name__}")
        self.write_message(opcode, owner, data, size)
        if self.line.backlog_size <= self.line.cork.high_water:
            return DONE
        return self.line.drain_awaitable()

    write = send

    def broadcast(self, message):
        """Send a message to all the other connections of the server, and give how many it was queued for."""
        return self.hub.broadcast(message, self)

    def close(self, code=1000, reason=""):
        """Start the closing handshake (RFC 6455, section 7.1.2); nothing happens when it has begun.

        Raises TypeError or ValueError for a code or reason that cannot be sent. The drafts' close carries neither.
        """
        payload = check_close(code, reason)
        if self.phase < CONNECTED:
            self.line.lose(None)
        else:
            self.happened(WE_CLOSE, payload)

    def abort(self):
        """Drop the socket now, without a closing handshake."""
        if self.phase < ENDING:
            if self.phase >= CONNECTED:
                self.enter(ENDING)
            self.line.lose(None)

    def ping(self, data=b""):
        """Send a ping; the awaitable gives the round trip in seconds (RFC 6455, section 5.5.2).

        Raises ConnectionClosed when not connected (or, in the awaitable, when the connection ends first), TypeError on a draft,
        which has no ping, ValueError for more than 125 bytes.
        """
        cdef bytes payload
        if self.phase != CONNECTED:
            raise self._closed_error()
        if self.is_draft():
            raise TypeError(f"{self.version} has no ping")
        payload = data.encode() if isinstance(data, str) else bytes(memoryview(data))
        if len(payload) > MAX_CONTROL_SIZE:
            raise ValueError(f"ping: expected at most {MAX_CONTROL_SIZE} bytes, given {len(payload)}")
        waiter = self.hub.engine.loop.create_future()
        if self.pings is None:
            self.pings = []
        self.pings.append((payload, time.perf_counter(), waiter))
        self.line.write_frame(FIN | PING, payload, <const uint8_t*>PyBytes_AS_STRING(payload), PyBytes_GET_SIZE(payload))
        return waiter

    def _closed_error(self):
        if self.phase < CONNECTED:
            return ConnectionClosed(CloseCode.ABNORMAL_CLOSURE, "the handshake has not been completed")
        return ConnectionClosed(self.code or self.own_code or CloseCode.ABNORMAL_CLOSURE, self.reason or "")

    # ---- messages by `async for`

    cdef int queue(self, object message, size_t size) except -1:
        """Keep a message for whoever asks; without anybody in sight, the first few only."""
        cdef Inbox inbox = self.inbox
        if inbox is None:
            inbox = self.inbox = Inbox()
        if not inbox.is_wanted and inbox.count() >= self.hub.queue_count and not self.tasks and not self.has_handler:
            return 0
        inbox.put(message, size)
        if inbox.count() >= self.hub.queue_count or inbox.size >= self.hub.queue_size:
            if inbox.is_wanted or self.tasks or self.has_handler:
                self.is_full = True
                self.set_reading()
        return 0

    def expect_handler(self):
        """Keep messages for a task that will ask for them."""
        self.has_handler = True

    async def receive(self, timeout=None):
        """Receive the next message, waiting for it at most `timeout` seconds (None: as long as it takes).

        Raises TimeoutError, or ConnectionClosed when no message is left and none will come.
        """
        cdef Inbox inbox
        if self.inbox is None:
            self.inbox = Inbox()
        inbox = self.inbox
        inbox.want()
        if not inbox.count():
            async with asyncio.timeout(timeout):
                while not inbox.count():
                    if self.phase == ENDED:
                        raise self._closed_error()
                    waiter = inbox.wait(self.hub.engine.loop)
                    try:
                        await waiter
                    except asyncio.CancelledError:
                        if not waiter.cancelled() and inbox.count():
                            inbox.wake()        # it was this one's turn: let the next have it
                        raise
        message = inbox.take()
        if self.is_full and inbox.count() <= self.hub.queue_count // 4 and inbox.size <= self.hub.queue_size // 4:
            self.is_full = False
            self.go_on_later()
        return message

    def __aiter__(self):
        return self

    async def __anext__(self):
        try:
            return await self.receive()
        except ConnectionClosed:
            raise StopAsyncIteration from None

    # ---- what the application asks about

    @property
    def version(self):
        """The protocol version: "draft75", "draft76", "hybi-07", "hybi-08" or "rfc6455"."""
        return VERSIONS[self.version_index]

    @property
    def ready_state(self):
        """Where the connection stands: a `ReadyState`."""
        return READY_STATES[self.phase]

    @property
    def request(self):
        """The opening handshake's request."""
        if type(self.head) is bytes:
            self.head = self.hub.server.make_request(self.head)
        return self.head

    @property
    def subprotocol(self):
        """The subprotocol that was chosen, or None."""
        return self.chosen_subprotocol

    @property
    def data(self):
        """A dict of the application's own."""
        if self.own_data is None:
            self.own_data = {}
        return self.own_data

    @property
    def latency(self):
        """The latest round trip of a ping in seconds, None before the first."""
        return self.round_trip_s if self.round_trip_s >= 0 else None

    @property
    def backlog_size(self):
        """How many bytes wait because the peer does not take them."""
        return self.line.backlog_size

    @property
    def carrier(self):
        """What carries the connection: "http/1.1", "h2" or "h3"."""
        return self.line.protocol

    @property
    def remote_address(self):
        """The peer: (host, port), or the path of a Unix socket."""
        return self.line.remote_address

    @property
    def local_address(self):
        """Our end: (host, port), or the path of a Unix socket."""
        return self.line.local_address

    @property
    def close_code(self):
        """How it ended, None before: the peer's code, ours for what the peer did wrong, 1005 without one, 1006 without a close."""
        return self.code if self.phase == ENDED else None

    @property
    def close_reason(self):
        """The reason that came with the code, None before the end."""
        return self.reason if self.phase == ENDED else None

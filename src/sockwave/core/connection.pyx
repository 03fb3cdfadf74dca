"""A WebSocket connection as the application holds it, and what those of a server share."""

import asyncio
import time

from libc.stdint cimport SIZE_MAX

from sockwave.core.codec cimport Deflater
from sockwave.core.emitter cimport (
    CLOSED, CONNECTION, DRAIN, MESSAGE, PINGED, PONGED, READY_STATE_CHANGE,
)
from sockwave.core.frames cimport MAX_CONTROL_SIZE, PING, RSV1, TEXT
from sockwave.core.session cimport CONNECTED, ENDED, ENDING, WE_CLOSE
from sockwave.core.writer cimport draft_frame_of, frame_of, payload_of

from sockwave.close import check_close
from sockwave.core.emitter import CONNECTION_EVENTS
from sockwave.core.session import READY_STATES, VERSIONS
from sockwave.core.writer import DONE
from sockwave.errors import ConnectionClosed

cdef enum:
    FIN = 0x80

cdef uint64_t connection_count = 0


cdef int check_compress(object compress) except -1:
    if compress is not None and compress is not True and compress is not False:
        raise TypeError(f"compress: expected True, False or None, given {compress!r}")
    return 0


cdef bytes deflated_frame_of(
    Deflater deflater, object owner, const uint8_t* data, size_t size, int opcode
):
    """Make a compressed frame that can be shared."""
    owner = deflater.deflate(owner, &data, &size, &opcode)
    return frame_of(FIN | opcode, data, size)


cdef class Hub:
    """What the connections of one server share."""

    def __cinit__(self, Emitter server, Engine engine, limits, dict connections):
        self.server = server
        self.engine = engine
        self.limits = limits
        self.connections = connections
        self.tasks = set()
        self.max_size = SIZE_MAX if limits.max_size is None else limits.max_size
        self.queue_count = limits.queue_count
        self.queue_size = limits.queue_size
        self.close_timeout = limits.close_timeout or 0
        self.codecs = Codecs(self.max_size)

    def broadcast(self, message, Connection besides=None, *, compress=None):
        """Send a message to every connected client, `besides` one; give how many it was queued for.
        """
        cdef const uint8_t* data
        cdef size_t size
        cdef int opcode
        cdef bytes frame = None, draft_frame = None
        cdef dict deflated_frames = {}
        cdef Connection connection
        cdef Py_ssize_t count = 0
        check_compress(compress)
        owner = payload_of(message, &data, &size, &opcode)
        for connection in self.connections.values():
            if connection.phase != CONNECTED or connection is besides:
                continue
            if connection.deflater is not None and connection.deflater.wants(size, compress):
                shared = connection.deflater.shared or connection.deflater
                deflated_frame = deflated_frames.get(shared)
                if deflated_frame is None:
                    deflated_frame = deflated_frame_of(shared, owner, data, size, opcode)
                    deflated_frames[shared] = deflated_frame
                if shared is not connection.deflater:
                    connection.deflater.start_over()
                connection.share_frame(deflated_frame)
            elif not connection.is_draft():
                if frame is None:
                    frame = frame_of(FIN | opcode, data, size)
                connection.share_frame(frame)
            elif opcode == TEXT:
                if draft_frame is None:
                    draft_frame = draft_frame_of(data, size)
                connection.share_frame(draft_frame)
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
        """Run what an asynchronous listener returned as a task.

        It is the connection's own, and ends with it, or one that outlives it.
        """
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
            if connection is not None:
                connection._taker_ended()
            if not task.cancelled() and task.exception() is not None:
                self.server.listener_failed_for(task.exception(), connection)

        task.add_done_callback(done)
        return 0


cdef class Connection(Session):
    """One WebSocket connection, whatever its version and whatever carries it."""

    def __init__(self, Hub hub, Carrier line, str version, bytes head):
        global connection_count
        super().__init__(line, version, hub.max_size, hub.close_timeout)
        connection_count += 1
        self.id = connection_count
        self.hub = hub
        self.head = head
        self.round_trip_s = -1

    def __repr__(self):
        return f"<Connection {self.id} {self.version} {self.ready_state.name}>"

    # ---- what the protocol's side has found

    def _compress(self, agreement):
        """Compress and inflate from here on, as has been agreed."""
        self.deflater = self.hub.codecs.deflater_for(agreement)
        self.inflater = self.hub.codecs.inflater_for(agreement)
        self.reader.allowed_reserved = RSV1

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

    cdef int entered(self, object state) except -1:
        self.emit(READY_STATE_CHANGE, state, None)
        return self.hub.tell_server(READY_STATE_CHANGE, self, state)

    cdef int heard_message(self, object message, size_t size) except -1:
        if self.inbox is not None and self.inbox.count() and self.hears(MESSAGE):
            self._hand_over()
        heard = self.emit(MESSAGE, message, None)
        if heard:
            if self.inbox is not None and self.inbox.is_awaited():
                self.queue(message, size)
        elif not self.has_listened or self.has_taker():
            self.queue(message, size)
        return 0

    cdef int add(self, object event, object listener, bint once) except -1:
        Session.add(self, event, listener, once)
        if event == "message":
            self.has_listened = True
            if self.inbox is not None and self.inbox.count():
                self.hub.engine.loop.call_soon(self._hand_over)
        return 0

    def _hand_over(self):
        """Let a listener that came late hear what has been kept, unless somebody receives it."""
        while self.inbox.count() and not self.inbox.is_awaited() and self.hears(MESSAGE):
            self.emit(MESSAGE, self.inbox.take(), None)
        if self.is_full and not self.inbox.count():
            self.is_full = False
            self.go_on_later()

    cdef int heard_ping(self, bytes payload) except -1:
        return self.emit(PINGED, payload, None)

    cdef int heard_pong(self, bytes payload) except -1:
        """Find the ping that a pong answers. 5.5.3: earlier ones may go unanswered, so they are
        answered by it too."""
        cdef Py_ssize_t i
        now = time.perf_counter()
        for i in range(len(self.pings or ())):
            if self.pings[i][0] == payload:
                for _, when, waiter in self.pings[:i + 1]:
                    self.round_trip_s = now - when
                    if not waiter.done():
                        waiter.set_result(now - when)
                del self.pings[:i + 1]
                break
        return self.emit(PONGED, payload, None)

    cdef int may_send_again(self) except -1:
        return self.emit(DRAIN, None, None)

    cdef int ended(self) except -1:
        if self.inbox is not None:
            self._hand_over()
        self.hub.connections.pop(self.id, None)
        self.enter(ENDED)
        for _, _, waiter in self.pings or ():
            if not waiter.done():
                waiter.set_exception(self._closed_error())
                waiter.exception()      # known: nobody has to await it
        self.pings = None
        self.emit(CLOSED, self.code, self.reason)
        # A task that waits for messages hears of the end by itself, and may have some to read.
        for task in list(self.tasks or ()):
            if self.inbox is None or task is not self.inbox.consumer or not self.inbox.is_due():
                task.cancel()
        if self.inbox is not None:
            self.inbox.end()
        return self.forget_listeners()

    # ---- what the application uses

    cpdef dict event_table(self):
        return CONNECTION_EVENTS

    cpdef object listener_failed(self, BaseException error):
        self.hub.server.listener_failed_for(error, self)

    cpdef object listener_started(self, object coroutine):
        self.hub.hold(coroutine, self)

    def send(self, message, *, compress=None):
        """Send a str (text) or bytes-like (binary) message.

        It is queued at once and leaves in order and whole. The awaitable that is returned is done
        when the backlog is under the high-water mark; it need not be awaited.

        Where permessage-deflate has been agreed on, messages from the threshold on are compressed;
        `compress` True or False decides otherwise for this one. False is for secrets beside text of
        an attacker's: the size of the two compressed together tells about the secret.

        Raises ConnectionClosed when not connected, TypeError for anything but str and bytes-like
        (on a draft: but str), ValueError for a str with a lone surrogate. Serves RFC 6455,
        section 6.1, and RFC 7692, section 6.1.
        """
        cdef const uint8_t* data
        cdef size_t size
        cdef int opcode
        if self.phase != CONNECTED:
            raise self._closed_error()
        check_compress(compress)
        owner = payload_of(message, &data, &size, &opcode)
        if self.is_draft() and opcode != TEXT:
            given = type(message).__name__
            raise TypeError(f"{self.version} has text messages only: expected str, given {given}")
        if self.deflater is not None and self.deflater.wants(size, compress):
            owner = self.deflater.deflate(owner, &data, &size, &opcode)
        self.write_message(opcode, owner, data, size)
        if self.line.backlog_size <= self.line.cork.high_water:
            return DONE
        return self.line.drain_awaitable()

    write = send

    def broadcast(self, message, *, compress=None):
        """Send a message to all the other connections; give how many it was queued for.

        `compress` is that of `send`.
        """
        return self.hub.broadcast(message, self, compress=compress)

    def close(self, code=1000, reason=""):
        """Start the closing handshake (RFC 6455, section 7.1.2); nothing happens when it has begun.

        Raises TypeError or ValueError for a code or reason that cannot be sent. The drafts' close
        carries neither.
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

        Raises ConnectionClosed when not connected (or, in the awaitable, when the connection ends
        first), TypeError on a draft, which has no ping, ValueError for more than 125 bytes.
        """
        cdef bytes payload
        if self.phase != CONNECTED:
            raise self._closed_error()
        if self.is_draft():
            raise TypeError(f"{self.version} has no ping")
        payload = data.encode() if isinstance(data, str) else bytes(memoryview(data))
        if len(payload) > MAX_CONTROL_SIZE:
            raise ValueError(
                f"ping: expected at most {MAX_CONTROL_SIZE} bytes, given {len(payload)}"
            )
        waiter = self.hub.engine.loop.create_future()
        if self.pings is None:
            self.pings = []
        self.pings.append((payload, time.perf_counter(), waiter))
        self.write_control(PING, payload)
        return waiter

    def _closed_error(self):
        if self.phase < CONNECTED:
            return ConnectionClosed(1006, "the handshake has not been completed")
        return ConnectionClosed(self.code or self.own_code or 1006, self.reason or "")

    # ---- messages by `async for`

    cdef int queue(self, object message, size_t size) except -1:
        """Keep a message for whoever asks; without anybody in sight, the first few only."""
        cdef Inbox inbox = self.inbox
        if inbox is None:
            inbox = self.inbox = Inbox()
        in_sight = self.has_taker()
        if in_sight or inbox.count() < self.hub.queue_count:
            inbox.put(message, size)
        if inbox.count() >= self.hub.queue_count or inbox.size >= self.hub.queue_size:
            self.is_full = in_sight
            self.set_reading()
        return 0

    cdef bint has_taker(self) except -1:
        """Tell whether somebody takes messages, or may be about to."""
        return self.has_handler or bool(self.tasks) or self.inbox is not None and (
            self.inbox.is_awaited() or self.inbox.is_wanted
        )

    def _taker_ended(self):
        """Read on when the last one is gone for whom messages were kept."""
        if self.is_full and not self.has_taker():
            self.is_full = False
            self.go_on_later()

    def expect_handler(self):
        """Keep messages for a task that will ask for them."""
        self.has_handler = True

    async def receive(self, timeout=None):
        """Receive the next message, waiting for it at most `timeout` seconds (None: without end).

        Raises TimeoutError, or ConnectionClosed when no message is left and none will come.
        """
        cdef Inbox inbox
        if self.inbox is None:
            self.inbox = Inbox()
        inbox = self.inbox
        task = asyncio.current_task()
        inbox.consumer = task
        if not self.tasks or task not in self.tasks:
            # One that is not ours to see the end of; such come and go for each message.
            inbox.is_wanted = True
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
        if self.is_full and self.has_room():
            self.is_full = False
            self.go_on_later()
        return message

    cdef bint has_room(self) except -1:
        """Tell whether the queue is down to a quarter of its limits."""
        return (
            self.inbox.count() <= self.hub.queue_count // 4
            and self.inbox.size <= self.hub.queue_size // 4
        )

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
        """How it ended: the peer's code, or ours for what the peer did wrong; None before.

        1005 stands for a close without a code, 1006 for an end without a close.
        """
        return self.code if self.phase == ENDED else None

    @property
    def close_reason(self):
        """The reason that came with the code, None before the end."""
        return self.reason if self.phase == ENDED else None

"""A WebSocket connection as the application holds it, and what those of a server share."""

import asyncio
import time

from libc.stdint cimport SIZE_MAX, uint8_t

from sockwave.core.codec cimport Deflater
from sockwave.core.emitter cimport (
    CLOSED, CONNECTION, DRAIN, MESSAGE, PINGED, PONGED, READY_STATE_CHANGE,
)
from sockwave.core.frames cimport MAX_CONTROL_SIZE, PING, RSV1, TEXT
from sockwave.core.policy cimport CLOSE_SLOW, policy_of, waiting_size
from sockwave.core.session cimport (
    CONNECTED, ENDED, ENDING, INBOX_FULL, NOT_ASKED, TASKS_FULL, WE_CLOSE,
)
from sockwave.core.streams cimport IncomingMessage, OutgoingMessage, kind_of, wake_speakers
from sockwave.core.writer cimport draft_frame_of, frame_of, payload_of

from sockwave.close import check_close
from sockwave.core.emitter import CONNECTION_EVENTS
from sockwave.core.session import READY_STATES, VERSIONS
from sockwave.core.writer import DONE
from sockwave.errors import ConnectionClosed

cdef extern from "Python.h":
    Py_ssize_t PY_SSIZE_T_MAX

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
cdef size_t check_limit(object max_size) except? 0:
    """Give a limit in bytes, where None stands for none."""
    if max_size is None:
        return SIZE_MAX
    if not isinstance(max_size, int) or isinstance(max_size, bool):
        given = type(max_size).__name__
        raise TypeError(f"max_size: expected int or None, given {given}")
    if not 1 <= max_size <= PY_SSIZE_T_MAX:
        raise ValueError(f"max_size: expected 1 to {PY_SSIZE_T_MAX}, given {max_size}")
    return max_size


cdef class Hub:
    """What the connections of one server share."""

    def __cinit__(
        self, Emitter server, Engine engine, limits, dict connections, str slow="close"
    ):
        self.server = server
        self.engine = engine
        self.limits = limits
        self.connections = connections
        self.tasks = set()
        self.max_size = SIZE_MAX if limits.max_size is None else limits.max_size
        self.queue_count = limits.queue_count
        self.queue_size = limits.queue_size
        self.max_tasks = PY_SSIZE_T_MAX if limits.max_tasks is None else limits.max_tasks
        self.policy = policy_of(slow, None, CLOSE_SLOW)
        self.close_timeout = limits.close_timeout or 0
        self.codecs = Codecs(self.max_size)

    def broadcast(
        self, message, Connection besides=None, *, compress=None, slow=None, key=None
    ):
        """Send a message to every connected client, `besides` one; give how many it was queued for.
        """
        cdef const uint8_t* data
        cdef size_t size
        cdef int opcode
        cdef bytes frame = None, draft_frame = None
        cdef dict deflated_frames = {}
        cdef Connection connection
        cdef Py_ssize_t count = 0
        cdef int policy = policy_of(slow, key, self.policy)
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
                count += connection.share_frame(deflated_frame, policy, key)
            elif not connection.is_draft():
                if frame is None:
                    frame = frame_of(FIN | opcode, data, size)
                count += connection.share_frame(frame, policy, key)
            elif opcode == TEXT:
                if draft_frame is None:
                    draft_frame = draft_frame_of(data, size)
                count += connection.share_frame(draft_frame, policy, key)
            # else: the drafts have no binary
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
        """Run what an asynchronous listener returned as a task, and give it.

        It is the connection's own, and ends with it, or one that outlives it.
        """
        if connection is None or connection.phase >= ENDING:
            return self.start_task(connection, coroutine, self.tasks)
        if connection.tasks is None:
            connection.tasks = set()
        return self.start_task(connection, coroutine, connection.tasks)

    cdef object start_task(self, Connection connection, object coroutine, set tasks):
        task = self.engine.loop.create_task(coroutine)
        tasks.add(task)

        def done(task):
            tasks.discard(task)
            if connection is not None:
                connection._taker_ended()
            if not task.cancelled() and task.exception() is not None:
                self.server.listener_failed_for(task.exception(), connection)

        task.add_done_callback(done)
        return task


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
        if self.intake is not None and self.intake.queue:
            return self.intake.take_whole(message, size)
        if self.inbox is not None and self.inbox.count() and self.hears(MESSAGE):
            self._hand_over()
        self.is_hearing = True
        heard = self.emit(MESSAGE, message, None)
        self.is_hearing = False
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
            self.catch_up(NOT_ASKED)
            if self.inbox is not None and self.inbox.count():
                self.hub.engine.loop.call_soon(self._hand_over)
        return 0

    def _hand_over(self):
        """Let a listener that came late hear what has been kept, unless somebody receives it."""
        while self.inbox.count() and not self.inbox.is_awaited() and self.hears(MESSAGE):
            self.is_hearing = True
            self.emit(MESSAGE, self.inbox.take(), None)
            self.is_hearing = False
        if not self.inbox.count():
            self.catch_up(INBOX_FULL)

    cdef int heard_piece(self, int opcode, const Found* found) except -1:
        return self.intake.take_piece(opcode, found)

    cdef bint may_be_streamed(self) except -1:
        """Tell whether a message that is too big to hold can wait until it is known how the
        application asks for it: by `stream`, or by `receive`, which cannot have it."""
        if self.phase != CONNECTED or self.hears(MESSAGE) or not self.has_taker():
            return False
        if self.intake is not None and self.intake.queue:
            return False
        return self.inbox is None or not self.inbox.is_awaited()

    cdef int dropped(self, size_t count) except -1:
        self.dropped_count += count
        self.hub.dropped_count += count
        return 0

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
        if self.intake is not None:
            self.intake.end(self.closed_error())
        wake_speakers(self)
        for _, _, waiter in self.pings or ():
            if not waiter.done():
                waiter.set_exception(self.closed_error())
                waiter.exception()      # known: nobody has to await it
        self.pings = None
        self.emit(CLOSED, self.code, self.reason)
        # A task that waits for messages hears of the end by itself, and may have some to read.
        for task in list(self.tasks or ()):
            if self.intake is not None and task is self.intake.consumer:
                continue
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
        task = self.hub.hold(coroutine, self)
        if self.is_hearing:
            self.task_count += 1
            if self.task_count >= <size_t>self.hub.max_tasks:
                self.fall_behind(TASKS_FULL)
            task.add_done_callback(self._task_ended)

    def _task_ended(self, task):
        self.task_count -= 1
        self.catch_up(TASKS_FULL)

    def send(self, message, *, compress=None, slow=None, key=None):
        """Send a str (text) or bytes-like (binary) message.

        It is queued at once and leaves in order and whole. The awaitable that is returned is done
        when the backlog is under the high-water mark; it need not be awaited.

        Where permessage-deflate has been agreed on, messages from the threshold on are compressed;
        `compress` True or False decides otherwise for this one. False is for secrets beside text of
        an attacker's: the size of the two compressed together tells about the secret.

        `slow` says what becomes of it where the backlog would pass `max_backlog`, in place of the
        server's option: "close" closes the connection with 1013, "drop_new" drops the message,
        "drop_old" drops the oldest that wait, of those sent under it or under "conflate".
        "conflate" does the same, and takes the place of the message with the same `key` that waits
        for a slow peer.

        Raises ConnectionClosed when not connected, TypeError for anything but str and bytes-like
        (on a draft: but str), ValueError for a str with a lone surrogate, TypeError or ValueError
        for a policy that does not exist, or a key without "conflate". Serves RFC 6455,
        section 6.1, and RFC 7692, section 6.1.
        """
        cdef const uint8_t* data
        cdef size_t size
        cdef int opcode
        cdef int policy = self.hub.policy
        if self.phase != CONNECTED:
            raise self.closed_error()
        check_compress(compress)
        if slow is not None or key is not None:
            policy = policy_of(slow, key, policy)
        owner = payload_of(message, &data, &size, &opcode)
        if self.is_draft() and opcode != TEXT:
            given = type(message).__name__
            raise TypeError(f"{self.version} has text messages only: expected str, given {given}")
        if self.deflater is not None and self.deflater.wants(size, compress):
            owner = self.deflater_for(policy).deflate(owner, &data, &size, &opcode)
        if policy == CLOSE_SLOW:
            self.write_message(opcode, owner, data, size)
        else:
            self.share_frame(self.frame_message(opcode, data, size), policy, key)
        if self.behind is None and self.line.backlog_size <= self.line.cork.high_water:
            return DONE
        return self.when_drained()

    write = send

    cdef Deflater deflater_for(self, int policy):
        """Give what compresses a message: nothing may refer to one that may yet be dropped."""
        if policy == CLOSE_SLOW or self.deflater.shared is None:
            return self.deflater
        self.deflater.start_over()
        return self.deflater.shared

    def broadcast(self, message, *, compress=None, slow=None, key=None):
        """Send a message to all the other connections; give how many it was queued for.

        `compress`, `slow` and `key` are those of `send`.
        """
        return self.hub.broadcast(message, self, compress=compress, slow=slow, key=key)

    def stream(self, *, max_size=None):
        """Take the next message as a stream: `async for chunk in conn.stream()`.

        It is the oldest that nobody has been given, begun or not; `message` listeners do not get
        it, nor do those who wait in `receive`. The chunks are bytes, or str of a text message, as
        they arrive; `is_text` of what is returned tells. Several streams may be asked for: each is
        one message, in order. Leaving the loop early discards the rest of the message.

        What waits to be taken is bounded by the options `max_size` and `queue_size`, in bytes, and
        `queue_count`, in chunks; then the socket is not read. The whole message is bounded by the
        argument `max_size`, in bytes (None: not at all): beyond, the connection fails with 1009.
        A compressed message (RFC 7692) comes as one chunk, and within the option `max_size`.

        The loop raises ConnectionClosed when the connection ends before the message does. Raises
        TypeError or ValueError for a wrong `max_size`. Serves RFC 6455, section 5.4.
        """
        cdef size_t limit = check_limit(max_size)
        cdef size_t held_size
        self.note_taker()
        if self.intake is None:
            held_size = min(self.hub.max_size, self.hub.queue_size)
            self.intake = Intake(self, held_size, self.hub.queue_count, self.hub.max_size)
            if self.phase == ENDED:
                self.intake.end(self.closed_error())
        if self.inbox.count():
            held_size = self.inbox.size
            message = self.inbox.take()
            incoming = self.intake.turn_into(limit, message, held_size - self.inbox.size)
            self.note_room()
        else:
            incoming = self.intake.expect(limit)
            self.catch_up(NOT_ASKED)
        return IncomingMessage(incoming)

    def stream_message(self, kind):
        """Send a message in pieces: `async with conn.stream_message("binary") as out`.

        Each `await out.write(chunk)` is a frame of its own; "text" takes str, "binary" bytes-like.
        Other messages sent meanwhile wait behind it, in order; a second stream waits for its turn
        when it is entered. An exception inside the block fails the connection with 1011, where
        something has been written. A draft's message leaves in one frame at the end.

        Raises TypeError or ValueError for a kind that does not exist, TypeError for "binary" on a
        draft; entering raises ConnectionClosed when not connected. Serves RFC 6455, section 5.4.
        """
        opcode = kind_of(kind)
        if self.is_draft() and opcode != TEXT:
            raise TypeError(
                f"{self.version} has text messages only: expected 'text', given {kind!r}"
            )
        return OutgoingMessage(self, opcode)

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
            raise self.closed_error()
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

    # ---- messages by `async for`

    cdef int queue(self, object message, size_t size) except -1:
        """Keep a message for whoever asks; without anybody in sight, the first few only."""
        cdef Inbox inbox = self.inbox
        if inbox is None:
            inbox = self.inbox = Inbox()
        in_sight = self.has_taker()
        if in_sight or inbox.count() < self.hub.queue_count:
            inbox.put(message, size)
        if in_sight and (
            inbox.count() >= self.hub.queue_count or inbox.size >= self.hub.queue_size
        ):
            self.fall_behind(INBOX_FULL)
        return 0

    cdef bint has_taker(self) except -1:
        """Tell whether somebody takes messages, or may be about to."""
        return self.has_handler or bool(self.tasks) or self.inbox is not None and (
            self.inbox.is_awaited() or self.inbox.is_wanted
        )

    cdef int note_taker(self) except -1:
        """Note that the running task takes messages."""
        if self.inbox is None:
            self.inbox = Inbox()
        self.inbox.consumer = asyncio.current_task()
        if not self.tasks or self.inbox.consumer not in self.tasks:
            # One that is not ours to see the end of; such come and go for each message.
            self.inbox.is_wanted = True
        return 0

    def _taker_ended(self):
        """Read on when the last one is gone for whom messages were kept."""
        if not self.has_taker():
            self.catch_up(INBOX_FULL)
            self.catch_up(NOT_ASKED)

    def expect_handler(self):
        """Keep messages for a task that will ask for them."""
        self.has_handler = True

    async def receive(self, timeout=None):
        """Receive the next message, waiting for it at most `timeout` seconds (None: without end).

        Raises TimeoutError, or ConnectionClosed when no message is left and none will come.
        """
        cdef Inbox inbox
        self.note_taker()
        inbox = self.inbox
        if not inbox.count():
            async with asyncio.timeout(timeout):
                while not inbox.count():
                    if self.phase == ENDED:
                        raise self.closed_error()
                    waiter = inbox.wait(self.hub.engine.loop)
                    self.catch_up(NOT_ASKED)
                    try:
                        await waiter
                    except asyncio.CancelledError:
                        if not waiter.cancelled() and inbox.count():
                            inbox.wake()        # it was this one's turn: let the next have it
                        raise
        message = inbox.take()
        self.note_room()
        return message

    cdef int note_room(self) except -1:
        """Read on when the queue is down to a quarter of its limits."""
        if (
            self.inbox.count() <= self.hub.queue_count // 4
            and self.inbox.size <= self.hub.queue_size // 4
        ):
            return self.catch_up(INBOX_FULL)
        return 0

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
        """How many bytes wait because the peer does not take them, or behind a streamed message."""
        return waiting_size(self.line, self.behind)

    @property
    def carrier(self):
        """What carries the connection: "http/1.1", "h2" or "h3"."""
        return self.line.protocol

    @property
    def tls(self):
        """What TLS has agreed on with the peer: a `Security`; None on a plain connection."""
        return self.line.security

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

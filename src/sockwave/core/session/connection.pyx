"""A WebSocket connection: the object that the application uses."""

from asyncio import iscoroutine

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from libc.stdint cimport uint8_t

from sockwave.core.io.transport cimport Transport
from sockwave.core.protocol.deflate cimport Deflater
from sockwave.core.events.emitter cimport (
    CLOSED, CONNECTION, DRAIN, PINGED, PONGED, READY_STATE_CHANGE, decorator, find_event,
    list_listeners, row_of, without,
)
from sockwave.core.protocol.frames cimport MAX_CONTROL_SIZE, TEXT
from sockwave.core.session.delivery cimport Deliverer
from sockwave.core.session.hub cimport Hub
from sockwave.core.session.keepalive cimport (
    begin_keepalive, end_pings, keep_time, note_ping, settle_pings,
)
from sockwave.core.protocol.framing cimport check_compress, payload_of
from sockwave.core.session.outgoing cimport OutgoingMessage, kind_of, wake_streamers
from sockwave.core.session.closing cimport (
    CONNECTED, ENDED, ENDING, WE_CLOSE, advance_closing, closed_error, enter,
)
from sockwave.core.session.session cimport session_hooks
from sockwave.core.io.slow_peer cimport CLOSE_SLOW, is_expendable, policy_of

from sockwave.close import encode_close
from sockwave.core.events.emitter import CONNECTION_EVENTS
from sockwave.core.session.closing import READY_STATES
from sockwave.core.events.waiter import DONE
from sockwave.versions import VERSIONS

# The steps in which a connection ends, in their order.
cdef enum:
    HAND_OVER, LEAVE, ENTER_END, END_STREAMS, END_PINGS, EMIT_CLOSE, LAST_STEP
    ALL_STEPS = (1 << (LAST_STEP + 1)) - 1

# The default of a parameter for which None is a value like others.
cdef object MISSING = object()

cdef uint64_t connection_count = 0


cdef class Connection(Deliverer):
    """One WebSocket connection, in any version of the protocol and over any transport.

    `id` counts upwards and is never used again in this process: a name for logs, and no secret.
    """

    def __cinit__(self):
        self.keepalive.round_trip_s = -1

    def __init__(self, Hub hub, Transport transport, str version, bytes head):
        self.set_up(hub, transport, VERSIONS.index(version), head)

    cdef int set_up(self, Hub hub, Transport transport, int version_index, bytes head) except -1:
        global connection_count
        self.begin(transport, version_index)
        connection_count += 1
        self.id = connection_count
        self.hub = hub
        self.head = head
        return 0

    def __repr__(self):
        return f"<Connection {self.id} {self.version} {self.ready_state.name}>"

    # ---- what the handshake and the session report

    def _compress(self, agreement):
        """Compress and inflate messages from here on, as the handshake has agreed."""
        self.deflater = self.hub.codecs.deflater_for(agreement)
        self.inflater = self.hub.codecs.inflater_for(agreement)

    def _open(self, bytes answer, str subprotocol):
        self.open(answer, subprotocol)

    cdef int open(self, bytes answer, str subprotocol) except -1:
        """Send the answer to the handshake: from here on the connection can send and receive."""
        self.opening = None
        self.chosen_subprotocol = subprotocol
        self.transport.set_deadline(None)
        if not self.transport.is_closing:
            self.transport.write_bytes(
                answer, <const uint8_t*>PyBytes_AS_STRING(answer), PyBytes_GET_SIZE(answer)
            )
        self.hub.connections.join(self, self.id)
        enter(self, CONNECTED)
        if self.state == CONNECTED:
            begin_keepalive(&self.keepalive, self)
            self.hub.tell_server(CONNECTION, self, None)
        return self.go_on_later()

    cdef int entered(self, object state) except -1:
        self.emit_in_context(READY_STATE_CHANGE, state, None)
        return self.hub.tell_server(READY_STATE_CHANGE, self, state)

    cdef int dropped(self, size_t count) except -1:
        self.dropped_count += count
        self.hub.dropped_count += count
        return 0

    cdef int heard_ping(self, bytes payload) except -1:
        return self.emit_in_context(PINGED, payload, None)

    cdef int heard_pong(self, bytes payload) except -1:
        return 0 if settle_pings(&self.keepalive, self, payload) else (
            self.emit_in_context(PONGED, payload, None)
        )

    cdef int notify_deadline(self) except -1:
        if self.state == CONNECTED:
            return keep_time(&self.keepalive, self)
        return Deliverer.notify_deadline(self)

    cdef int may_send_again(self) except -1:
        return self.emit_in_context(DRAIN, None, None)

    cdef int rest_begins(self) except -1:
        Deliverer.rest_begins(self)
        # Otherwise a call that waits for the peer (for its turn to stream, or for a pong) would go
        # on waiting, and the peer's last messages could not be handed over.
        wake_streamers(self)
        return end_pings(self)

    cdef int ended(self) except -1:
        cdef int step
        # Each step by itself: a step that fails for lack of memory must not prevent the next ones.
        for step in range(HAND_OVER, LAST_STEP + 1):
            if not self.taken_steps >> step & 1 and self.try_step(step):
                self.taken_steps |= 1 << step
        if self.taken_steps < ALL_STEPS:
            raise MemoryError       # a task that is not told would wait for ever: try again later
        self.context = None             # its variables may refer to this connection
        # The closures of listeners may form reference cycles with the connection.
        self.listener = None
        self.only_code = 0
        return 0

    cdef bint try_step(self, int step) except -1:
        """Take a step; return False if there was no memory for it."""
        cdef bint is_taken = True
        try:
            self.take_step(step)
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException as error:
            # EMIT_CLOSE is not repeated: a listener that has heard of the end must not hear of it
            # again.
            is_taken = step == EMIT_CLOSE or not isinstance(error, MemoryError)
            if is_taken:
                self.hub.engine.tell(error, self.transport)
        return is_taken

    cdef int take_step(self, int step) except -1:
        """Take one of the steps in which a connection ends."""
        if step == HAND_OVER:
            if self.inbox is not None:
                self._hand_over()
        elif step == LEAVE:
            self.hub.connections.leave(self.id)
        elif step == ENTER_END:
            enter(self, ENDED)
        elif step == END_STREAMS:
            intake = self.intake()
            if intake is not None:
                intake.end(closed_error(self))
            wake_streamers(self)
        elif step == END_PINGS:
            end_pings(self)
        elif step == EMIT_CLOSE:
            self.emit_in_context(CLOSED, self.code, self.reason)
        else:
            self.end_delivery()
        return 0

    # ---- what the application uses

    cdef int failed(self, object error) except -1:
        self.hub.host.call_failed(error, self)
        return 0

    def _emit_event(self, event, first=None, second=None):
        """Call the listeners of `event` with its arguments; return whether there was a listener."""
        cdef int number = find_event(CONNECTION_EVENTS, event)[0]
        return self.emit(number, first, second) == 1

    def on(self, event, listener=MISSING):
        """Call `listener` at each `event`; without `listener`, return a decorator that adds one.

        Listeners run in the order in which they were added, with as many of the event's arguments
        as they take. A call of an `async def` listener runs as a task of its own, and so does
        anything else that a listener returns and that can be awaited.

        Raises ValueError for an event that a connection does not have, TypeError for a listener
        that cannot be called with the event's arguments, or that would not run: a generator.
        """
        self.hub.thread.check("conn.on")
        if listener is MISSING:
            return decorator(CONNECTION_EVENTS, event, False, self, &session_hooks)
        self.add(event, listener, False)
        return self

    def once(self, event, listener=MISSING):
        """Like `on`, for the next `event` only."""
        self.hub.thread.check("conn.once")
        if listener is MISSING:
            return decorator(CONNECTION_EVENTS, event, True, self, &session_hooks)
        self.add(event, listener, True)
        return self

    add_listener = addListener = on

    def off(self, event, listener):
        """Remove `listener`, where it was added last; nothing happens when it is not there."""
        cdef int number = find_event(CONNECTION_EVENTS, event)[0]
        self.hub.thread.check("conn.off")
        self.keep_listeners(without(row_of(self.listener, self.only_code), number, listener))
        return self

    remove_listener = removeListener = off

    def listeners(self, event):
        """List the listeners of `event`, in the order in which they were added."""
        cdef int number = find_event(CONNECTION_EVENTS, event)[0]
        return list_listeners(self.listener, self.only_code, number)

    def send(self, message, *, compress=None, slow=None, key=None):
        """Send a str (text) or bytes-like (binary) message.

        The message is queued at once; messages leave in order and whole. The awaitable that is
        returned is done when the backlog is under the high-water mark; it need not be awaited.

        With permessage-deflate, a message is compressed if it is as large as the threshold or
        larger; `compress` True or False overrides that for this message. Use False for a message
        with a secret beside text that an attacker has chosen: the size of the two compressed
        together tells something about the secret.

        `slow` says what happens if the backlog would pass `max_backlog`, in place of the server's
        option: "close" closes the connection with 1013; "drop_new" drops this message; "drop_old"
        drops the oldest waiting messages, of those sent with "drop_old" or "conflate"; "conflate"
        does the same, and this message replaces one with the same `key` that waits for a slow peer.

        Raises ConnectionClosed when not connected, TypeError for anything but str and bytes-like
        (on a draft: anything but str), ValueError for a str with a lone surrogate, TypeError or
        ValueError for a `slow` that does not exist, or a `key` without "conflate". Serves RFC 6455,
        section 6.1, and RFC 7692, section 6.1.
        """
        cdef const uint8_t* data
        cdef size_t size
        cdef int opcode
        cdef int policy = self.hub.policy
        cdef bint is_queued = True
        cdef Deflater deflater = None
        self.hub.thread.check("conn.send")
        if self.state != CONNECTED:
            raise closed_error(self)
        if compress is not None or slow is not None or key is not None:
            check_compress(compress)
            policy = policy_of(slow, key, policy)
        owner = payload_of(message, &data, &size, &opcode)
        if opcode != TEXT and self.is_draft():
            given = type(message).__name__
            raise TypeError(f"{self.version} has text messages only: expected str, given {given}")
        if self.deflater is not None and self.deflater.wants(size, compress):
            deflater = self.deflater
            owner = deflater.deflate(owner, &data, &size, &opcode, is_expendable(policy))
        if policy == CLOSE_SLOW:
            self.write_message(opcode, owner, data, size)
        else:
            is_queued = self.share_frame(self.frame_message(opcode, data, size), policy, key)
        if deflater is not None and is_queued:
            deflater.was_sent()
        if (
            self.queued_behind is not None
            or self.transport.backlog.size > self.transport.cork.marks.high_water
        ):
            return self.when_drained()
        return self.transport.drain_awaitable() if self.transport.is_broken else DONE

    write = send

    def broadcast(self, message, *, compress=None, slow=None, key=None):
        """Send a message to all other connections of the server; return how many it was queued for.

        `compress`, `slow` and `key` are those of `send`.
        """
        return self.hub.broadcast(message, self, compress=compress, slow=slow, key=key)

    def stream_message(self, kind):
        """Send a message in pieces: `async with conn.stream_message("binary") as out`.

        Each `await out.write(chunk)` is a frame of its own; "text" takes str, "binary" bytes-like.
        Other messages that are sent meanwhile wait behind it, in order; a second streamed message
        waits at its `async with` until the first has ended. An exception inside the block fails the
        connection with 1011, if something has been written. A draft's message leaves in one frame
        at the end.

        Raises TypeError or ValueError for a kind that does not exist, TypeError for "binary" on a
        draft; the `async with` raises ConnectionClosed when not connected. Serves RFC 6455,
        section 5.4.
        """
        self.hub.thread.check("conn.stream_message")
        opcode = kind_of(kind)
        if self.is_draft() and opcode != TEXT:
            raise TypeError(
                f"{self.version} has text messages only: expected 'text', given {kind!r}"
            )
        return OutgoingMessage(self, opcode)

    def create_task(self, coroutine, *, name=None, context=None):
        """Run a coroutine as a task of this connection: it is cancelled when the connection has
        ended and no message is left to receive. `name` and `context` are those of
        `asyncio.create_task`.

        It does not count for `max_tasks`: use it for code that waits for this client's next
        message, or runs for long, so that messages are read meanwhile. An exception that the task
        raises goes to `error`, like one of a listener, whether or not the task is awaited; a
        ConnectionClosed after the connection has ended is no error.

        Returns the asyncio.Task. Raises TypeError for anything but a coroutine, ConnectionClosed
        when the connection has ended; the coroutine is closed then.
        """
        self.hub.thread.check("conn.create_task")
        if not iscoroutine(coroutine):
            given = type(coroutine).__name__
            raise TypeError(f"create_task: expected a coroutine, given {given}")
        if self.state == ENDED:
            coroutine.close()
            raise closed_error(self)
        task = self.hub.engine.loop.create_task(coroutine, name=name, context=context)
        self.hub.calls.adopt(task, self)
        return task

    def close(self, code=1000, reason=""):
        """Start the closing handshake (RFC 6455, section 7.1.2); nothing happens when it has begun.

        Raises TypeError or ValueError for a code or reason that cannot be sent. On a draft neither
        is sent.
        """
        self.hub.thread.check("conn.close")
        payload = encode_close(code, reason)
        if self.state < CONNECTED:
            self.transport.close_with(None)
        else:
            advance_closing(self, WE_CLOSE, payload)

    def abort(self):
        """Reset the connection now, without a closing handshake."""
        self.hub.thread.check("conn.abort")
        if self.state < ENDING:
            if self.state >= CONNECTED:
                enter(self, ENDING)
                self.dropped(self.count_unsent())
            self.transport.reset()

    def ping(self, data=b""):
        """Send a ping; awaiting the result gives the round trip in seconds (RFC 6455,
        section 5.5.2).

        Raises ConnectionClosed when not connected (when awaited: if the connection ends before the
        pong), TypeError on a draft, which has no ping, ValueError for more than 125 bytes.
        """
        cdef bytes payload
        self.hub.thread.check("conn.ping")
        if self.state != CONNECTED:
            raise closed_error(self)
        if self.is_draft():
            raise TypeError(f"{self.version} has no ping")
        payload = data.encode() if isinstance(data, str) else bytes(memoryview(data))
        if len(payload) > MAX_CONTROL_SIZE:
            raise ValueError(
                f"ping: expected at most {MAX_CONTROL_SIZE} bytes, given {len(payload)}"
            )
        waiter = self.hub.engine.loop.create_future()
        note_ping(self, payload, waiter)
        return waiter

    def _has_left(self):
        """Tell whether the connection is not open any more, or about to end."""
        return self.state > CONNECTED

    # ---- what the application asks about

    @property
    def version(self):
        """The protocol version: "draft75", "draft76", "hybi-07", "hybi-08" or "rfc6455"."""
        return VERSIONS[self.version_index]

    @property
    def ready_state(self):
        """The state of the connection: a `ReadyState`."""
        return READY_STATES[self.state]

    @property
    def request(self):
        """The request of the opening handshake."""
        if type(self.head) is bytes:
            self.head = self.hub.host.make_request(self.head)
        return self.head

    @property
    def subprotocol(self):
        """The subprotocol that the handshake has chosen, or None."""
        return self.chosen_subprotocol

    @property
    def data(self):
        """A dict for the application's own use."""
        if self.own_data is None:
            self.own_data = {}
        return self.own_data

    @property
    def backlog_size(self):
        """How many bytes wait to be sent: for a peer that is slow to read, or behind a streamed
        message."""
        return self.unsent_size()

    @property
    def carrier(self):
        """The protocol that carries the connection: "http/1.1", "h2" or "h3"."""
        return self.transport.protocol

    @property
    def tls(self):
        """What the TLS handshake has agreed on with the peer: a `TLSInfo`; None without TLS.

        Where a proxy terminates TLS, it is what the proxy reports by the PROXY protocol, and is
        known until the connection has gone.
        """
        facts = self.transport.tls_info
        if facts is None and self.transport.is_secure:
            return self.hub.host.proxied_tls_info_of(self.transport)
        return facts

    @property
    def is_secure(self):
        """Whether the client came by TLS: to us, or to a trusted proxy (PROXY protocol,
        `Forwarded`, `X-Forwarded-Proto`). `tls` has the details, where they are known."""
        return self.transport.is_secure

    @property
    def remote_address(self):
        """The peer's end: (host, port), or the path of a Unix socket."""
        return self.transport.remote_address

    @property
    def local_address(self):
        """Our end: (host, port), or the path of a Unix socket."""
        return self.transport.local_address

    @property
    def latency(self):
        """The latest round trip of a ping in seconds; None before the first pong. The pings of
        `ping_interval` keep it up to date."""
        return self.keepalive.round_trip_s if self.keepalive.round_trip_s >= 0 else None

    @property
    def close_code(self):
        """How the connection ended: the peer's close code, or ours if the peer did something wrong;
        None before the end.

        1005 stands for a close without a code, 1006 for an end without a close.
        """
        return self.code if self.state == ENDED else None

    @property
    def close_reason(self):
        """The reason that came with the close code; None before the end."""
        return self.reason if self.state == ENDED else None

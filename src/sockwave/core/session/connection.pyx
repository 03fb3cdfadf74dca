"""A WebSocket connection: the object that the application uses."""

from asyncio import iscoroutine

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from libc.stdint cimport uint8_t

from sockwave.core.io.transport cimport Transport
from sockwave.core.protocol.deflate cimport Deflater
from sockwave.core.events.member_docs cimport describe_member
from sockwave.core.events.emitter cimport (
    CLOSED, CONNECTION, DRAIN, JSON, PINGED, PONGED, READY_STATE_CHANGE, decorator, find_event,
    list_listeners, row_of, without,
)
from sockwave.core.protocol.frames cimport MAX_CONTROL_SIZE, TEXT
from sockwave.core.session.delivery cimport Deliverer
from sockwave.core.session.hub cimport Hub
from sockwave.core.session.json_messages cimport (
    JSONListeners, JSONMessages, find_json, remove_json,
)
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

from sockwave.address import as_pair
from sockwave.close import encode_close
from sockwave.core.events.emitter import CONNECTION_EVENTS
from sockwave.core.session.closing import READY_STATES
from sockwave.core.events.waiter import DONE
from sockwave.json_codec import encode_json, make_decoder
from sockwave.timeouts import ConnectionEnd, within
from sockwave.versions import VERSIONS

# The steps in which a connection ends, in their order.
cdef enum:
    HAND_OVER, LEAVE, ENTER_END, END_STREAMS, END_PINGS, EMIT_CLOSE, LAST_STEP
    ALL_STEPS = (1 << (LAST_STEP + 1)) - 1

# The default of a parameter for which None is a value like others.
cdef object MISSING = object()

cdef uint64_t connection_count = 0


def number_from(uint64_t first):
    """Give the next connection of this process the id `first`, for ids that no other worker has."""
    global connection_count
    connection_count = first - 1


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

    def _open(self, bytes answer, str subprotocol, Emitter route=None):
        self.open(answer, subprotocol, route)

    def _keep_request(self, request):
        """Keep the opening request as an object, which knows the `path_params`."""
        self.head = request

    cdef int open(self, bytes answer, str subprotocol, Emitter route) except -1:
        """Send the answer to the handshake: from here on the connection can send and receive.

        `route` takes it in place of the listeners of `connection`; None: they do.
        """
        self.opening = None
        self.chosen_subprotocol = subprotocol
        if subprotocol == "sockwave.1" and self.hub.topics is not None:
            self.hub.topics.attend(self)
        self.transport.set_deadline(None)
        if not self.transport.is_closing:
            self.transport.write_bytes(
                answer, <const uint8_t*>PyBytes_AS_STRING(answer), PyBytes_GET_SIZE(answer)
            )
        self.hub.connections.join(self, self.id)
        enter(self, CONNECTED)
        if self.state == CONNECTED:
            begin_keepalive(&self.keepalive, self)
            self.hub.tell(self.hub.host if route is None else route, CONNECTION, self, None)
        return self.go_on_later()

    cdef int entered(self, object state) except -1:
        # What hears of the end is no call that the end cancels.
        self.is_telling_end = state is READY_STATES[ENDED]
        try:
            self.emit_in_context(READY_STATE_CHANGE, state, None)
            self.hub.tell_server(READY_STATE_CHANGE, self, state)
        finally:
            self.is_telling_end = False
        return 0

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
            if self.subscriptions is not None:
                self.hub.topics.leave_all(self)
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
        if number == JSON:
            remove_json(self, listener)
        else:
            self.keep_listeners(without(row_of(self.listener, self.only_code), number, listener))
        return self

    remove_listener = removeListener = off

    def listeners(self, event):
        """List the listeners of `event`, in the order in which they were added."""
        cdef int number = find_event(CONNECTION_EVENTS, event)[0]
        cdef JSONListeners of_json
        if number == JSON:
            of_json = find_json(self)
            return [] if of_json is None else (
                list_listeners(of_json.listener, of_json.only_code, number)
            )
        found = list_listeners(self.listener, self.only_code, number)
        return [one for one in found if type(one) is not JSONListeners]

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
        self.hub.thread.check("conn.send")
        self.submit(message, compress, slow, key)
        if (
            self.queued_behind is not None
            or self.transport.backlog.size > self.transport.cork.marks.high_water
        ):
            return self.when_drained()
        return self.transport.drain_awaitable() if self.transport.is_broken else DONE

    write = send

    cdef int submit(self, object message, object compress, object slow, object key) except -1:
        """Queue a message; see `send`."""
        cdef const uint8_t* data
        cdef size_t size
        cdef int opcode
        cdef int policy = self.hub.policy
        cdef bint is_queued = True
        cdef Deflater deflater = None
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
        return 0

    def send_json(self, value, *, compress=None, slow=None, key=None):
        """Send a value as JSON (RFC 8259), in a text message; see `send`.

        A value is what JSON can say (dict, list, tuple, str, int, float, bool, None), a dataclass,
        a msgspec.Struct, a pydantic model, an Enum, a datetime or a UUID, and what is made of them.

        Raises what `send` raises, TypeError for any other value, ValueError for NaN, infinity and
        what contains itself.
        """
        self.hub.thread.check("conn.send_json")
        if self.state != CONNECTED:
            raise closed_error(self)
        return self.send(encode_json(value), compress=compress, slow=slow, key=key)

    def broadcast_json(self, value, *, compress=None, slow=None, key=None):
        """Send a value as JSON to all other connections of the server; see `send_json`.

        It is encoded once. Returns how many it was queued for.
        """
        self.hub.thread.check("conn.broadcast_json")
        return self.broadcast(encode_json(value), compress=compress, slow=slow, key=key)

    def json(self, json_type=None):
        """Receive messages as JSON: `async for value in conn.json()`.

        `json_type` is what a message is read as, in place of the server's option: a
        msgspec.Struct, a dataclass (by msgspec), a pydantic model. For a message that is not the
        JSON that is expected, the option `invalid_json` says what happens: "close" closes the
        connection with 1007 (RFC 6455, section 7.4.1) and ends the loop, "error" emits `error`,
        and the loop goes on.

        Raises TypeError for what is no such type, ImportError where msgspec is not installed; the
        loop raises SockwaveError while there is a listener of `message` or `json`.
        """
        reading = self.hub.json
        decode = reading.decode if json_type is None else make_decoder(json_type)
        return JSONMessages(self, self.hub.host, decode)

    async def receive_json(self, timeout=None, *, json_type=None):
        """Receive the next message as JSON; wait for it at most `timeout` seconds.

        `json_type`, and what happens to a message that is no such JSON, are those of `json`. Raises
        what `receive` raises, ConnectionClosed after such a message, where it closes.
        """
        messages = self.json(json_type)
        if timeout is not None:
            return await within(timeout, messages.receive())
        return await messages.receive()

    def broadcast(self, message, *, compress=None, slow=None, key=None):
        """Send a message to all other connections of the server.

        Returns how many of this process it was queued for; where there are other workers or hosts,
        it reaches theirs too. `compress`, `slow` and `key` are those of `send`.
        """
        return self.hub.broadcast(message, self, compress=compress, slow=slow, key=key)

    def subscribe(self, topic, *, since=None, member=None, data=None):
        """Send the messages of a topic to this connection from now on.

        A pattern subscribes to all topics that it matches: in "room/*" the star is one level,
        whatever its name, and "room/**" is all below. Who hears a message twice gets it once.

        Where the topic has a history, `since` (the position of the last message that the client
        has, a `Position` or its text) first sends all that came behind it, in order and once, as
        fast as the client takes it. `member` (a str) makes the connection one of the topic's
        members, with `data` (what JSON can say), where it has `presence`.

        The awaitable that is returned gives a `Subscribed`: the position from which on the
        connection hears everything, and whether it was `recovered`, nothing missing behind `since`.
        It need not be awaited. To subscribe again changes nothing, but `since` sends again, and
        `data` replaces the member's.

        Raises ConnectionClosed when not connected, TypeError or ValueError for a name that is no
        topic's, or for `since` with a pattern, SockwaveError at `subscription_count`,
        `pattern_count`, `topic_count`, or the topic's own `max_subscribers`.
        """
        self.hub.thread.check("conn.subscribe")
        if since is None and member is None and data is None:
            return self.hub.topics.subscribe(self, topic)
        return self.hub.topics.subscribe_with(self, topic, since, member, data)

    def unsubscribe(self, topic):
        """Send this topic, or what this pattern matches, no more; return whether it was sent.

        The connection is no member of the topic any more. Raises TypeError or ValueError for a name
        that is no topic's.
        """
        self.hub.thread.check("conn.unsubscribe")
        return self.hub.topics.unsubscribe(self, topic)

    @property
    def topics(self):
        """The names of the topics, and the patterns, that this connection is subscribed to."""
        return self.hub.topics.names_of(self)

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

        Returns an awaitable that is done when the connection has ended, as `wait_closed` tells it;
        it need not be awaited. `close_timeout` bounds the wait for the client's close frame.

        Raises TypeError or ValueError for a code or reason that cannot be sent. On a draft neither
        is sent.
        """
        self.hub.thread.check("conn.close")
        payload = encode_close(code, reason)
        if self.state < CONNECTED:
            self.transport.close_with(None)
        else:
            advance_closing(self, WE_CLOSE, payload)
        return ConnectionEnd(self)

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

        The pong has to bring the same `data`, or that of a later ping (section 5.5.3): any other
        pong is no answer, and is emitted as `pong`.

        Raises ConnectionClosed when not connected (when awaited: if the connection ends before the
        pong), TimeoutError, when awaited, if the pong has not come within `ping_timeout`; TypeError
        on a draft, which has no ping, ValueError for more than 125 bytes.
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
        timeout_s = self.hub.limits.ping_timeout
        if timeout_s is not None:
            alarm = self.hub.engine.loop.call_later(timeout_s, self._miss_pong, waiter)
            waiter.add_done_callback(lambda _: alarm.cancel())
        return waiter

    def _miss_pong(self, waiter):
        """Tell the task that waits for a pong that it has not come in time."""
        self.pings = [ping for ping in self.pings or () if ping[2] is not waiter] or None
        if not waiter.done():
            waiter.set_exception(TimeoutError(
                f"ping: expected its pong within {self.hub.limits.ping_timeout:g} s (ping_timeout)"
            ))
            waiter.exception()          # or asyncio would log it where no task awaits the future

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
    def is_open(self):
        """Whether messages can be sent: `send` raises ConnectionClosed where it is false."""
        return self.state == CONNECTED

    @property
    def request(self):
        """The request of the opening handshake."""
        if type(self.head) is bytes:
            self.head = self.hub.host.make_request(self.head)
        return self.head

    @property
    def path_params(self):
        """What stands in the `{name}` segments of its route's path, decoded: a dict by name. Empty
        without a route; see `Server.route`."""
        return {} if type(self.head) is bytes else self.head.path_params

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
        """The peer's end: (host, port); ("", 0) on a Unix socket, and where a trusted proxy hides
        it."""
        return as_pair(self.transport.remote_address)

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


describe_member(
    Connection, "id", "Counts upwards, and is never used again in this process: a name, no secret."
)
describe_member(
    Connection, "dropped_count",
    "How many messages the peer did not get, and how many of its own nothing has listened to."
)

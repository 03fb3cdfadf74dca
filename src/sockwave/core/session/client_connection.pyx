"""A client's WebSocket connection: the same, in the other role (RFC 6455, sections 4.1 and 5.3).

The role is a class: what frames look like is decided where they are written and read, and a
server's connections know nothing of it.
"""

from time import time

from libc.stdint cimport uint8_t, uint64_t

from sockwave.core.events.member_docs cimport describe_member
from sockwave.core.events.emitter cimport MESSAGE
from sockwave.core.io.arrival cimport Arrival
from sockwave.core.io.engine cimport Engine
from sockwave.core.io.slow_peer cimport CLOSE_SLOW, is_overfull
from sockwave.core.io.transport cimport Transport
from sockwave.core.protocol.frames cimport FIN, MAX_HEADER_SIZE
from sockwave.core.protocol.framing cimport draft_frame_of
from sockwave.core.protocol.masking cimport mask_frame, next_mask
from sockwave.core.protocol.reader cimport Reader
from sockwave.core.protocol.server_frames cimport ServerFrameReader
from sockwave.core.limits.counters cimport QUEUE_COUNT, QUEUE_SIZE
from sockwave.core.session.flow_control cimport HELD, INBOX_FULL
from sockwave.core.session.hub cimport Hub
from sockwave.core.session.inbox cimport Inbox

from sockwave.errors import SockwaveError

cdef enum:
    # So many keys whose messages have been read are not worth the work of forgetting them.
    FEW_KEYS = 64
    # … and so many times that are needed no more.
    FEW_STAMPS = 64


cdef object without_server(str call):
    """Make the exception for a call that concerns a server's other connections."""
    return SockwaveError(f"{call}: expected a connection of a server, given a client's")


cdef object without_topics(str call):
    """Make the exception for a call that concerns topics, where no subprotocol tells of them."""
    return SockwaveError(
        f"{call}: expected a connection of a server, or one with subprotocol='sockwave.1', given a "
        "client's without it"
    )


cdef class ClientConnection(Connection):
    """A WebSocket connection that `sockwave.connect` has opened.

    It is a `Connection` like those of a server, with the same methods and events. `request` is what
    was sent to open it, and `response_headers` are those of the server's answer.
    """

    def __init__(
        self, Hub hub, Transport transport, str version, bytes head, response_headers=None
    ):
        Connection.__init__(self, hub, transport, version, head)
        self.response_headers = response_headers

    cdef bint is_client(self) noexcept:
        return True

    # ---- bytes in

    cdef Reader take_reader(self):
        cdef Engine engine = self.transport.engine
        if self.reader is None and engine.spare_reader is None:
            self.reader = ServerFrameReader(
                engine.max_size, engine.rate_limits.free_fragment_count
            )
        return Connection.take_reader(self)

    cdef int take_bytes(self, uint8_t* data, size_t size) except -1:
        if self.arrival is not None:
            self.arrived_s = self.arrival.at_s or time()
        return Connection.take_bytes(self, data, size)

    # ---- how old messages are

    def _measure_lag(self, Arrival arrival):
        """Note when messages come: as `arrival` says, or else when they are read."""
        self.arrival = Arrival() if arrival is None else arrival
        self.arrived_s = self.arrival.at_s or time()    # of what came with the server's answer
        self.stamps = []

    @property
    def lag(self):
        """How old the message is that was read last, in seconds: from the time at which the kernel
        received its last byte, where that is known, until now. None without the option `lag`, and
        before a task has received the first message.

        With a listener of `message`, it is the age of what was read from the socket last, with the
        message that the listener hears.
        """
        cdef Inbox inbox = self.inbox
        cdef Py_ssize_t at
        cdef double stamp = self.arrived_s
        if self.stamps is None:
            return None
        if not self.hears(MESSAGE):
            at = len(self.stamps) - 1 - (0 if inbox is None else inbox.count)
            if at < 0:
                return None
            stamp = self.stamps[at]
        return max(time() - stamp, 0.0)

    cdef int queue_last(self, object message, size_t size) except -1:
        """Have a message wait behind the others, and note when it has come."""
        cdef Py_ssize_t needed
        if self.stamps is not None and not self.is_unheard:
            needed = 1 if self.inbox is None else self.inbox.count + 1
            if len(self.stamps) > FEW_STAMPS + 2 * needed:
                del self.stamps[:len(self.stamps) - needed]
            self.stamps.append(self.arrived_s)
        return Connection.queue(self, message, size)

    # ---- messages that wait

    def _conflate(self, key):
        """Keep only the newest message for each `key(message)`, of those that wait."""
        self.conflate = key
        self.places = {}

    cdef int queue(self, object message, size_t size) except -1:
        cdef object key = None
        cdef object failure = None
        if self.conflate is None:
            return self.queue_last(message, size)
        try:
            key = self.find_key(message)
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException as error:
            failure = error
        if failure is not None:
            return self.failed(failure)
        return self.queue_by_key(key, message, size)

    cdef object find_key(self, object message):
        """Return the key of a message, which is hashable."""
        entered = self.enter_context()
        try:
            key = self.conflate(message)
            hash(key)
        finally:
            self.leave_context(entered)
        return key

    cdef int queue_by_key(self, object key, object message, size_t size) except -1:
        """Have a message wait in the place of the one with the same key, or as the last one."""
        cdef Inbox inbox = self.inbox
        cdef Py_ssize_t at = self.find_older(key)
        if at < 0 or inbox is None:
            return self.queue_last(message, size)
        if self.stamps is not None:
            self.stamps[len(self.stamps) - inbox.count + at] = self.arrived_s
        inbox.replace(at, message, size)
        self.dropped(1)
        if inbox.size >= self.hub.queue_size:
            self.pause(INBOX_FULL, QUEUE_SIZE)
        return 0

    cdef Py_ssize_t find_older(self, object key) except -2:
        """Return how many messages wait before the one with a key; -1: none has it, and the next
        one to wait has it from now on."""
        cdef Inbox inbox = self.inbox
        cdef Py_ssize_t count = 0 if inbox is None else inbox.count
        cdef uint64_t first = self.queued_count - count
        number = self.places.get(key)
        if number is not None and number >= first:
            return <Py_ssize_t>(<uint64_t>number - first)
        if len(self.places) > FEW_KEYS + 2 * count:
            self.places = {one: at for one, at in self.places.items() if at >= first}
        self.places[key] = self.queued_count
        self.queued_count += 1
        return -1

    def _hold(self, bint is_full):
        """Read the socket no more while deliveries of topics wait for the application."""
        if is_full:
            self.pause(HELD, QUEUE_COUNT)
        else:
            self.resume(HELD)

    # ---- bytes out: 5.1, "a client MUST mask all frames that it sends to the server"

    cdef int write_message(
        self, int opcode, object owner, const uint8_t* data, size_t size
    ) except -1:
        self.sent = self.transport.engine.wheel.tick
        if self.queued_behind is not None or is_overfull(
            &self.transport.cork.marks, &self.transport.backlog, NULL, size + MAX_HEADER_SIZE
        ):
            self.share_frame(self.frame_message(opcode, data, size), CLOSE_SLOW, None)
            return 0
        if self.is_draft():
            return self.transport.share(draft_frame_of(data, size))
        return self.transport.write_masked_frame(FIN | opcode, next_mask(), data, size)

    cdef int write_frame(
        self, uint8_t first_byte, object owner, const uint8_t* data, size_t size
    ) except -1:
        return self.transport.write_masked_frame(first_byte, next_mask(), data, size)

    cdef bint share_frame(self, bytes frame, int policy, object key) except -1:
        # The drafts 75 and 76 have no masks.
        if not self.is_draft():
            frame = mask_frame(frame)
        return Connection.share_frame(self, frame, policy, key)

    cdef int backlog_rose(self) except -1:
        # A server that echoes reads nothing while we do not read. If we read nothing while it does
        # not, both would wait for ever. A task that waits for its `send` bounds what it sends; a
        # listener that answers each message does not.
        return Connection.backlog_rose(self) if self.hears(MESSAGE) else 0

    # ---- what only servers have

    def broadcast(self, message, *, compress=None, slow=None, key=None):
        """Raise SockwaveError: a client has no other connections of its server."""
        raise without_server("conn.broadcast")

    def broadcast_json(self, value, *, compress=None, slow=None, key=None):
        """Raise SockwaveError: a client has no other connections of its server."""
        raise without_server("conn.broadcast_json")

    def subscribe(self, topic, *, since=None, member=None, data=None):
        """Raise SockwaveError: without the subprotocol sockwave.1, a client hears of no topics."""
        raise without_topics("conn.subscribe")

    def unsubscribe(self, topic):
        """Raise SockwaveError: without the subprotocol sockwave.1, a client hears of no topics."""
        raise without_topics("conn.unsubscribe")

    @property
    def topics(self):
        """Empty: without the subprotocol sockwave.1, a client hears of no topics."""
        return []

    # ---- the end

    def _leave(self, code):
        """Close the connection, for nobody takes its messages any more: those that are left of a
        server that has gone are dropped. Returns an awaitable that is done when it has ended."""
        self.leave(code)
        return self.wait_closed()

    cdef int leave(self, object code) except -1:
        self.close(code)
        if self.reads_rest and self.is_gone:
            self.end_in_time()
        self.reads_rest = False
        return 0


describe_member(
    ClientConnection, "response_headers", "The Headers of the server's answer to the handshake."
)

"""Connections that have not yet asked for anything, and what becomes of them.

Nearly every client sends the same few lines as its opening handshake, and most servers let
everybody in. Of that nothing has to be weighed: it is known at a glance (`plain`) and answered from
here, with no object but the connection itself. Every other beginning is left to `http` and
`opening`.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.unicode cimport PyUnicode_DecodeASCII

from sockwave.core.session.connection cimport Connection
from sockwave.core.events.emitter cimport HANDSHAKE, READY_STATE_CHANGE, STREAM
from sockwave.core.io.engine cimport Acceptor
from sockwave.core.session.closing cimport HANDSHAKING
from sockwave.core.opening.fast_request cimport (
    EXTENSIONS, HOST, KEY, KEY_SIZE, ORIGIN, SUBPROTOCOLS, check_fast_request, is_beginning, parse_fast_request,
    write_answer,
)
from sockwave.core.session.sender cimport RFC6455

from sockwave.deflate import negotiate
from sockwave.errors import Refused

cdef extern from "Python.h":
    Py_ssize_t PY_SSIZE_T_MAX

cdef enum:
    # Offers of permessage-deflate that are remembered: browsers make about three.
    AGREEMENT_COUNT = 16
    OFFER_SIZE = 128
    # A head that comes in pieces is kept here up to so many bytes: who sends nothing more, however
    # many do, costs no more than that.
    BEGUN_SIZE = 1024


cdef str value_of(const FastRequest* request, int known):
    """Give the value of a field, which is ASCII; None where there is none."""
    cdef const char* data = <const char*>request.values[known].data
    if not request.counts[known]:
        return None
    return PyUnicode_DecodeASCII(data, request.values[known].size, NULL)


cdef class Gate(Acceptor):
    """Lets connections in, and opens them, where nothing has to be weighed."""

    def __init__(
        self,
        Emitter host,
        Hub hub,
        check_origin_and_subprotocol,
        *,
        limits,
        max_connections,
        compression,
        origin_policy,
        subprotocols,
        bint asks_addresses,
        bint asks_nobody,
    ):
        self.host = host
        self.hub = hub
        self.check_origin_and_subprotocol = check_origin_and_subprotocol
        self.expected = {}
        self.undecided = set()
        self.agreements = {}
        self.compression = compression
        self.origin_policy = origin_policy
        self.subprotocols = subprotocols
        self.asks_addresses = asks_addresses
        self.asks_nobody = asks_nobody
        self.has_origins = origin_policy != "*"
        self.handshake_timeout = limits.handshake_timeout or 0
        self.max_connections = PY_SSIZE_T_MAX if max_connections is None else max_connections
        self.max_handshakes = (
            PY_SSIZE_T_MAX if limits.max_handshakes is None else limits.max_handshakes
        )
        self.line_size = limits.request_line_size
        self.block_size = limits.header_block_size
        self.field_count = limits.header_count

    # ---- at accept

    cdef int welcome(self, Transport transport, double now) except -1:
        """Begin with a connection that has just been accepted."""
        cdef PendingConnection pending
        if not self.has_room() and not self.host.admit(transport):
            return 0
        pending = PendingConnection.__new__(PendingConnection)
        pending.gate = self
        pending.transport = transport
        self.expected[transport] = pending
        transport.receiver = pending
        if self.handshake_timeout:
            transport.ask_for(transport.engine.wheel.tick_in(now, self.handshake_timeout))
        if self.asks_addresses:
            self.host.identify_client(pending)
        elif self.host.hears(STREAM):
            self.host.emit_stream(transport)
        return 0

    cdef bint has_room(self) except -1:
        """Say that there is room for one more, whoever it is; where there may be none, the host
        counts."""
        return (
            not self.asks_addresses
            and self.hub.engine.transport_count <= self.max_connections
            and len(self.expected) + len(self.undecided) < self.max_handshakes
            and not self.hub.is_memory_low
        )

    # ---- handshakes under way

    def await_peer(self, transport, newcomer):
        """Note that a handshake waits for its peer."""
        self.expected[transport] = newcomer

    def await_decision(self, transport):
        """Note that a handshake waits for the application."""
        self.expected.pop(transport, None)
        self.undecided.add(transport)

    def end_handshake(self, transport):
        """Note that a handshake is under way no more; nothing happens when it was not."""
        self.expected.pop(transport, None)
        self.undecided.discard(transport)

    # ---- plain requests

    cdef bint is_fast_request(self, const uint8_t* data, size_t size, FastRequest* found) noexcept:
        """Say whether a connection may be opened as soon as these bytes have been read."""
        return (
            self.asks_nobody
            and parse_fast_request(data, size, found) and check_fast_request(found)
            and found.line_size <= self.line_size and found.block_size <= self.block_size
            and found.field_count <= self.field_count
            # Who sees the handshake may refuse it, and who sees the states may end it.
            and not self.host.hears(HANDSHAKE) and not self.host.hears(READY_STATE_CHANGE)
        )

    cdef str choose(self, Transport transport, const FastRequest* request):
        """Give the subprotocol; raises Refused where the origin may not connect, or what is offered
        is malformed."""
        return self.check_origin_and_subprotocol(
            self.origin_policy, self.subprotocols, value_of(request, HOST),
            value_of(request, ORIGIN), value_of(request, SUBPROTOCOLS),
            secure=transport.is_secure,
        )

    cdef object agree(self, const FastRequest* request):
        """Give what an offer of permessage-deflate leads to; None: to nothing."""
        cdef str offer = value_of(request, EXTENSIONS)
        if offer in self.agreements:
            return self.agreements[offer]
        agreement = negotiate((offer,), self.compression)
        if len(offer) <= OFFER_SIZE and len(self.agreements) < AGREEMENT_COUNT:
            self.agreements[offer] = agreement
        return agreement

    cdef bint open(
        self, Transport transport, const uint8_t* data, size_t size, const FastRequest* request
    ) except -1:
        """Answer a plain request with 101; false where it is to be refused."""
        cdef Connection connection = Connection.__new__(Connection)
        cdef bytes head = PyBytes_FromStringAndSize(<const char*>data, size)
        cdef bytes fields = b""
        cdef str subprotocol = None
        cdef bint is_refused = False
        if self.has_origins or request.counts[SUBPROTOCOLS]:
            try:
                subprotocol = self.choose(transport, request)
            except Refused:
                is_refused = True
            if is_refused:
                return False
            if subprotocol is not None:
                fields = b"Sec-WebSocket-Protocol: %b\r\n" % subprotocol.encode()
        key = PyBytes_FromStringAndSize(<const char*>request.values[KEY].data, KEY_SIZE)
        connection.set_up(self.hub, transport, RFC6455, head)
        connection.state = HANDSHAKING
        if self.compression is not None and request.counts[EXTENSIONS]:
            agreement = self.agree(request)
            if agreement is not None:
                connection._compress(agreement)
                fields += b"Sec-WebSocket-Extensions: %b\r\n" % agreement.answer.encode()
        del self.expected[transport]
        transport.receiver = connection
        connection.open(write_answer(key, fields), subprotocol)
        return True


cdef class PendingConnection(Receiver):
    """The receiver of a transport from accept to the end of its first head, if that is short.

    Whatever is not the usual beginning, it becomes an HTTP connection first: that knows what to do.
    """

    @property
    def held_size(self):
        """How many bytes are held for the peer."""
        return 0 if self.begun is None else PyBytes_GET_SIZE(self.begun)

    cdef Receiver open_http(self):
        """Become an HTTP connection, with the same deadline."""
        cdef Receiver http_connection = self.http_connection
        if http_connection is None:
            http_connection = self.http_connection = self.gate.host.open_http(self.transport)
            if self.transport in self.gate.expected:
                self.gate.expected[self.transport] = http_connection      # in its place
            # Before it, a proxy may have to be read: then that tells it what there is to tell.
            if self.transport.receiver is self:
                self.transport.receiver = http_connection
            if self.waits_for_turn:
                self.waits_for_turn = False
                self.transport.resume()
            begun, self.begun = self.begun, None
            if begun is not None:
                http_connection.take_bytes(
                    <uint8_t*>PyBytes_AS_STRING(begun), PyBytes_GET_SIZE(begun)
                )
        return http_connection

    cdef bint waits_for_more(self, const uint8_t* data, size_t size) noexcept:
        """Say whether these bytes are a short beginning, under every limit, that says nothing."""
        cdef Gate gate = self.gate
        return (
            size <= min(<size_t>BEGUN_SIZE, gate.line_size, gate.block_size)
            and is_beginning(data, size)
        )

    cdef int take_bytes(self, uint8_t* data, size_t size) except -1:
        cdef FastRequest request
        cdef bytes whole = None
        if self.begun is not None:
            whole = self.begun + PyBytes_FromStringAndSize(<char*>data, size)
            if self.waits_for_turn:     # what a transport had under way
                self.begun = whole
                return 0
            data = <uint8_t*>PyBytes_AS_STRING(whole)
            size = PyBytes_GET_SIZE(whole)
            self.begun = None
        if (
            self.gate.is_fast_request(data, size, &request)
            and self.gate.open(self.transport, data, size, &request)
        ):
            return 0
        if self.waits_for_more(data, size):
            self.begun = whole or PyBytes_FromStringAndSize(<char*>data, size)
            return 0
        if not self.transport.engine.has_time_for_slow_request():
            self.begun = whole or PyBytes_FromStringAndSize(<char*>data, size)
            return self.wait_for_turn()
        return self.open_http().take_bytes(data, size)

    cdef int wait_for_turn(self) except -1:
        """Wait until there is time for what has begun; what comes behind it waits in the kernel."""
        self.transport.engine.postpone(self.transport)
        self.waits_for_turn = True
        return self.transport.pause()

    cdef int go_on(self) except -1:
        if self.waits_for_turn:
            if self.transport.engine.has_time_for_slow_request():
                self.open_http()
            else:
                self.transport.engine.postpone(self.transport)
        return 0

    cdef int notify_eof(self) except -1:
        return self.open_http().notify_eof()

    cdef int notify_deadline(self) except -1:
        return self.open_http().notify_deadline()

    cdef int notify_closed(self, object error) except -1:
        self.gate.expected.pop(self.transport, None)
        if self.http_connection is not None:
            self.http_connection.notify_closed(error)
        return 0

    # ---- while the receiver of a proxy's header stands in front

    def data_received(self, bytes data):
        """Take the bytes behind the header."""
        self.take_bytes(<uint8_t*>PyBytes_AS_STRING(data), PyBytes_GET_SIZE(data))

    def deadline_passed(self):
        """Hear that the time for the header and the request is up."""
        self.notify_deadline()

    def connection_lost(self, error):
        """Hear that the transport is gone."""
        self.notify_closed(error)

    def close(self):
        """End the connection, as the server closes."""
        self.open_http().close()

    def dismiss(self, refused):
        """Make room for somebody else."""
        self.begun = None
        self.gate.end_handshake(self.transport)
        self.gate.reject(self.transport, refused)

    def abort(self):
        """Drop the connection."""
        self.begun = None
        self.gate.end_handshake(self.transport)
        self.transport.abort()

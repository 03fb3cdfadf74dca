"""Newcomers: connections from accept until their first request has come.

Nearly every client sends the same few lines as its opening request, and most servers let every
client in. Such a fast request (`fast_request`) is answered here, and makes no object but the
connection itself. Every other request is left to `http` and `runtime.opening`.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.unicode cimport PyUnicode_DecodeASCII

from sockwave.core.session.connection cimport Connection
from sockwave.core.events.emitter cimport CONNECTION, HANDSHAKE, READY_STATE_CHANGE, STREAM
from sockwave.core.io.engine cimport Acceptor
from sockwave.core.io.writer cimport Writer
from sockwave.core.session.closing cimport HANDSHAKING
from sockwave.core.http.head cimport (
    EXTENSIONS, HOST, KEY, ORDINARY, ORIGIN, PARTIAL, SUBPROTOCOLS, UPGRADE, HeadStatus, parse_head,
)
from sockwave.core.opening.fast_request cimport KEY_SIZE, check_fast_request, write_answer
from sockwave.core.session.sender cimport RFC6455

from sockwave.deflate import negotiate
from sockwave.errors import Refused

cdef extern from "Python.h":
    Py_ssize_t PY_SSIZE_T_MAX

cdef enum:
    # Offers of permessage-deflate that are remembered: browsers make about three.
    AGREEMENT_COUNT = 16
    OFFER_SIZE = 128
    # The most bytes of a head in pieces that are kept here. A client that sends no more of its head
    # costs no more than that, however many such clients there are.
    PARTIAL_HEAD_SIZE = 1024


cdef str value_of(const Head* request, int known):
    """Return the value of a field, which is ASCII; None: the request has no such field."""
    cdef const char* data = <const char*>request.values[known].data
    if not request.counts[known]:
        return None
    return PyUnicode_DecodeASCII(data, request.values[known].size, NULL)


cdef class Gate(Acceptor):
    """Lets connections in, and answers their fast requests."""

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
        bint needs_address,
        bint asks_no_hook,
        RouteTable routes not None,
        bint has_fallback=False,
    ):
        self.host = host
        self.hub = hub
        self.check_origin_and_subprotocol = check_origin_and_subprotocol
        self.awaiting_client = {}
        self.awaiting_application = set()
        self.agreements = {}
        self.compression = compression
        self.origin_policy = origin_policy
        self.subprotocols = subprotocols
        self.needs_address = needs_address
        self.asks_no_hook = asks_no_hook
        self.routes = routes
        self.has_fallback = has_fallback
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

    cdef int welcome(self, Writer accepted, double now) except -1:
        """Make a connection that has just been accepted a newcomer, or turn it away."""
        cdef Transport transport = <Transport>accepted
        cdef PendingConnection pending
        if not self.has_room() and not self.host.admit(transport):
            return 0
        pending = PendingConnection.__new__(PendingConnection)
        pending.gate = self
        pending.transport = transport
        self.awaiting_client[transport] = pending
        transport.receiver = pending
        if self.handshake_timeout:
            transport.ask_for(transport.engine.wheel.tick_in(now, self.handshake_timeout))
        if self.needs_address:
            self.host.identify_client(pending)
        elif self.host.hears(STREAM):
            self.host.emit_stream(transport)
        return 0

    cdef bint has_room(self) except -1:
        """Tell whether there is room for one more connection, whatever its address. False: the host
        decides (`let_in`)."""
        return (
            not self.needs_address
            and self.hub.engine.transport_count <= self.max_connections
            and len(self.awaiting_client) + len(self.awaiting_application) < self.max_handshakes
            and not self.hub.is_memory_low
        )

    # ---- handshakes under way

    def await_client(self, transport, newcomer):
        """Note that a handshake waits for its client."""
        self.awaiting_client[transport] = newcomer

    def await_application(self, transport):
        """Note that a handshake waits for the application."""
        self.awaiting_client.pop(transport, None)
        self.awaiting_application.add(transport)

    def end_handshake(self, transport):
        """Note that a handshake has ended; nothing happens when none was under way."""
        self.awaiting_client.pop(transport, None)
        self.awaiting_application.discard(transport)

    # ---- fast requests

    cdef bint is_fast_request(self, const Head* head, size_t size) noexcept:
        """Tell whether an ordinary head is a fast request, with nothing behind it in `size` bytes,
        and the connection may be opened at once."""
        return (
            self.asks_no_hook
            and check_fast_request(head, size)
            and head.line_size <= self.line_size and head.block_size <= self.block_size
            and head.field_count <= self.field_count
            # A listener of `handshake` may refuse it, and one of `readystatechange` may close it.
            and not self.host.hears(HANDSHAKE) and not self.host.hears(READY_STATE_CHANGE)
            and (not self.has_fallback or self.host.hears(CONNECTION))
        )

    cdef object find_route(self, RequestHead head):
        """Return what takes a WebSocket: its route, or the host; None: that has to be found out."""
        route = self.routes.find(head, "")
        if route is None and self.host.hears(CONNECTION):
            return self.host
        return route

    cdef str choose_subprotocol(self, Transport transport, const Head* request):
        """Return the subprotocol; raises Refused where the origin may not connect, or the client's
        list of subprotocols is malformed."""
        return self.check_origin_and_subprotocol(
            self.origin_policy, self.subprotocols, value_of(request, HOST),
            value_of(request, ORIGIN), value_of(request, SUBPROTOCOLS),
            secure=transport.is_secure,
        )

    cdef object negotiate_deflate(self, const Head* request):
        """Return what we agree on for the client's offer of permessage-deflate; None: no
        compression."""
        cdef str offer = value_of(request, EXTENSIONS)
        if offer in self.agreements:
            return self.agreements[offer]
        agreement = negotiate((offer,), self.compression)
        if len(offer) <= OFFER_SIZE and len(self.agreements) < AGREEMENT_COUNT:
            self.agreements[offer] = agreement
        return agreement

    cdef bint open(
        self, Transport transport, const uint8_t* data, size_t size, const Head* request
    ) except -1:
        """Answer a fast request with 101; false where it must be refused, which `http` does."""
        cdef Connection connection = Connection.__new__(Connection)
        cdef bytes head = PyBytes_FromStringAndSize(<const char*>data, size)
        cdef bytes fields = b""
        cdef str subprotocol = None
        cdef bint is_refused = False
        cdef RequestHead routed = None
        cdef Emitter route = self.host
        if self.routes.count:
            routed = RequestHead(head)
            route = self.find_route(routed)
            if route is None:
                return False
        if self.has_origins or request.counts[SUBPROTOCOLS]:
            try:
                subprotocol = self.choose_subprotocol(transport, request)
            except Refused:
                is_refused = True
            if is_refused:
                return False
            if subprotocol is not None:
                fields = b"Sec-WebSocket-Protocol: %b\r\n" % subprotocol.encode()
        key = PyBytes_FromStringAndSize(<const char*>request.values[KEY].data, KEY_SIZE)
        connection.set_up(self.hub, transport, RFC6455, head)
        if routed is not None and routed.kept_path_params is not None:
            connection.head = routed
        connection.state = HANDSHAKING
        if self.compression is not None and request.counts[EXTENSIONS]:
            agreement = self.negotiate_deflate(request)
            if agreement is not None:
                connection._compress(agreement)
                fields += b"Sec-WebSocket-Extensions: %b\r\n" % agreement.answer.encode()
        del self.awaiting_client[transport]
        transport.receiver = connection
        self.host.served()
        connection.open(write_answer(key, fields), subprotocol, route)
        return True


cdef class PendingConnection(Receiver):
    """The receiver of a transport from accept to the end of its first head, if that is short.

    A fast request turns it into a `Connection`. Anything else turns it into an HTTP connection,
    which knows what to do.
    """

    @property
    def held_size(self):
        """How many bytes are kept for the client."""
        return 0 if self.partial_head is None else PyBytes_GET_SIZE(self.partial_head)

    cdef HttpConnection open_http(self):
        """Become an HTTP connection, with the same deadline."""
        cdef HttpConnection http_connection = self.http_connection
        cdef bint is_newcomer = self.transport in self.gate.awaiting_client
        if http_connection is None:
            http_connection = HttpConnection.__new__(HttpConnection)
            http_connection.set_up(self.gate.http, self.transport, is_newcomer)
            self.http_connection = http_connection
            if is_newcomer:
                self.gate.awaiting_client[self.transport] = http_connection     # at the same place
            # Otherwise the receiver of a proxy's header is in front, and goes on calling this one.
            if self.transport.receiver is self:
                self.transport.receiver = http_connection
            if self.waits_for_turn:
                self.waits_for_turn = False
                self.transport.resume()
            head, self.partial_head = self.partial_head, None
            if head is not None:
                http_connection.take_bytes(
                    <uint8_t*>PyBytes_AS_STRING(head), PyBytes_GET_SIZE(head)
                )
        return http_connection

    cdef bint may_keep(self, size_t size) noexcept:
        """Tell whether the beginning of a head is small enough to be kept here, and under every
        limit."""
        cdef Gate gate = self.gate
        return size <= min(<size_t>PARTIAL_HEAD_SIZE, gate.line_size, gate.block_size)

    cdef int take_bytes(self, uint8_t* data, size_t size) except -1:
        cdef Head request
        cdef HeadStatus status
        cdef bytes whole = None
        if self.partial_head is not None:
            whole = self.partial_head + PyBytes_FromStringAndSize(<char*>data, size)
            if self.waits_for_turn:     # paused, but the transport had read these bytes already
                self.partial_head = whole
                return 0
            data = <uint8_t*>PyBytes_AS_STRING(whole)
            size = PyBytes_GET_SIZE(whole)
            self.partial_head = None
        status = parse_head(data, size, &request)
        if status == PARTIAL and self.may_keep(size):
            self.partial_head = whole or PyBytes_FromStringAndSize(<char*>data, size)
            return 0
        if status == ORDINARY and not request.counts[UPGRADE]:
            return self.open_http().take_bytes(data, size)
        if (
            status == ORDINARY and self.gate.is_fast_request(&request, size)
            and self.gate.open(self.transport, data, size, &request)
        ):
            return 0
        if not self.transport.engine.has_time_for_slow_request():
            self.partial_head = whole or PyBytes_FromStringAndSize(<char*>data, size)
            return self.wait_for_turn()
        return self.open_http().take_bytes(data, size)

    cdef int wait_for_turn(self) except -1:
        """Wait for a turn with time to parse the head; what the client sends behind it stays in the
        kernel."""
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
        return self.open_http().handle_deadline()

    cdef int notify_closed(self, object error) except -1:
        self.gate.awaiting_client.pop(self.transport, None)
        if self.http_connection is not None:
            self.http_connection.notify_closed(error)
        return 0

    # ---- called by the receiver of a proxy's header, while it is in front of this one

    def data_received(self, bytes data):
        """Take the bytes behind the header."""
        self.take_bytes(<uint8_t*>PyBytes_AS_STRING(data), PyBytes_GET_SIZE(data))

    def deadline_passed(self):
        """Called when the time for the header and the request is over."""
        self.notify_deadline()

    def connection_lost(self, error):
        """Called when the transport is gone."""
        self.notify_closed(error)

    def close(self):
        """End the connection, because the server closes."""
        self.open_http().close()

    def dismiss(self, refused):
        """Turn the client away, to make room for another one."""
        cdef bint to_head = self.partial_head is not None and self.partial_head[:5] == b"HEAD "
        self.partial_head = None
        self.gate.end_handshake(self.transport)
        self.gate.reject(self.transport, refused, to_head=to_head)

    def abort(self):
        """Drop the connection."""
        self.partial_head = None
        self.gate.end_handshake(self.transport)
        self.transport.close()

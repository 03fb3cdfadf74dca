"""Newcomers: connections from accept until their first request has come."""

from libc.stdint cimport uint8_t

from sockwave.core.io.transport cimport Transport
from sockwave.core.events.emitter cimport Emitter
from sockwave.core.io.engine cimport Acceptor
from sockwave.core.session.hub cimport Hub
from sockwave.core.http.connection cimport HttpConnection
from sockwave.core.http.head cimport Head
from sockwave.core.http.request_head cimport RequestHead
from sockwave.core.http.route_table cimport RouteTable
from sockwave.core.http.settings cimport HttpSettings
from sockwave.core.io.receiver cimport Receiver

cdef class Gate(Acceptor):
    """Lets connections in, and answers their fast requests. Everything else is left to the host,
    and to the subclass in Python."""
    # The handshakes under way whose client has to send something: transport → what has to be
    # dismissed where room is needed, the oldest first.
    cdef readonly dict awaiting_client
    # The transports of the handshakes about which the application is being asked.
    cdef readonly set awaiting_application
    cdef Emitter host
    cdef Hub hub
    cdef public HttpSettings http       # of the connections that ask for something else
    cdef object compression     # the settings of permessage-deflate, or None
    cdef double handshake_timeout       # seconds; 0: none
    cdef object origin_policy   # the option `origin`, prepared
    cdef object subprotocols    # the server's, in order of preference
    # Checks a fast request's origin, and chooses its subprotocol.
    cdef object check_origin_and_subprotocol
    cdef dict agreements        # offer of permessage-deflate → what we agree on; the first few
    cdef Py_ssize_t max_connections, max_handshakes
    cdef size_t line_size, block_size
    cdef int field_count
    # The client's address matters at accept: there are trusted proxies, or connections are counted
    # for each address.
    cdef bint needs_address
    cdef bint asks_no_hook      # no hook of the application is asked about a fast request
    # An application takes the WebSockets that no listener of `connection` takes.
    cdef bint has_fallback
    cdef RouteTable routes      # of WebSockets; those that are added later are seen at once
    cdef bint has_origins       # not every origin may connect

    cdef bint has_room(self) except -1
    cdef bint is_fast_request(self, const Head* head, size_t size) noexcept
    cdef object find_route(self, RequestHead head)
    cdef str choose_subprotocol(self, Transport transport, const Head* request)
    cdef object negotiate_deflate(self, const Head* request)
    cdef bint open(
        self, Transport transport, const uint8_t* data, size_t size, const Head* request
    ) except -1

cdef class PendingConnection(Receiver):
    """The receiver of a transport from accept to the end of its first head, if that is short."""
    cdef Gate gate
    cdef readonly Transport transport
    cdef bytes partial_head     # what has come of a head that is not whole; None: nothing
    # What it has become. Set while the transport, or the receiver of a proxy's header, still calls
    # this one.
    cdef HttpConnection http_connection
    cdef bint waits_for_turn    # the head may be whole, but this turn had no time to parse it

    cdef bint may_keep(self, size_t size) noexcept
    cdef int wait_for_turn(self) except -1
    cdef HttpConnection open_http(self)

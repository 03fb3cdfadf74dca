"""Connections that have not yet asked for anything, and what becomes of them."""

from libc.stdint cimport uint8_t

from sockwave.core.io.transport cimport Transport
from sockwave.core.events.emitter cimport Emitter
from sockwave.core.io.engine cimport Acceptor
from sockwave.core.session.hub cimport Hub
from sockwave.core.opening.fast_request cimport FastRequest
from sockwave.core.io.receiver cimport Receiver

cdef class Gate(Acceptor):
    """Lets connections in, and opens them, where nothing has to be weighed; all else is left to
    the host and to what is made of this class in Python."""
    # Handshakes under way. Of those that wait for their peer: transport → who has to go where room is
    # needed, the oldest first. Of those that wait for the application: their transports.
    cdef readonly dict expected
    cdef readonly set undecided
    cdef Emitter host
    cdef Hub hub
    cdef object compression     # the settings of permessage-deflate, or None
    cdef double handshake_timeout       # seconds; 0: none
    cdef object origin_policy   # what the option `origin` has become
    cdef object subprotocols    # ours, in order of preference
    # Checks a fast request's origin, and chooses its subprotocol.
    cdef object check_origin_and_subprotocol
    cdef dict agreements        # what offers of permessage-deflate lead to, as far as remembered
    cdef Py_ssize_t max_connections, max_handshakes
    cdef size_t line_size, block_size
    cdef int field_count
    cdef bint asks_addresses    # proxies are believed, or the connections of an address counted
    cdef bint asks_nobody       # no function of the application's is asked about a plain request
    cdef bint has_origins       # not every origin may connect

    cdef bint has_room(self) except -1
    cdef bint is_fast_request(self, const uint8_t* data, size_t size, FastRequest* found) noexcept
    cdef str choose(self, Transport transport, const FastRequest* request)
    cdef object agree(self, const FastRequest* request)
    cdef bint open(
        self, Transport transport, const uint8_t* data, size_t size, const FastRequest* request
    ) except -1

cdef class PendingConnection(Receiver):
    """The receiver of a transport from accept to the end of its first head, if that is short."""
    cdef Gate gate
    cdef readonly Transport transport
    cdef bytes begun            # what has come of a head that is not whole; None: nothing
    cdef Receiver http_connection       # what it has become, where its transport still tells this one
    cdef bint waits_for_turn    # what has begun may be whole: there was no time to look at it

    cdef bint waits_for_more(self, const uint8_t* data, size_t size) noexcept
    cdef int wait_for_turn(self) except -1
    cdef Receiver open_http(self)

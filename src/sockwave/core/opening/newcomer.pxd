"""Connections that have not yet asked for anything, and what becomes of them."""

from libc.stdint cimport uint8_t

from sockwave.core.io.transport cimport Carrier
from sockwave.core.events.emitter cimport Emitter
from sockwave.core.io.engine cimport Usher
from sockwave.core.session.hub cimport Hub
from sockwave.core.opening.fast_request cimport PlainRequest
from sockwave.core.io.receiver cimport Receiver

cdef class Entrance(Usher):
    """Lets connections in, and opens them, where nothing has to be weighed; all else is left to
    the host and to what is made of this class in Python."""
    # Handshakes under way. Of those that wait for their peer: carrier → who has to go where room is
    # needed, the oldest first. Of those that wait for the application: their carriers.
    cdef readonly dict expected
    cdef readonly set undecided
    cdef Emitter host
    cdef Hub hub
    cdef object compression     # the settings of permessage-deflate, or None
    cdef double handshake_timeout       # seconds; 0: none
    cdef object options
    cdef object weigh           # judges a plain request's origin, and chooses its subprotocol
    cdef dict agreements        # what offers of permessage-deflate lead to, as far as remembered
    cdef Py_ssize_t max_connections, max_handshakes
    cdef size_t line_size, block_size
    cdef int field_count
    cdef bint asks_addresses    # proxies are believed, or the connections of an address counted
    cdef bint asks_nobody       # no function of the application's is asked about a plain request
    cdef bint has_origins       # not every origin may connect

    cdef bint has_room(self) except -1
    cdef bint is_plain(self, const uint8_t* data, size_t size, PlainRequest* found) noexcept
    cdef str choose(self, Carrier line, const PlainRequest* request)
    cdef object agree(self, const PlainRequest* request)
    cdef bint open(
        self, Carrier line, const uint8_t* data, size_t size, const PlainRequest* request
    ) except -1

cdef class Arrival(Receiver):
    """The receiver of a carrier from accept to the end of its first head, if that is short."""
    cdef Entrance entrance
    cdef readonly Carrier carrier
    cdef bytes begun            # what has come of a head that is not whole; None: nothing
    cdef Receiver visitor       # what it has become, where its carrier still tells this one
    cdef bint waits_for_turn    # what has begun may be whole: there was no time to weigh it

    cdef bint waits_for_more(self, const uint8_t* data, size_t size) noexcept
    cdef int wait_for_turn(self) except -1
    cdef Receiver visit(self)

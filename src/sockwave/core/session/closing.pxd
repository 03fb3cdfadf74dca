"""Where a conversation stands: its phases, and the closing handshake."""

from libc.stdint cimport uint8_t, uint16_t

from sockwave.core.flag cimport flag
from sockwave.core.protocol.frames cimport Violation
from sockwave.core.session.sender cimport Sender

# Where a session stands. The application sees fewer: see SEEN_AS.
cdef enum ConnectionState:
    UNKNOWN
    OPENING
    WAITING
    HANDSHAKING
    CONNECTED
    CLOSING                     # our close frame is sent, the peer's is awaited
    ENDING                      # nothing more is read; the transport is on its way out
    ENDED

# What can happen to a connected one.
cdef enum CloseEvent:
    WE_CLOSE
    PEER_CLOSES
    PEER_FAILS                  # it breaks the protocol, or a limit
    PEER_VANISHES               # it sends_close no ping
    STREAM_ENDS

cdef class ClosingHandshake(Sender):
    """A conversation that begins and ends in order."""
    cdef object opening         # told of bytes and deadlines until the session is connected
    cdef str reason
    cdef uint16_t code          # how it ended; 0: not yet
    cdef uint16_t own_code      # the one that we closed with
    cdef uint8_t state
    cdef uint8_t taken_steps    # of those in which it ends: a bit for each
    cdef flag is_gone           # the transport is, and has told of it

    # What those above it do:
    cdef int entered(self, object state) except -1
    cdef int listen_for_close(self) except -1   # our close frame is sent, the peer's is awaited
    cdef int ended(self) except -1
    cdef int end_behind(self) except -1

    cdef int enter(self, ConnectionState state) except -1
    cdef int end_with(self, Violation violation, CloseEvent event) except -1
    cdef int advance_closing(self, CloseEvent event, bytes close_payload) except -1
    cdef int move(self, ConnectionState state, bint sends_close, int farewell, bytes close_payload) except -1
    cdef object closed_error(self)
    cdef int record_close(self, int code, str reason) except -1

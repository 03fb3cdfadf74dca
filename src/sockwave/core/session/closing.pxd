"""Where a conversation stands: its phases, and the closing handshake."""

from libc.stdint cimport uint8_t, uint16_t

from sockwave.core.flag cimport flag
from sockwave.core.protocol.frames cimport Violation
from sockwave.core.session.sender cimport Sender

# Where a session stands. The application sees fewer states: see READY_STATES.
cdef enum Phase:
    UNKNOWN
    OPENING
    WAITING
    HANDSHAKING
    CONNECTED
    CLOSING                     # our close frame is sent, the peer's is awaited
    ENDING                      # nothing more is read; the carrier is on its way out
    ENDED

# What can happen to a connected one.
cdef enum Occurrence:
    WE_CLOSE
    PEER_CLOSES
    PEER_FAILS                  # it breaks the protocol, or a limit
    PEER_VANISHES               # it answers no ping
    STREAM_ENDS

cdef class Phased(Sender):
    """A conversation that begins and ends in order."""
    cdef object opening         # told of bytes and deadlines until the session is connected
    cdef str reason
    cdef uint16_t code          # how it ended; 0: not yet
    cdef uint16_t own_code      # the one that we closed with
    cdef uint8_t phase
    cdef uint8_t taken_steps    # of those in which it ends: a bit for each
    cdef flag is_gone           # the carrier is, and has told of it

    # What those above it do:
    cdef int entered(self, object state) except -1
    cdef int listen_for_close(self) except -1   # our close frame is sent, the peer's is awaited
    cdef int ended(self) except -1
    cdef int end_behind(self) except -1

    cdef int enter(self, Phase phase) except -1
    cdef int end_with(self, Violation violation, Occurrence occurrence) except -1
    cdef int happened(self, Occurrence occurrence, bytes close_payload) except -1
    cdef int move(self, Phase phase, bint answers, int farewell, bytes close_payload) except -1
    cdef object closed_error(self)
    cdef int settle(self, int code, str reason) except -1

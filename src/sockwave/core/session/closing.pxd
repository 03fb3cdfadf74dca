"""The states of a connection, and the closing handshake."""

from sockwave.core.protocol.frames cimport Violation
from sockwave.core.session.sender cimport Sender

# The states of a session. The application sees fewer: see SEEN_AS.
cdef enum ConnectionState:
    UNKNOWN
    OPENING
    WAITING
    HANDSHAKING
    CONNECTED
    CLOSING                     # our close frame is sent, the peer's is awaited
    ENDING                      # nothing more is read; the transport is being closed
    ENDED

# What can happen to a connected session.
cdef enum CloseEvent:
    WE_CLOSE
    PEER_CLOSES
    PEER_FAILS                  # the peer breaks the protocol, or exceeds a limit
    PEER_VANISHES               # the peer does not answer a ping
    STREAM_ENDS                 # the peer's bytes have ended, or the time to close is over

cdef int enter(Sender session, ConnectionState state) except -1
cdef int end_with(Sender session, Violation violation, CloseEvent event) except -1
cdef int advance_closing(Sender session, CloseEvent event, bytes close_payload) except -1
cdef object closed_error(Sender session)
cdef int record_close(Sender session, int code, str reason) except -1
cdef int end_behind(Sender session) except -1

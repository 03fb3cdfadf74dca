"""One WebSocket connection: its states and its closing handshake (RFC 6455 section 7); what the application holds."""

from libc.stdint cimport uint8_t, uint16_t, uint64_t

from sockwave.core.carrier cimport Carrier, Engine, Receiver
from sockwave.core.emitter cimport Emitter
from sockwave.core.frames cimport Violation
from sockwave.core.inbox cimport Inbox
from sockwave.core.reader cimport Found, Input, Reader

# Where a connection stands. The application sees fewer states: see READY_STATES.
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
    PEER_FAILS                  # breaks the protocol, or a limit
    STREAM_ENDS
    OCCURRENCE_COUNT

cdef class Connection

cdef class Hub:
    """What the connections of one server share."""
    cdef readonly dict connections      # id → Connection, in the order in which they connected
    cdef readonly Engine engine
    cdef readonly object limits
    cdef readonly Emitter server
    cdef size_t max_size, queue_size
    cdef Py_ssize_t queue_count
    cdef double close_timeout           # seconds; 0: none
    cdef set tasks                      # those that outlive their connection
    cdef readonly Connection current    # whose event the server's listeners are hearing

    cdef int tell_server(self, int event, Connection connection, object argument) except -1
    cdef int start_task(self, Connection connection, object coroutine, set tasks) except -1

cdef class Connection(Receiver):
    """One WebSocket connection, whatever its version and whatever carries it."""
    cdef Hub hub
    cdef Carrier line
    cdef Reader reader
    cdef Inbox inbox            # None until a message has nobody to go to
    cdef object head            # the opening request: raw bytes until somebody asks for it
    cdef object opening         # called with this connection when bytes come before it is connected
    cdef dict own_data
    cdef set tasks              # those that its listeners started
    cdef list pings             # (payload, when, future) of those that are out
    cdef bytes owed_pong        # the newest ping's payload, while the backlog lets no pong through
    cdef str chosen_subprotocol
    cdef str reason
    cdef double round_trip_s    # negative: not known
    cdef readonly uint64_t id
    cdef uint16_t code, own_code    # how it ended, and the one that we closed with
    cdef uint8_t phase, version_index
    cdef bint is_full           # the application is behind: reading is paused
    cdef bint is_choked         # the peer is behind: reading is paused
    cdef bint is_postponed      # messages are left for the next wake-up
    cdef bint has_handler       # a task of `serve` will ask for messages

    cdef int read(self, Input* given) except -1
    cdef int found_message(self, int opcode, Found* found) except -1
    cdef int found_control(self, int opcode, const Found* found) except -1
    cdef int happened(self, Occurrence occurrence, object close_payload) except -1
    cdef int fail(self, Violation violation) except -1
    cdef int settle(self, int code, str reason) except -1
    cdef int enter(self, Phase phase) except -1

    cdef int queue(self, object message, size_t size) except -1
    cdef int postpone(self) except -1
    cdef int go_on_later(self) except -1
    cdef int set_reading(self) except -1
    cdef bint is_draft(self) noexcept
    cdef int write_message(self, int opcode, object owner, const uint8_t* data, size_t size) except -1
    cdef int share_frame(self, bytes frame, size_t size) except -1
    cdef int give_up(self) except -1
    cdef int write_close(self, object payload) except -1
    cdef int write_pong(self, bytes payload) except -1

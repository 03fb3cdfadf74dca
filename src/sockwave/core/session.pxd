"""The protocol's side of a connection: its phases, its reading, its closing handshake."""

from libc.stdint cimport uint8_t, uint16_t

from sockwave.core.carrier cimport Carrier, Receiver
from sockwave.core.codec cimport Deflater, Inflater
from sockwave.core.frames cimport Violation
from sockwave.core.reader cimport Found, Input, Reader
from sockwave.core.writer cimport Writer

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
    STREAM_ENDS

# Why the application is behind: while one of them holds, reading is paused.
cdef enum Fullness:
    INBOX_FULL = 1              # messages wait for `receive`
    TASKS_FULL = 2              # listeners' tasks are still at work on earlier ones
    CHUNKS_FULL = 4             # chunks of a streamed message wait
    NOT_ASKED = 8               # a message too big to hold may yet be asked for as a stream

# The versions, in the order of VERSIONS.
cdef enum:
    DRAFT75
    DRAFT76

cdef class Session(Receiver):
    """One WebSocket conversation: bytes of a carrier in, messages and control frames out."""
    cdef Carrier line
    cdef Reader reader
    cdef Deflater deflater      # None: permessage-deflate has not been agreed on
    cdef Inflater inflater
    cdef object opening         # told of bytes and deadlines until the session is connected
    cdef bytes owed_pong        # the newest ping's payload, while the backlog lets no pong through
    cdef str reason
    cdef float close_timeout    # seconds; 0: none
    cdef uint16_t code          # how it ended; 0: not yet
    cdef uint16_t own_code      # the one that we closed with
    cdef uint8_t phase, version_index
    cdef uint8_t fullness       # why the application is behind, if it is: of Fullness
    cdef bint is_choked         # the peer is behind: reading is paused
    cdef bint is_postponed      # messages are left for the next wake-up
    # While a message is streamed out: the messages that must not come in between, in order.
    cdef Writer behind
    cdef object speakers        # a deque of those who stream: the first does, the others wait

    # What the application's side does with what is found:
    cdef int entered(self, object state) except -1
    cdef int heard_message(self, object message, size_t size) except -1
    cdef int heard_piece(self, int opcode, const Found* found) except -1
    cdef bint may_be_streamed(self) except -1
    cdef int dropped(self, size_t count) except -1
    cdef int heard_ping(self, bytes payload) except -1
    cdef int heard_pong(self, bytes payload) except -1
    cdef int may_send_again(self) except -1
    cdef int ended(self) except -1

    cdef bint is_draft(self) noexcept
    cdef int enter(self, Phase phase) except -1
    cdef int read(self, Input* given) except -1
    cdef int found_message(self, int opcode, Found* found) except -1
    cdef int found_deflated(self, int opcode, Found* found) except -1
    cdef int cannot_decode(self) except -1
    cdef int found_piece(self, const Found* found) except -1
    cdef int found_control(self, int opcode, const Found* found) except -1
    cdef int happened(self, Occurrence occurrence, bytes close_payload) except -1
    cdef int fail(self, Violation violation) except -1
    cdef object closed_error(self)
    cdef int settle(self, int code, str reason) except -1
    cdef bint must_wait(self) noexcept
    cdef int set_reading(self) except -1
    cdef int postpone(self) except -1
    cdef int go_on_later(self) except -1
    cdef int fall_behind(self, Fullness why) except -1
    cdef int catch_up(self, Fullness why) except -1

    cdef int write_control(self, int opcode, bytes payload) except -1
    cdef int write_message(
        self, int opcode, object owner, const uint8_t* data, size_t size
    ) except -1
    cdef int write_fragment(
        self, uint8_t first_byte, object owner, const uint8_t* data, size_t size
    ) except -1
    cdef int end_fragments(self) except -1
    cdef bytes frame_message(self, int opcode, const uint8_t* data, size_t size)
    cdef bint share_frame(self, bytes frame, int policy, object key) except -1
    cdef object when_drained(self)
    cdef int give_up(self) except -1
    cdef int write_close(self, bytes payload) except -1
    cdef int write_pong(self, bytes payload) except -1

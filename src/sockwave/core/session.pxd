"""What a session reads: bytes → messages and control frames, and who has to wait for whom."""

from libc.stdint cimport uint8_t, uint32_t

from sockwave.core.allowance cimport Account
from sockwave.core.carrier cimport Carrier
from sockwave.core.codec cimport Deflater, Inflater
from sockwave.core.flag cimport flag
from sockwave.core.held cimport Input
from sockwave.core.phases cimport Phased
from sockwave.core.reader cimport Found, Reader
from sockwave.core.tally cimport Limit

# Why the application is behind: while one of them holds, reading is paused.
cdef enum Fullness:
    INBOX_FULL = 1              # messages wait for `receive`
    TASKS_FULL = 2              # listeners' tasks are still at work on earlier ones
    CHUNKS_FULL = 4             # chunks of a streamed message wait
    NOT_ASKED = 8               # a message too big to hold may yet be asked for as a stream

cdef class Session(Phased):
    """One WebSocket conversation: bytes of a carrier in, messages and control frames out."""
    cdef Reader reader          # None: the engine's spare one would do
    cdef Deflater deflater      # None: permessage-deflate has not been agreed on
    cdef Inflater inflater
    cdef Account* account       # what the peer has spent; NULL: nothing yet
    cdef uint32_t heard         # the wheel's tick at which bytes last came
    cdef uint8_t fullness       # why the application is behind, if it is: of Fullness
    cdef flag is_choked         # the peer is behind: reading is paused
    cdef flag is_postponed      # messages are left for the next wake-up

    # What the application's side does with what is found:
    cdef int heard_message(self, object message, size_t size) except -1
    cdef int heard_piece(self, int opcode, const Found* found) except -1
    cdef bint may_be_streamed(self) except -1
    cdef int heard_ping(self, bytes payload) except -1
    cdef int heard_pong(self, bytes payload) except -1
    cdef int may_send_again(self) except -1
    cdef set own_tasks(self)                    # those of its listeners, which end with it
    cdef int call_started(self, bint is_own, bint is_message) except -1
    cdef int call_ended(self, bint is_own, bint is_message) except -1

    cdef int begin(self, Carrier line, int version_index) except -1
    cdef Reader take_reader(self)
    cdef int leave_reader(self) noexcept
    cdef int hold(self, const Input* given) except -1
    cdef size_t kept_size(self) noexcept
    cdef int read(self, Input* given) except -1
    cdef bint overspends(self, int event, const Found* found) except -1
    cdef bint may_control(self, int opcode) except -1
    cdef int open_account(self) except -1
    cdef size_t held_size(self) except? 0
    cdef int forget_received(self) except -1
    cdef bint is_dear(self, Reader reader, const Input* given) noexcept
    cdef int found_message(self, int opcode, Found* found) except -1
    cdef int found_deflated(self, int opcode, Found* found) except -1
    cdef int found_piece(self, const Found* found) except -1
    cdef int found_control(self, int opcode, const Found* found) except -1
    cdef bint must_wait(self) noexcept
    cdef int set_reading(self) except -1
    cdef int postpone(self) except -1
    cdef int go_on_later(self) except -1
    cdef int fall_behind(self, Fullness why, Limit limit) except -1
    cdef int catch_up(self, Fullness why) except -1

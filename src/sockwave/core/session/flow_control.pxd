"""Who has to wait for whom, and what has come meanwhile."""

from libc.stdint cimport uint8_t, uint32_t

from sockwave.core.flag cimport flag
from sockwave.core.protocol.input_buffer cimport Span
from sockwave.core.protocol.inflation cimport Inflater, Inflation
from sockwave.core.session.sender cimport Sender
from sockwave.core.protocol.reader cimport Reader
from sockwave.core.limits.counters cimport Limit

# Why the application is behind: while one of them holds, reading is paused.
cdef enum PauseReason:
    INBOX_FULL = 1              # messages wait for `receive`
    TASKS_FULL = 2              # listeners' tasks are still at work on earlier ones
    CHUNKS_FULL = 4             # chunks of a streamed message wait
    NOT_ASKED = 8               # a message too big to hold may yet be asked for as a stream

cdef class FlowControl(Sender):
    """A conversation whose socket is read while nobody has to wait."""
    cdef Reader reader          # None: the engine's spare one would do
    cdef Inflater inflater      # None: permessage-deflate has not been agreed on
    cdef uint32_t heard         # the wheel's tick at which bytes last came
    cdef uint8_t pause_reasons       # why the application is behind, if it is: of PauseReason
    cdef flag is_write_blocked         # the peer is behind: reading is paused
    cdef flag is_postponed      # messages are left for the next wake-up
    cdef flag reads_rest        # the peer has gone; what it sent before is still handed over

    # What the application has to know:
    cdef int may_send_again(self) except -1

    cdef Reader take_reader(self)
    cdef int leave_reader(self) noexcept
    cdef int store_input(self, const Span* given) except -1
    cdef size_t kept_size(self) noexcept
    cdef bint has_more(self) noexcept
    cdef size_t held_size(self) except? 0
    cdef int forget_received(self) except -1
    cdef bint must_wait(self) noexcept
    cdef int set_reading(self) except -1
    cdef int postpone(self) except -1
    cdef int postpone_inflating(self, Inflation inflation) except -1
    cdef int go_on_later(self) except -1
    cdef int pause(self, PauseReason reason, Limit limit) except -1
    cdef int resume(self, PauseReason reason) except -1

"""Flow control: when reading pauses, and the input that is kept meanwhile."""

from libc.stdint cimport uint8_t, uint32_t

from sockwave.core.flag cimport flag
from sockwave.core.protocol.input_buffer cimport Span
from sockwave.core.protocol.inflation cimport Inflater, Inflation
from sockwave.core.session.sender cimport Sender
from sockwave.core.protocol.reader cimport Reader
from sockwave.core.limits.counters cimport Limit

# Why the application is behind: reading is paused while there is one of these reasons.
cdef enum PauseReason:
    INBOX_FULL = 1              # messages wait for `receive`
    TASKS_FULL = 2              # listeners' tasks are still at work on earlier messages
    CHUNKS_FULL = 4             # chunks of a streamed message wait
    NOT_ASKED = 8               # a message over `max_size` may yet be asked for as a stream
    HELD = 16                   # a client's deliveries of topics wait
    KEYS_WANTED = 32            # a client's messages wait whose keys are not known yet
    UNHEARD = 64                # what is said of topics waits for the thread that hears it
    FAILS_LATER = 128           # a violation waits until the messages before it are answered

cdef class FlowControl(Sender):
    """A session that reads its socket while neither the application nor the peer is behind."""
    cdef Reader reader          # None: nothing is kept, and the engine's spare reader will do
    cdef Inflater inflater      # None: permessage-deflate has not been agreed on
    cdef uint32_t heard         # the wheel's tick at which bytes last came
    cdef uint8_t pause_reasons       # bits of PauseReason; 0: the application is not behind
    cdef flag is_write_blocked         # the peer does not read enough: reading is paused
    cdef flag is_read_owed      # … but once it has caught up, it is read once, whatever is sent
    cdef flag is_postponed      # messages are left for the next wake-up
    cdef flag reads_rest        # the peer has gone; its last messages are still handed over

    # Overridden to tell the application:
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
    cdef int note_read(self) except -1
    cdef int postpone(self) except -1
    cdef int postpone_inflating(self, Inflation inflation) except -1
    cdef int go_on_later(self) except -1
    cdef int pause(self, PauseReason reason, Limit limit) except -1
    cdef int resume(self, PauseReason reason) except -1

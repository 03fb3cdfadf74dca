"""The engine: what the transports of one server in one loop share, and how it gives them turns."""

from libc.stdint cimport uint8_t, uint32_t

from sockwave.core.limits.rate_limit cimport RateLimits
from sockwave.core.events.contexts cimport Contexts
from sockwave.core.io.accept_pause cimport AcceptPause
from sockwave.core.flag cimport flag
from sockwave.core.events.loop_thread cimport LoopThread
from sockwave.core.protocol.reader cimport Reader
from sockwave.core.limits.counters cimport LimitCounters
from sockwave.core.io.timers cimport Wheel
from sockwave.core.events.waiter cimport WakeQueue
from sockwave.core.io.turn_budget cimport TurnBudget
from sockwave.core.io.writer cimport Cork, Writer

cdef enum:
    # A receiver may write this many bytes in front of those it is given: a frame header, or a whole
    # control frame, whose first part came earlier.
    HEADROOM_SIZE = 256
    READ_SIZE = 262144

# The module of transports imports this one, so an engine knows a transport as a `Writer`.

cdef class Acceptor:
    """Gives new transports their receivers."""
    cdef int welcome(self, Writer transport, double now) except -1

cdef class Beginner:
    """Begins the calls that were asked for in a turn, once the turn's events have been read."""
    cdef int begin_calls(self) except -1
    cdef int pass_tick(self, bint is_last) except -1    # `is_last`: no tick follows this one
    cdef int end_tasks(self) except -1      # those that wait for calls, as the server has ended
    cdef int forget_tasks(self) except -1   # in a forked child, which has none of them

cdef class Engine:
    """What the transports of one server in one loop share."""
    cdef readonly object loop
    cdef readonly LoopThread thread     # the only one that the application may call from
    cdef Cork cork
    cdef WakeQueue wake_queue
    cdef readonly Contexts contexts
    cdef Wheel wheel
    cdef readonly LimitCounters limit_counters
    cdef RateLimits rate_limits
    cdef AcceptPause accept_pause
    cdef uint8_t* read_buffer   # HEADROOM_SIZE + READ_SIZE bytes
    cdef Reader spare_reader    # an idle one, for the next connection that needs one
    cdef size_t max_size        # of a message
    cdef float close_timeout    # seconds to wait for the peer's close frame; 0: for ever
    cdef public Acceptor acceptor     # welcomes each new transport
    cdef list beginners
    cdef bint has_calls         # one of them has calls to begin at the end of this turn
    cdef unsigned int call_count    # so many calls of the application were made, modulo 2^32
    cdef object complain        # called with (error, transport) if no caller sees the error
    cdef tuple ticks            # the handles of scheduled ticks; (): no transport needs any
    cdef double tick_due
    cdef object next_turn       # the handle of the call that serves `postponed`; None: none
    cdef dict losses            # closed transport → the error that has closed it
    cdef object postponed       # transports whose receivers have messages left for the next wake-up
    cdef object inflating       # transports whose next message has been inflated in part
    cdef readonly Py_ssize_t transport_count
    cdef public object when_empty   # called when the last transport is gone, if not None
    cdef public object when_departed    # called with each transport that is gone, if not None
    cdef TurnBudget budget      # what this turn, or this wake-up, may still do
    cdef bint is_abandoned      # in a forked child: everything belongs to the parent
    cdef uint32_t write_ticks   # how long a peer may take nothing of what waits for it; 0: for ever

    cdef void tell(self, object error, Writer transport) noexcept
    # `now`, here and above, is `clock()` of a moment ago: one call does for several new transports.
    cdef int admit(self, Writer transport, double now) except -1
    cdef int postpone(self, Writer transport) except -1
    cdef int postpone_inflating(self, Writer transport, bint comes_first) except -1
    cdef int serve_postponed(self) except -1
    cdef int serve_some(self, object waiting) except -1
    cdef int ask_to_begin(self) except -1
    cdef object create_task(self, object coroutine)
    cdef int begin_calls(self) except -1
    cdef bint has_postponed(self) except -1
    cdef bint has_time_for_slow_request(self) except -1
    cdef int tell_passed(self) except -1
    cdef int forget(self, Writer transport) except -1
    cdef int note_debug(self, bint is_wanted) except -1
    cdef int expect_ticks(self, double now) except -1
    cdef int promise_ticks(self, double now) except -1
    cdef int stop_calls(self) except -1
    cdef double clock(self) except -1
    cdef int end_turn(self) except -1

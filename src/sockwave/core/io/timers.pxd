"""Deadlines: one coarse timer wheel per loop, in place of a timer object per connection."""

from libc.stdint cimport uint32_t

cdef double tick_s              # a tick in seconds

cdef enum:
    SLOT_COUNT = 256
    # The time of an event is noted as the tick of the wheel's last look at the clock: at most so
    # many ticks too early.
    STALE_TICKS = 2

# A deadline, as a part of its owner, which has at most one at a time: a node in the ring (a
# circular list) of the timers in one slot. The slot's own node is the head of its ring. All zeros:
# no deadline.
cdef struct Timer:
    Timer* previous
    Timer* next
    void* owner                 # an object, borrowed: before it dies, its timer leaves the ring
    uint32_t due                # the tick of the deadline; 0: none

cdef class Wheel:
    """Finds the timers whose deadline has passed; its time moves in ticks."""
    cdef Timer slots[SLOT_COUNT]
    cdef Timer passed           # timers that are due, and whose owners have not been called
    cdef uint32_t tick          # the last one that has been handled; the first is 1
    cdef readonly double now    # seconds on the wheel's own clock, as of the last look
    cdef double looked          # when the last look was, on the loop's clock
    cdef bint was_late          # the last look came late, and did not count
    cdef readonly Py_ssize_t waiting_count

    cdef int begin(self, double loop_time) noexcept
    cdef double since_look(self, double loop_time) noexcept
    cdef uint32_t tick_in(self, double loop_time, double seconds) noexcept
    cdef int start(self, Timer* timer, void* owner, uint32_t tick) noexcept
    cdef int stop(self, Timer* timer) noexcept
    cdef int turn_slot(self, Timer* slot) noexcept
    cdef bint has_passed(self) noexcept
    cdef void* take_passed(self) noexcept
    cdef list list_owners(self)
    cpdef int advance(self, double loop_time) except -1

cdef uint32_t ticks_of(object seconds) except? 0
cdef int forget_timer(Timer* timer) noexcept

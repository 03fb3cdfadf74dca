"""A loop that several threads drive: its own, and each one that is in a call of a connection."""

from sockwave.core.io.transport cimport Transport

cdef extern from "Python.h":
    ctypedef void* thread_lock "PyThread_type_lock"
    unsigned long current_thread_id "PyThread_get_thread_ident" () noexcept nogil

# No wait is longer: then it is waited again. A signal that comes just before a wait does not
# interrupt it, so so much later its handler is called.
cdef double longest_wait_s

cdef double time_left(double end) except -2
cdef int check_living() except -1

cdef class Reading

cdef class SharedLoop:
    """The lock of a loop, which a thread holds while it uses the loop, its engines and what these
    carry. All that is scheduled with the loop is done by whichever thread holds the lock."""
    cdef thread_lock lock
    cdef unsigned long holder   # the thread that holds the lock; 0: none
    cdef unsigned long own_id   # the loop's own thread; 0: it has not begun
    cdef int depth              # how often it has taken it
    cdef bint is_abandoned      # this is a forked child, and the loop is its parent's
    cdef readonly object loop   # what engines know as their loop
    cdef list reports           # calls that log something, once the lock is free

    cpdef int check_may_wait(self, str call) except -1
    cdef int enter(self) except -1
    cdef int await_lock(self) except -1
    cdef bint may_wait(self) noexcept
    cdef bint has_ended(self) except -1
    cdef int leave(self) except -1
    cdef int drop(self) noexcept            # … without a look at what is scheduled
    cdef int begin_reports(self, bint is_own) except -1
    cdef int make_reports(self) except -1
    cdef bint is_inside(self) noexcept      # whether the calling thread holds the lock
    cdef int settle(self) except -1         # do what is scheduled
    cdef bint hands_over(self) except -1    # calls are made by the loop's own thread, for a caller
    cdef bint is_elsewhere(self) except -1  # the caller is no thread of the loop's, which runs
    cdef bint is_lent(self) except -1       # the same, for a caller that holds the lock
    cdef object call_there(self, object function, tuple arguments)
    cdef Reading make_reading(self, Transport transport)

cdef class Pause:
    """How a thread waits that opens connections, until another one ends that."""
    cdef Reading reading
    cdef readonly bint has_ended

cdef class Job:
    """A call that the loop's own thread makes for another one."""
    cdef object function        # None: it is made, or not wanted any more
    cdef tuple arguments
    cdef object result
    cdef object error           # what it has raised; None: nothing
    cdef bint is_done
    cdef Reading done           # rung when it is

    cdef int forget(self) except -1

cdef class Reading:
    """How the one thread that receives from a transport waits for its bytes."""
    cdef SharedLoop shared
    cdef thread_lock alarm      # locked while nothing has happened
    cdef bint is_waiting        # the thread waits, and has not been told of anything

    # Wait for so many seconds at most, or for less; negative: without limit.
    cdef int wait(self, double seconds) except -1
    cdef int wait_unlocked(self) except -1
    cdef int wait_blindly(self) except -1
    cdef int ring(self) except -1           # something has happened: wake the thread that waits
    cdef int give_back(self) except -1      # have the loop's own thread read
    cdef int end(self) noexcept             # the connection has ended, and nothing waits any more

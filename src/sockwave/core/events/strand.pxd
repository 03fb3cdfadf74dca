"""A task in which coroutines begin, one after the other, until one of them needs it for itself."""

from sockwave.core.events.waiter cimport Waiter, WakeQueue

# How the first step of a coroutine has ended, as long as its task has not been told.
cdef enum Outcome:
    NONE                        # there was no step, or nothing is to be told
    WAITS                       # it waits for what it has given
    RETURNED
    RAISED

cdef class Strand

cdef class Marks:
    """What a task looks like before a coroutine begins in it. If the task looks different
    afterwards, the application knows this task, and no other coroutine may begin in it."""
    cdef object task, name
    cdef Py_ssize_t reference_count, weak_count

    cdef int count(self) except -1
    cdef bint are_left(self) except -1

cdef class Parking(Waiter):
    """What the task of a parked strand waits for."""
    cdef Strand strand

cdef class Strand:
    """What a task runs. To the task, a strand is a coroutine.

    Coroutines begin in the task's own first step, and, while it is parked, also when the task is
    not running: it is made the current task for the first step of each. As soon as one of them
    waits, fails, or has marked the task, the task goes on as its own (`hand_over`).
    """
    cdef WakeQueue wake_queue
    cdef object task            # None: it has not begun, or belongs to a coroutine, or has ended
    cdef Parking parking        # None: it is not parked
    cdef Marks marks            # of the task, before any coroutine has begun in it since
    # The coroutine that takes its first step, or has the task for itself; None: there is none.
    cdef object coroutine
    cdef object context         # that it runs in: its own, as each task has one
    cdef Outcome outcome        # of its first step
    cdef object given           # what it waits for, has returned or has raised, in this step
    cdef object late_error      # raised in it when it is resumed; None: nothing is
    cdef bint has_begun         # the task has taken its first step

    # Implemented by subclasses.
    cdef int fill(self) except -1           # begin coroutines, in the task's own first step
    cdef bint may_park(self) except -1      # nothing is left to begin: whether the task is kept
    cdef int parked(self) except -1
    cdef int cancelled(self) except -1      # the parked task is going to end, and begins no more
    cdef int drop(self) except -1           # the task was cancelled before its first step

    cdef bint begin(self, object coroutine, object context) except -1
    cdef int mark(self) except -1
    cdef int take_step(self, object coroutine, object context) except -1
    cdef bint is_spent(self) except -1
    cdef int clear(self) except -1
    cdef int hand_over(self) except -1
    cdef int end(self) except -1
    cdef int let_go(self) except -1
    cdef object park(self)
    cdef object tell(self)

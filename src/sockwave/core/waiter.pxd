"""What a task waits for, without a call of the loop for each."""

from sockwave.core.flag cimport flag

cdef class Bell:
    """Wakes who waits: all those that are told of something in one turn of the loop, by one call
    of the next."""
    cdef readonly object loop
    cdef object occurrence      # a future that is done
    cdef list told              # waiters, in the order in which they were told

    cdef int tell(self, Waiter waiter) except -1
    cdef int ring(self) except -1

cdef class Waiter:
    """Something to wait for, once, by one task. To asyncio it is a future, and as cheap as it can
    be; the application never holds it."""
    cdef Bell bell
    cdef object callback        # which wakes the task; None: nobody waits yet
    cdef object context         # in which it is called
    cdef object message         # of who cancelled it
    cdef flag is_done
    cdef flag is_cancelled
    cdef flag is_blocking       # the task has to be told of it: see `asyncio.isfuture`

    cdef int wake(self) except -1
    cdef int call_back(self) except -1
    cdef int ended_early(self) except -1

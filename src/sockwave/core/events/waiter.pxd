"""What a task waits for: cheaper than a future, and without a call of the loop for each task."""

from sockwave.core.flag cimport flag

cdef class Waiter

cdef class Done:
    """An awaitable that is done: what `send` returns in the usual case."""

cdef class WakeQueue:
    """Wakes tasks: all whose waiters are queued in one turn of the loop are woken by one call in
    the next turn."""
    cdef readonly object loop
    cdef object done_future     # a future that is done
    cdef Waiter first, last     # the queued waiters, in this order
    cdef Py_ssize_t queued_count
    cdef flag is_scheduled      # the loop is going to call `_wake_all`
    cdef flag is_timed          # the loop is in debug mode: slow steps of tasks are logged

    cdef int put(self, Waiter waiter) except -1
    cdef int schedule(self) except -1
    cdef int wake_all(self) except -1
    cdef int call_timed(self, object callback, object outcome) except -1
    cdef Waiter take_first(self)

cdef class Waiter:
    """Something that one task waits for, once. To asyncio it is a future, but a cheaper one; the
    application never gets a reference to it."""
    cdef WakeQueue wake_queue
    cdef Waiter next            # the one queued behind it
    cdef object callback        # wakes the task; None: no task waits yet
    cdef object context         # the context that the callback is called in
    cdef list more_callbacks    # pairs of a callback and its context; None: there have been none
    cdef object message         # the argument of `cancel`
    cdef flag is_done
    cdef flag is_cancelled
    cdef flag is_blocking       # asyncio's `_asyncio_future_blocking`: a task waits for it

    cdef int wake(self) except -1
    cdef int call_back(self) except -1
    cdef object outcome(self)
    cdef int ended_early(self) except -1

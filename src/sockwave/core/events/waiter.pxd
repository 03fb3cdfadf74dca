"""What a task waits for, without a call of the loop for each."""

from sockwave.core.flag cimport flag

cdef class Waiter

cdef class Done:
    """An awaitable that is done: what `send` gives in the usual case."""

cdef class WakeQueue:
    """Wakes who waits: all those that are told of something in one turn of the loop, by one call
    of the next."""
    cdef readonly object loop
    cdef object done_future      # a future that is done
    cdef Waiter first, last     # of those that have been told, in this order
    cdef Py_ssize_t told_count
    cdef flag is_promised       # a call that rings is under way
    cdef flag is_watched        # the loop is in debug mode: steps of tasks are measured

    cdef int tell(self, Waiter waiter) except -1
    cdef int promise(self) except -1
    cdef int wake_all(self) except -1
    cdef int call_watched(self, object callback, object outcome) except -1
    cdef Waiter take_first(self)

cdef class Waiter:
    """Something to wait for, once, by one task. To asyncio it is a future, and as cheap as it can
    be; the application never holds it."""
    cdef WakeQueue wake_queue
    cdef Waiter next            # the one told behind it
    cdef object callback        # which wakes the task; None: nobody waits yet
    cdef object context         # in which it is called
    cdef list others            # more callbacks with their contexts; None: there have been none
    cdef object message         # of who cancelled it
    cdef flag is_done
    cdef flag is_cancelled
    cdef flag is_blocking       # the task has to be told of it: see `asyncio.isfuture`

    cdef int wake(self) except -1
    cdef int call_back(self) except -1
    cdef object outcome(self)
    cdef int ended_early(self) except -1

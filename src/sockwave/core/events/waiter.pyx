"""What a task waits for: cheaper than a future, and without a call of the loop for each task."""

import logging
from asyncio import CancelledError, Future, InvalidStateError, Task
from contextvars import copy_context

from cpython.object cimport PyObject

cdef extern from "Python.h":
    bint is_builtin "PyCFunction_Check" (object callback) noexcept
    PyObject* owner_of "PyCFunction_GetSelf" (object callback)
    int enter_context "PyContext_Enter" (object context) except -1
    int leave_context "PyContext_Exit" (object context) except -1

# The logger by which asyncio itself reports what has blocked the loop.
slow_log = logging.getLogger("asyncio")


cdef class Done:
    """An awaitable that is done: what `send` returns in the usual case."""

    def __await__(self):
        return self

    def __iter__(self):
        return self

    def __next__(self):
        raise StopIteration


DONE = Done()


cdef class WakeQueue:
    """Wakes tasks: all whose waiters are queued in one turn of the loop are woken by one call in
    the next turn. If the loop loses that call, for want of memory, the engine's next tick wakes
    them. The epoll engine wakes those of a turn of its own at its end: see `finish_turn` there."""

    def __cinit__(self, loop):
        self.loop = loop
        self.done_future = Future(loop=loop)
        self.done_future.set_result(None)

    cdef int put(self, Waiter waiter) except -1:
        """Queue a waiter, whose task is woken in the next turn. Needs no memory for it."""
        if self.last is None:
            self.first = waiter
        else:
            self.last.next = waiter
        self.last = waiter
        self.queued_count += 1
        return self.schedule()

    cdef int schedule(self) except -1:
        """Schedule the call that wakes the tasks, unless it is scheduled already."""
        if not self.is_scheduled:
            self.is_scheduled = True
            try:
                self.loop.call_soon(self._wake_all)
            except MemoryError:
                pass                        # the caller must not fail: the engine's tick wakes them
        return 0

    def _wake_all(self):
        self.wake_all()

    cdef int wake_all(self) except -1:
        """Wake the tasks of all queued waiters; those queued meanwhile wait for the next turn."""
        cdef Py_ssize_t count = self.queued_count
        cdef Waiter waiter
        self.is_scheduled = False
        try:
            while count:
                count -= 1
                waiter = self.take_first()
                waiter.call_back()
        except MemoryError:
            self.put(waiter)                # its task has not been woken
            raise
        finally:
            if self.queued_count:           # some are left, as the task woken last has raised
                self.schedule()
        return 0

    cdef int call_timed(self, object callback, object outcome) except -1:
        """Let a task take a step, and log a slow one. asyncio's debug mode cannot: to it, the steps
        of all tasks that are woken together are one call."""
        began = self.loop.time()
        try:
            callback(outcome)
        finally:
            taken_s = self.loop.time() - began
            if taken_s >= getattr(self.loop, "slow_callback_duration", 0.1):
                slow_log.warning(
                    "Executing %r took %.3f seconds",
                    getattr(callback, "__self__", callback), taken_s,
                )
        return 0

    cdef Waiter take_first(self):
        cdef Waiter waiter = self.first
        self.first = waiter.next
        if self.first is None:
            self.last = None
        waiter.next = None
        self.queued_count -= 1
        return waiter


cdef class Waiter:
    """Something that one task waits for, once. To asyncio it is a future."""

    cdef int wake(self) except -1:
        """Resume the task in the next turn; nothing happens when it has been woken already."""
        if not self.is_done:
            if self.callback is not None:
                self.wake_queue.put(self)
            self.is_done = True
        return 0

    cdef int call_back(self) except -1:
        """Call the first callback, and queue the waiter again if there are more: other code than
        the task may have added some, and each is called in a turn of its own."""
        cdef bint is_short = False
        if self.callback is None:
            return 0
        enter_context(self.context)
        try:
            if self.wake_queue.is_timed:
                self.wake_queue.call_timed(self.callback, self.outcome())
            else:
                self.callback(self.outcome())
        except MemoryError:
            is_short = True                 # keep the callback: `wake_all` queues it again
            raise
        finally:
            leave_context(self.context)
            if not is_short:
                self.callback = self.context = None
                if self.more_callbacks:
                    self.callback, self.context = self.more_callbacks.pop(0)
                    self.wake_queue.put(self)
        return 0

    cdef object outcome(self):
        """Return the argument of a callback: this waiter, or a future that is done."""
        cdef PyObject* owner
        if not self.is_cancelled and is_builtin(self.callback):
            owner = owner_of(self.callback)
            if owner is not NULL and type(<object>owner) is Task:
                # The callback is asyncio's, which reads the result of asyncio's own future in a
                # tenth of the time.
                return self.wake_queue.done_future
        return self

    cdef int ended_early(self) except -1:
        """Called when the waiting coroutine is closed or thrown into instead of resumed."""
        return 0

    def __await__(self):
        return self

    def __next__(self):
        if not self.is_done:
            self.is_blocking = True
            return self
        if self.is_cancelled:
            self.result()
        raise StopIteration

    def throw(self, *error):
        """Raise an error in the waiting coroutine."""
        self.ended_early()
        raise error[0]

    def close(self):
        self.ended_early()

    # ---- the methods of a future that a task calls

    @property
    def _asyncio_future_blocking(self):
        return self.is_blocking

    @_asyncio_future_blocking.setter
    def _asyncio_future_blocking(self, bint value):
        self.is_blocking = value

    def get_loop(self):
        return self.wake_queue.loop

    def add_done_callback(self, callback, *, context=None):
        """Call `callback` when this is done, in a turn of the loop of its own."""
        if context is None:
            context = copy_context()
        if self.callback is not None:       # the task's, or one that other code has added
            if self.more_callbacks is None:
                self.more_callbacks = []
            self.more_callbacks.append((callback, context))
            return
        self.callback = callback
        self.context = context
        if self.is_done:
            self.wake_queue.put(self)

    def remove_done_callback(self, callback):
        """Remove a callback; returns how often it had been added."""
        cdef list all_callbacks = [(self.callback, self.context), *(self.more_callbacks or ())]
        cdef list kept = [pair for pair in all_callbacks if pair[0] != callback]
        self.callback, self.context = kept[0] if kept else (None, None)
        self.more_callbacks = kept[1:]
        return len(all_callbacks) - len(kept)

    def cancel(self, msg=None):
        """Resume the task with CancelledError; false: it has been woken already."""
        if self.is_done:
            return False
        self.wake()
        self.is_cancelled = True
        self.message = msg
        return True

    def done(self):
        return self.is_done

    def cancelled(self):
        return self.is_cancelled

    def result(self):
        """Return None, or raise CancelledError if it was cancelled."""
        if self.is_cancelled:
            raise CancelledError if self.message is None else CancelledError(self.message)
        if not self.is_done:
            raise InvalidStateError("expected to be asked when it is done")

    def exception(self):
        """Return None, or raise CancelledError if it was cancelled: it has no other end."""
        self.result()

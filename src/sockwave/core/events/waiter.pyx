"""What a task waits for, without a call of the loop for each."""

import logging
from asyncio import CancelledError, Future, InvalidStateError, Task
from contextvars import copy_context

from cpython.object cimport PyObject

cdef extern from "Python.h":
    bint is_builtin "PyCFunction_Check" (object callback) noexcept
    PyObject* owner_of "PyCFunction_GetSelf" (object callback)
    int enter_context "PyContext_Enter" (object context) except -1
    int leave_context "PyContext_Exit" (object context) except -1

# Where asyncio itself says what has held up the loop.
slow_log = logging.getLogger("asyncio")


cdef class Done:
    """An awaitable that is done: what `send` gives in the usual case."""

    def __await__(self):
        return self

    def __iter__(self):
        return self

    def __next__(self):
        raise StopIteration


DONE = Done()


cdef class WakeQueue:
    """Wakes who waits: all those that are told of something in one turn of the loop, by one call
    of the next. Where that call is lost, for want of memory, the engine's next tick does it."""

    def __cinit__(self, loop):
        self.loop = loop
        self.done_future = Future(loop=loop)
        self.done_future.set_result(None)

    cdef int tell(self, Waiter waiter) except -1:
        """Wake a waiter in the next turn. Takes no memory for the waiter."""
        if self.last is None:
            self.first = waiter
        else:
            self.last.next = waiter
        self.last = waiter
        self.told_count += 1
        return self.promise()

    cdef int promise(self) except -1:
        if not self.is_promised:
            self.is_promised = True
            try:
                self.loop.call_soon(self._ring)
            except MemoryError:
                pass                        # whoever tells shall not fail for it: a tick will do
        return 0

    def _ring(self):
        self.wake_all()

    cdef int wake_all(self) except -1:
        """Wake all who have been told; those told meanwhile are woken in the next turn."""
        cdef Py_ssize_t count = self.told_count
        cdef Waiter waiter
        self.is_promised = False
        try:
            while count:
                count -= 1
                waiter = self.take_first()
                waiter.call_back()
        except MemoryError:
            self.tell(waiter)               # it has not been woken
            raise
        finally:
            if self.told_count:             # or who was woken last has ended the program
                self.promise()
        return 0

    cdef int call_watched(self, object callback, object outcome) except -1:
        """Let a task take a step, and say so where it takes long: to asyncio, the steps of all who
        are woken together are one call."""
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
        self.told_count -= 1
        return waiter


cdef class Waiter:
    """Something to wait for, once, by one task. To asyncio it is a future."""

    cdef int wake(self) except -1:
        """Let the task go on; nothing happens when it has been woken already."""
        if not self.is_done:
            if self.callback is not None:
                self.wake_queue.tell(self)
            self.is_done = True
        return 0

    cdef int call_back(self) except -1:
        """Call who has asked first. Others, who look over the task's shoulder, have turns of their
        own."""
        cdef bint is_short = False
        if self.callback is None:
            return 0
        enter_context(self.context)
        try:
            if self.wake_queue.is_watched:
                self.wake_queue.call_watched(self.callback, self.outcome())
            else:
                self.callback(self.outcome())
        except MemoryError:
            is_short = True                 # it is called again
            raise
        finally:
            leave_context(self.context)
            if not is_short:
                self.callback = self.context = None
                if self.others:
                    self.callback, self.context = self.others.pop(0)
                    self.wake_queue.tell(self)
        return 0

    cdef object outcome(self):
        """Give what a callback is called with."""
        cdef PyObject* owner
        if not self.is_cancelled and is_builtin(self.callback):
            owner = owner_of(self.callback)
            if owner is not NULL and type(<object>owner) is Task:
                # It asks a future of asyncio's own in a tenth of the time for its result.
                return self.wake_queue.done_future
        return self

    cdef int ended_early(self) except -1:
        """Deal with it that the task does not go on, but fails or ends where it waited."""
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
        """Raise an error in who waits."""
        self.ended_early()
        raise error[0]

    def close(self):
        self.ended_early()

    # ---- a future, as far as a task asks

    @property
    def _asyncio_future_blocking(self):
        return self.is_blocking

    @_asyncio_future_blocking.setter
    def _asyncio_future_blocking(self, bint value):
        self.is_blocking = value

    def get_loop(self):
        return self.wake_queue.loop

    def add_done_callback(self, callback, *, context=None):
        """Call back in a turn of the loop of its own when it is done."""
        if context is None:
            context = copy_context()
        if self.callback is not None:       # the task's, or of who looks over its shoulder
            if self.others is None:
                self.others = []
            self.others.append((callback, context))
            return
        self.callback = callback
        self.context = context
        if self.is_done:
            self.wake_queue.tell(self)

    def remove_done_callback(self, callback):
        """Call it no more; gives how often it was there."""
        cdef list all_of_them = [(self.callback, self.context), *(self.others or ())]
        cdef list kept = [pair for pair in all_of_them if pair[0] != callback]
        self.callback, self.context = kept[0] if kept else (None, None)
        self.others = kept[1:]
        return len(all_of_them) - len(kept)

    def cancel(self, msg=None):
        """Let the task go on with CancelledError; gives whether it was still to be woken."""
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
        """Give nothing, or raise what it was ended with."""
        if self.is_cancelled:
            raise CancelledError if self.message is None else CancelledError(self.message)
        if not self.is_done:
            raise InvalidStateError("expected to be asked when it is done")

    def exception(self):
        """Give nothing, as it ends well or is cancelled."""
        self.result()

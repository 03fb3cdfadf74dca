"""What a task waits for, without a call of the loop for each."""

from asyncio import CancelledError, Future, InvalidStateError

cdef extern from "Python.h":
    int enter_context "PyContext_Enter" (object context) except -1
    int leave_context "PyContext_Exit" (object context) except -1


cdef class Bell:
    """Wakes who waits: all those that are told of something in one turn of the loop, by one call
    of the next. Where that call is lost, for want of memory, the engine's next tick does it."""

    def __cinit__(self, loop):
        self.loop = loop
        self.occurrence = Future(loop=loop)
        self.occurrence.set_result(None)

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
        self.ring()

    cdef int ring(self) except -1:
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
                self.bell.tell(self)
            self.is_done = True
        return 0

    cdef int call_back(self) except -1:
        enter_context(self.context)
        try:
            # A task asks a future of asyncio's own in a tenth of the time for its result.
            self.callback(self if self.is_cancelled else self.bell.occurrence)
        finally:
            leave_context(self.context)
        # Not before: without memory it is called again.
        self.callback = self.context = None
        return 0

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
        return self.bell.loop

    def add_done_callback(self, callback, *, context):
        """Call back in a turn of the loop of its own when it is done."""
        if self.callback is not None:
            raise InvalidStateError("expected one task to wait, given two")
        self.callback = callback
        self.context = context
        if self.is_done:
            self.bell.tell(self)

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

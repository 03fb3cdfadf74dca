"""Messages that wait until a task of the application asks for them."""

cimport cython
from cpython.mem cimport PyMem_Free, PyMem_Malloc
from cpython.ref cimport Py_DECREF, Py_INCREF

cdef enum:
    # A peer that waits for each answer has one message here at a time. The memory of a ring with
    # room for more than so many is freed when it is empty.
    FEW = 4


cdef class Inbox:
    """A queue of messages, and of tasks that wait for one.
    The connection sees to its limits."""

    def __cinit__(self):
        self.waiters = []

    def __dealloc__(self):
        self.forget()
        PyMem_Free(self.items)

    cdef bint is_awaited(self) noexcept:
        """Tell whether a task waits right now."""
        return len(self.waiters) > 0

    cdef bint has_receiver(self) noexcept:
        """Tell whether a task waits, or has been woken and has not looked yet."""
        return len(self.waiters) > 0 or self.woken_count > 0

    cdef bint is_listened_to(self) noexcept:
        """Tell whether a task has begun to take messages, and may go on."""
        return self.is_wanted or self.consumer is not None or self.has_receiver()

    cdef int put(self, object message, size_t size) except -1:
        cdef Item* item
        if self.count == self.room:
            self.grow()
        item = &self.items[(self.first + self.count) & (self.room - 1)]
        Py_INCREF(message)
        item.message = <PyObject*>message
        item.size = size
        self.count += 1
        self.size += size
        return self.wake()

    cdef int replace(self, Py_ssize_t at, object message, size_t size) except -1:
        """Put a message in the place of one that waits, `at` so many behind the oldest."""
        cdef Item* item = &self.items[(self.first + at) & (self.room - 1)]
        cdef PyObject* old = item.message
        Py_INCREF(message)
        item.message = <PyObject*>message
        self.size += size - item.size
        item.size = size
        Py_DECREF(<object>old)
        return 0

    cdef int grow(self) except -1:
        """Make room for twice as many messages."""
        cdef Py_ssize_t i, room = max(2 * self.room, FEW)
        cdef Item* items = <Item*>PyMem_Malloc(room * sizeof(Item))
        if items is NULL:
            raise MemoryError
        for i in range(self.count):
            items[i] = self.items[(self.first + i) & (self.room - 1)]
        PyMem_Free(self.items)
        self.items = items
        self.room = room
        self.first = 0
        return 0

    cdef int end(self) except -1:
        """Wake all tasks that wait: no more messages will come."""
        while self.waiters:
            self.wake()
        return 0

    cdef object take(self):
        """Take out the oldest message; the caller knows that there is one."""
        cdef Item* item = &self.items[self.first]
        message = <object>item.message
        Py_DECREF(message)
        self.size -= item.size
        self.count -= 1
        self.first = (self.first + 1) & (self.room - 1)
        if not self.count and self.room > FEW:
            PyMem_Free(self.items)
            self.items = NULL
            self.room = self.first = 0
        return message

    cdef int forget(self) except -1:
        """Drop the messages."""
        while self.count:
            self.take()
        return 0

    cdef InboxWaiter wait(self, WakeQueue wake_queue):
        """Return an awaitable that is done when the task should look again."""
        cdef InboxWaiter turn = InboxWaiter.__new__(InboxWaiter)
        turn.wake_queue = wake_queue
        turn.inbox = self
        self.waiters.append(turn)
        return turn

    cdef int wake(self) except -1:
        """Wake the task that has waited longest."""
        cdef InboxWaiter turn
        if self.waiters:
            turn = self.waiters[0]
            turn.wake()
            self.waiters.pop(0)     # only now: a task that could not be woken is woken by `end`
            turn.is_woken = True
            self.woken_count += 1
        return 0


@cython.freelist(64)
cdef class InboxWaiter(Waiter):
    """What a task awaits until it is its turn to look into an inbox."""

    def __next__(self):
        # As in every Waiter, and in the end the task goes on to look.
        if not self.is_done:
            self.is_blocking = True
            return self
        self.has_looked()
        if self.is_cancelled:
            self.result()
        raise StopIteration

    cdef int has_looked(self) noexcept:
        """Note that the woken task goes on to look, or never will."""
        if self.is_woken:
            self.is_woken = False
            self.inbox.woken_count -= 1
        return 0

    def cancel(self, msg=None):
        """Stop waiting; return whether it was waiting."""
        is_waiting = Waiter.cancel(self, msg)
        if is_waiting:
            self.inbox.waiters.remove(self)
        return is_waiting

    cdef int ended_early(self) except -1:
        self.has_looked()
        if self.is_done:
            if not self.is_cancelled and self.inbox.count:
                self.inbox.wake()       # this task was woken for a message: wake the next one
        else:
            self.inbox.waiters.remove(self)
            self.is_done = True
        return 0

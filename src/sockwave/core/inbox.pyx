"""Messages that wait for whoever asks for them."""

from collections import deque


cdef class Inbox:
    """A queue of messages, and of tasks that wait for one.
    Its limits are the connection's affair."""

    def __cinit__(self):
        self.messages = deque()
        self.waiters = deque()

    cdef bint is_awaited(self) except -1:
        """Tell whether somebody waits right now."""
        return len(self.waiters) > 0

    cdef bint is_due(self) except -1:
        """Tell whether the consumer will look here again: it waits, or something is left for it."""
        return len(self.waiters) > 0 or len(self.messages) > 0

    cdef Py_ssize_t count(self) except -1:
        return len(self.messages)

    cdef int put(self, object message, size_t size) except -1:
        self.messages.append((message, size))
        self.size += size
        return self.wake()

    cdef int end(self) except -1:
        """Let everybody know that nothing more will come."""
        while self.waiters:
            self.wake()
        return 0

    cdef object take(self):
        """Take the oldest message; the caller knows that there is one."""
        cdef size_t size
        message, size = self.messages.popleft()
        self.size -= size
        return message

    cdef int forget(self) except -1:
        """Drop the messages."""
        self.messages.clear()
        self.size = 0
        return 0

    cdef object wait(self, object loop):
        """Give a future that is done when it is worth looking again."""
        waiter = loop.create_future()
        self.waiters.append(waiter)
        return waiter

    cdef int wake(self) except -1:
        # Whoever was cancelled while it waited has left a dead future behind.
        while self.waiters:
            waiter = self.waiters[0]
            is_dead = waiter.done()
            if not is_dead:
                waiter.set_result(None)
            self.waiters.popleft()      # now: who could not be woken is woken by the end
            if not is_dead:
                break
        return 0

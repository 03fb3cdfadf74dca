"""Messages that wait for `async for` and `receive`."""

cdef class Inbox:
    cdef object messages        # a deque of (message, size)
    cdef object waiters         # a deque of the futures of those who wait
    cdef size_t size   # of what waits, in bytes
    cdef bint is_wanted         # somebody of the application's own has asked, and may again
    cdef public object consumer         # the task that asked last

    cdef bint is_awaited(self) except -1
    cdef bint is_due(self) except -1
    cdef int put(self, object message, size_t size) except -1
    cdef int end(self) except -1
    cdef Py_ssize_t count(self) except -1
    cdef object take(self)
    cdef int forget(self) except -1
    cdef object wait(self, object loop)
    cdef int wake(self) except -1

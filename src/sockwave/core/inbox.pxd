"""Messages that wait for whoever asks for them."""

from sockwave.core.streams cimport Intake

cdef class Inbox:
    """Messages that wait for `async for` and `receive`, and those that `stream` asks for."""
    cdef object messages        # a deque of (message, size)
    cdef object waiters         # a deque of the futures of those who wait
    cdef size_t size   # of what waits, in bytes
    cdef bint is_wanted         # somebody of the application's own has asked, and may again
    cdef public object consumer         # the task that asked last
    cdef Intake intake          # of those taken as streams; None until there has been one

    cdef bint is_awaited(self) except -1
    cdef bint is_due(self) except -1
    cdef int put(self, object message, size_t size) except -1
    cdef int end(self) except -1
    cdef Py_ssize_t count(self) except -1
    cdef object take(self)
    cdef int forget(self) except -1
    cdef object wait(self, object loop)
    cdef int wake(self) except -1

"""Messages that wait for whoever asks for them."""

from cpython.object cimport PyObject
from libc.stdint cimport uint32_t

from sockwave.core.flag cimport flag
from sockwave.core.session.streams cimport Intake
from sockwave.core.events.waiter cimport WakeQueue, Waiter

cdef struct Item:
    PyObject* message
    size_t size

cdef class InboxWaiter

cdef class Inbox:
    """Messages that wait for `async for` and `receive`, and those that `stream` asks for."""
    cdef Item* items            # a ring of those that wait
    cdef Py_ssize_t room        # how many fit into it: a power of two, or 0
    cdef Py_ssize_t first       # where the oldest is
    cdef Py_ssize_t count
    cdef size_t size   # of what waits, in bytes
    cdef list waiters           # Turns of those who wait, in their order
    cdef Py_ssize_t woken_count         # of those who have been woken, and have not looked yet
    cdef uint32_t due           # the tick until which somebody has to listen; 0: no matter
    cdef flag is_wanted         # somebody of the application's own has asked, and may again
    cdef flag is_told           # who asked has heard that nothing more comes
    cdef public object consumer         # the task that asked last; None: it has ended
    cdef Intake intake          # of those taken as streams; None until there has been one

    cdef bint is_awaited(self) noexcept
    cdef bint has_receiver(self) noexcept
    cdef bint is_listened_to(self) noexcept
    cdef int put(self, object message, size_t size) except -1
    cdef int grow(self) except -1
    cdef int end(self) except -1
    cdef object take(self)
    cdef int forget(self) except -1
    cdef InboxWaiter wait(self, WakeQueue wake_queue)
    cdef int wake(self) except -1

cdef class InboxWaiter(Waiter):
    """One's turn to look into an inbox."""
    cdef Inbox inbox
    cdef bint is_woken          # and has not looked yet

    cdef int has_looked(self) noexcept

"""Messages that wait until a task of the application asks for them."""

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
    """Messages that wait for `async for` and `receive`, and messages that `stream` asks for."""
    cdef Item* items            # a ring of the messages that wait
    cdef Py_ssize_t room        # how many fit into it: a power of two, or 0
    cdef Py_ssize_t first       # the index of the oldest message
    cdef Py_ssize_t count
    cdef size_t size   # of the messages that wait, in bytes
    cdef list waiters           # an InboxWaiter for each task that waits, the longest wait first
    cdef Py_ssize_t woken_count         # tasks that have been woken, and have not looked yet
    cdef uint32_t due           # the tick at which `listen_timeout` ends; 0: it does not run
    cdef flag is_wanted         # a task of the application's own has asked, and may ask again
    cdef flag is_told           # the task that asked has been told that no more messages come
    cdef public object consumer         # the task that asked last; None: it has ended
    # Takes each message of a client that speaks `sockwave.1`; None: it is the application's.
    cdef public object commands
    cdef Intake intake          # of messages taken as streams; None until there has been one

    cdef bint is_awaited(self) noexcept
    cdef bint has_receiver(self) noexcept
    cdef bint is_listened_to(self) noexcept
    cdef int put(self, object message, size_t size) except -1
    cdef int replace(self, Py_ssize_t at, object message, size_t size) except -1
    cdef int grow(self) except -1
    cdef int end(self) except -1
    cdef object take(self)
    cdef int forget(self) except -1
    cdef InboxWaiter wait(self, WakeQueue wake_queue)
    cdef int wake(self) except -1

cdef class InboxWaiter(Waiter):
    """What a task awaits until it is its turn to look into an inbox."""
    cdef Inbox inbox
    cdef bint is_woken          # the task has been woken, and has not looked yet

    cdef int has_looked(self) noexcept

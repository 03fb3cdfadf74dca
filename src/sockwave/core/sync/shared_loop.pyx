"""A loop that several threads drive: its own, and each one that is in a call of a connection.

The core knows one thread. Here it is whichever holds the lock: the loop's own thread takes it while
it works and drops it while it waits, and another one takes it for each call.
"""

import sys
from time import monotonic

from libc.math cimport INFINITY

from sockwave.errors import SockwaveError

cdef extern from "Python.h":
    ctypedef enum lock_status "PyLockStatus":
        pass
    thread_lock PyThread_allocate_lock()
    void PyThread_free_lock(thread_lock lock)
    bint PyThread_acquire_lock(thread_lock lock, int waits) nogil
    void PyThread_release_lock(thread_lock lock)
    lock_status PyThread_acquire_lock_timed(
        thread_lock lock, long long microseconds, int is_interruptible
    ) nogil
    int PyErr_CheckSignals() except -1

cdef double longest_wait_s = 1.0

cdef enum:
    # How long the lock is waited for when the interpreter ends.
    LAST_TRY_US = 100_000

# Kept here, as the end of the interpreter takes the names of modules away.
cdef object is_finalizing = sys.is_finalizing

# The error for a call that would wait when the interpreter ends, and with it the threads that such
# a call waits for.
FINALIZING = "the interpreter ends, and no call can wait any more: expected one before its end"

# The error for a call in a forked child.
FORKED = (
    "this process was forked, and the connection goes on in the parent alone: expected one that "
    "was opened here"
)


cdef double time_left(double end) except -2:
    """Return how many seconds there are until a time; -1: there is no end."""
    return -1 if end == INFINITY else max(end - <double>monotonic(), 0)


cdef int check_living() except -1:
    """Raise SockwaveError when the interpreter ends: what is waited for would never come."""
    if is_finalizing():
        raise SockwaveError(FINALIZING)
    return 0


cdef class SharedLoop:
    """The lock of a loop, which a thread holds while it uses the loop, its engines and what these
    carry.

    `loop` is one of asyncio's that runs in a thread of its own, with a selector that drops the lock
    while it waits; None: the object is its own loop.
    """

    def __cinit__(self, loop=None):
        self.lock = PyThread_allocate_lock()
        if self.lock is NULL:
            raise MemoryError
        self.loop = self if loop is None else loop
        self.reports = []

    def __dealloc__(self):
        if self.lock is not NULL:
            PyThread_free_lock(self.lock)

    cdef int enter(self) except -1:
        """Take the lock; a thread that holds it may take it again."""
        cdef unsigned long caller = current_thread_id()
        if self.holder == caller:
            self.depth += 1
            return 0
        if self.is_abandoned:
            raise SockwaveError(FORKED)
        if not PyThread_acquire_lock(self.lock, 0):
            self.await_lock()
        self.holder = caller
        self.depth = 1
        return 0

    cdef int await_lock(self) except -1:
        """Take the lock when the thread that holds it drops it."""
        if is_finalizing():
            # No other thread runs any more. One that the end of the interpreter has stopped amid
            # its work never drops the lock: this one takes its place.
            with nogil:
                PyThread_acquire_lock_timed(self.lock, LAST_TRY_US, 0)
        else:
            with nogil:
                PyThread_acquire_lock(self.lock, 1)
        return 0

    cdef bint may_wait(self) noexcept:
        """Tell whether a thread that has just taken the lock may wait: it is in no function that
        the core has called, nor in a handler of logs in the loop's own thread."""
        return self.depth == 1 and self.holder != self.own_id

    cdef bint has_ended(self) except -1:
        """Tell whether the loop's own thread is none of this process, or will never run again."""
        return self.is_abandoned or is_finalizing()

    def check_may_wait(self, str call):
        """Raise SockwaveError where the calling thread must not wait: it holds the lock, or is the
        loop's own, and would wait for itself."""
        if self.is_inside() or current_thread_id() == self.own_id:
            raise SockwaveError(
                f"{call}: expected a thread that may wait, given one in a function that a "
                "connection calls itself"
            )

    cdef int leave(self) except -1:
        """Drop the lock, when what this thread has scheduled is done, or will be."""
        if self.depth == 1:
            try:
                self.settle()
            finally:
                self.drop()
            if self.reports:
                self.make_reports()
        else:
            self.depth -= 1
        return 0

    cdef int drop(self) noexcept:
        self.depth = 0
        self.holder = 0
        PyThread_release_lock(self.lock)
        return 0

    def report_later(self, function, *arguments):
        """Have a function log something once the lock is free: handlers of logs are code of the
        application, which may send by a connection, or wait for a thread that does. The caller
        holds the lock."""
        self.reports.append((function, arguments))

    cdef int make_reports(self) except -1:
        """Log what there is to log; the caller does not hold the lock."""
        cdef list reports = self.reports
        self.reports = []
        for function, arguments in reports:
            function(*arguments)
        return 0

    def end_later(self, session):
        """Reset a connection that nothing refers to any more. Any thread may call, at any moment,
        whether it holds the lock or not."""
        self.loop.call_soon_threadsafe(session.abort)

    cdef bint is_inside(self) noexcept:
        return self.holder == current_thread_id()

    cdef int settle(self) except -1:
        """Wake the loop's own thread: a loop of asyncio's does what is scheduled there alone."""
        if not self.is_abandoned and self.holder != self.own_id:
            self.loop.call_soon_threadsafe(nothing)
        return 0

    cdef Reading make_reading(self, Transport transport):
        return Reading.__new__(Reading, self)

    def __enter__(self):
        self.enter()
        return self

    def __exit__(self, *_):
        self.leave()

    def wait_for(self, future, timeout):
        """Wait until a future of the loop is done, for at most `timeout` seconds (None: without
        limit). Raises TimeoutError."""
        cdef Reading waiter = Reading.__new__(Reading, self)
        cdef double end = INFINITY if timeout is None else <double>monotonic() + <double>timeout
        self.enter()
        try:
            future.add_done_callback(lambda _: waiter.ring())
            while not future.done():
                waiter.wait(time_left(end))
                if time_left(end) == 0 and not future.done():
                    raise TimeoutError("expected to be open in time (open_timeout)")
        finally:
            self.leave()

    def own(self):
        """Note that the calling thread is the loop's own."""
        self.own_id = current_thread_id()

    def abandon(self):
        """Refuse all calls from now on: this is a forked child, and the loop runs in its parent."""
        self.is_abandoned = True


def nothing():
    """Do nothing: to be called wakes a loop."""


cdef class Reading:
    """How the one thread that receives from a transport waits for its bytes: until the loop's own
    thread, which reads them, tells it."""

    def __cinit__(self, SharedLoop shared, *_):
        self.shared = shared
        self.alarm = PyThread_allocate_lock()
        if self.alarm is NULL:
            raise MemoryError
        PyThread_acquire_lock(self.alarm, 0)

    def __dealloc__(self):
        if self.alarm is not NULL:
            PyThread_free_lock(self.alarm)

    cdef int wait(self, double seconds) except -1:
        """Drop the lock and wait until something has happened, a signal has come or the time is
        over. May return for nothing."""
        cdef double left = longest_wait_s if seconds < 0 else min(seconds, longest_wait_s)
        cdef long long microseconds = <long long>(left * 1e6) + 1
        check_living()
        self.is_waiting = True
        try:
            self.shared.leave()
            PyErr_CheckSignals()
            with nogil:
                PyThread_acquire_lock_timed(self.alarm, microseconds, 1)
            # While the lock is free: the handlers may use connections, and wait, as they like.
            PyErr_CheckSignals()
        finally:
            self.shared.enter()
            self.is_waiting = False
        return 0

    cdef int ring(self) except -1:
        if self.is_waiting:
            self.is_waiting = False
            PyThread_release_lock(self.alarm)
        return 0

    cdef int give_back(self) except -1:
        return 0

    cdef int end(self) noexcept:
        return 0

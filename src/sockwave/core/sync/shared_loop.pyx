"""A loop that several threads drive: its own, and each one that is in a call of a connection.

The core knows one thread. Here it is whichever holds the lock: the loop's own thread takes it while
it works and drops it while it waits, and another one takes it for each call.
"""

import sys
from _thread import start_new_thread
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

    cpdef int check_may_wait(self, str call) except -1:
        """Raise SockwaveError where the calling thread must not wait: it holds the lock, or is the
        loop's own, and would wait for itself."""
        if self.is_inside() or current_thread_id() == self.own_id:
            raise SockwaveError(
                f"{call}: expected a thread that may wait, given one in a function that a "
                "connection calls itself"
            )
        return 0

    cdef int leave(self) except -1:
        """Drop the lock, when what this thread has scheduled is done, or will be."""
        cdef bint is_own
        if self.depth == 1:
            is_own = self.holder == self.own_id
            try:
                self.settle()
            finally:
                self.drop()
            if self.reports:
                self.begin_reports(is_own)
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

    cdef int begin_reports(self, bint is_own) except -1:
        """Log what there is to log. The loop's own thread has another one do it where it makes the
        calls of all others: a handler may wait for such a call."""
        if is_own and self.loop is not self:
            start_new_thread(self._make_reports, ())
            return 0
        return self.make_reports()

    def _make_reports(self):
        while self.reports:
            self.make_reports()

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
        return 0

    # ---- calls in the loop's own thread

    cdef bint hands_over(self) except -1:
        """Tell whether the calling thread has to have its calls made by the loop's own.

        What uses a loop of asyncio's is Python, and in the main thread the handler of a signal may
        raise anywhere in that: between two bytes of a message, or two steps of a transport.
        """
        return self.loop is not self and self.is_elsewhere()

    cdef bint is_elsewhere(self) except -1:
        """Tell whether the loop's own thread runs, and the caller is another one, without the
        lock."""
        return not self.is_inside() and (
            current_thread_id() != self.own_id and not self.has_ended()
        )

    cdef bint is_lent(self) except -1:
        """Tell whether the caller, who holds the lock, is another thread than asyncio's."""
        return self.loop is not self and self.holder != self.own_id and not self.has_ended()

    def call(self, function, *arguments):
        """Call a function under the lock: in the calling thread, or in the loop's own."""
        if self.hands_over():
            return self.call_there(function, arguments)
        self.enter()
        try:
            return function(*arguments)
        finally:
            self.leave()

    def call_own(self, function, *arguments):
        """Call a function under the lock, and in the loop's own thread, as long as that runs: what
        is Python is interrupted by no handler of a signal there."""
        if self.is_elsewhere():
            return self.call_there(function, arguments)
        return self.call(function, *arguments)

    cdef object call_there(self, object function, tuple arguments):
        """Have the loop's own thread call a function; wait for it, and return what it returns.

        The handler of a signal may raise out of this. The call has been made as a whole by then, or
        never is.
        """
        cdef Job job = Job.__new__(Job, self)
        job.function = function
        job.arguments = arguments
        try:
            self.loop.call_soon_threadsafe(job._run)
            while not job.is_done:
                job.done.wait_unlocked()
        except BaseException:
            job.forget()
            raise
        if job.error is not None:
            raise job.error
        return job.result

    cdef Reading make_reading(self, Transport transport):
        return Reading.__new__(Reading, self)

    def __enter__(self):
        self.enter()
        return self

    def __exit__(self, *_):
        try:
            # A loop of asyncio's does what is scheduled in its own thread alone.
            if self.loop is not self and not self.is_abandoned and self.holder != self.own_id:
                self.loop.call_soon_threadsafe(nothing)
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


cdef class Pause:
    """How a thread waits that opens connections, until another one ends that."""

    def __cinit__(self, SharedLoop shared):
        self.reading = Reading.__new__(Reading, shared)

    def wait(self, double seconds, future=None):
        """Wait for so many seconds, or until it is ended, or a future of the loop is done."""
        cdef double end = <double>monotonic() + seconds
        self.reading.shared.enter()
        try:
            if future is not None:
                future.add_done_callback(self._ring)
            while not self.has_ended and time_left(end) != 0:
                if future is not None and future.done():
                    break
                self.reading.wait(time_left(end))
            if future is not None:
                future.remove_done_callback(self._ring)
        finally:
            self.reading.shared.leave()

    def _ring(self, _):
        self.reading.ring()

    def end(self):
        """End it, from any thread or the handler of a signal."""
        self.reading.shared.enter()
        try:
            self.has_ended = True
            self.reading.ring()
        finally:
            self.reading.shared.leave()


cdef class Job:
    """A call that the loop's own thread makes for another one."""

    def __cinit__(self, SharedLoop shared):
        self.done = Reading.__new__(Reading, shared)
        self.done.is_waiting = True

    def _run(self):
        """Make the call, in the loop's own thread, unless it is not wanted any more."""
        function = self.function
        if function is None:
            return
        self.function = None
        try:
            self.result = function(*self.arguments)
        except BaseException as error:
            self.error = error
        self.is_done = True
        self.done.ring()

    cdef int forget(self) except -1:
        """Have the call not made, or wait for its end if it has begun: it waits for nothing."""
        if self.function is not None:
            self.function = None
            return 0
        while not self.is_done and not is_finalizing():
            self.done.wait_blindly()
        return 0


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

    cdef int wait_blindly(self) except -1:
        """Wait without the lock, whatever signals come."""
        cdef long long microseconds = <long long>(longest_wait_s * 1e6)
        with nogil:
            PyThread_acquire_lock_timed(self.alarm, microseconds, 0)
        return 0

    cdef int wait_unlocked(self) except -1:
        """Wait as `wait` does, without the lock, until it is rung. May return for nothing."""
        cdef long long microseconds = <long long>(longest_wait_s * 1e6)
        check_living()
        PyErr_CheckSignals()
        with nogil:
            PyThread_acquire_lock_timed(self.alarm, microseconds, 1)
        PyErr_CheckSignals()
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

"""The loop of the poller thread: one epoll in which the engines' are nested (Linux)."""

import logging
import os
from asyncio import Future
from collections import deque
from functools import partial
from heapq import heapify, heappop, heappush
from time import monotonic

from libc.errno cimport errno
from libc.math cimport INFINITY

from sockwave.core.io.epoll.poller cimport Poller, milliseconds_of
from sockwave.core.io.epoll.socket cimport IS_TAKEN
from sockwave.core.io.epoll.system cimport (
    POLL_READ, close_descriptor, poller_add, poller_close, poller_create, poller_mark,
    poller_remove, poller_wait,
)
from sockwave.core.io.transport cimport Transport
from sockwave.core.sync.shared_loop cimport check_living, longest_wait_s

cdef extern from "bell.h" nogil:
    int bell_create()
    int bell_ring(int bell)
    int bell_clear(int bell)
    int bell_wait(int socket, int bell, int timeout_ms)

cdef extern from "Python.h":
    int PyErr_CheckSignals() except -1

# A socket that no call has read for so long is read by the poller thread, which answers pings.
cdef double LOOK_BACK_S = 0.1

cdef enum:
    RETRY_MS = 100              # the poller thread's wait after an error of its own
    # How often a thread that leaves does what has been scheduled meanwhile: to end a turn, to begin
    # the next one, and to end that. The poller thread does the rest.
    ROUND_COUNT = 3
    # So many timers that have been cancelled are not worth the work of removing them.
    FEW_TIMERS = 64

logger = logging.getLogger("sockwave")


cdef class Handle:
    """A call that is scheduled."""

    def __cinit__(self, callback, tuple arguments):
        self.callback = callback
        self.arguments = arguments

    def cancel(self):
        """Make the call no more."""
        self.callback = self.arguments = None


cdef class PollerLoop(SharedLoop):
    """The loop of the poller thread, of which engines and futures use what they need."""

    def __cinit__(self, *_):
        self.bell = -1
        self.poller = poller_create()
        if self.poller >= 0:
            self.bell = bell_create()
        if self.bell < 0 or poller_add(self.poller, self.bell, POLL_READ, self.bell) < 0:
            raise OSError(errno, os.strerror(errno))
        self.ready = deque()
        self.own_ready = deque()
        self.timers = []
        self.next_due = INFINITY
        self.readers = {}
        self.taken = []

    def __dealloc__(self):
        self.close_descriptors()

    cdef int close_descriptors(self) noexcept:
        if self.poller >= 0:
            poller_close(self.poller)
        if self.bell >= 0:
            close_descriptor(self.bell)
        self.poller = self.bell = -1
        return 0

    # ---- the poller thread

    def run(self):
        """Serve the engines for ever: what the poller thread does."""
        cdef int timeout_ms
        cdef int count = 0
        self.own()
        while True:
            self.enter()
            timeout_ms = RETRY_MS
            try:
                self.is_waiting = False
                self.serve_readers(count)
                self.run_timers()
                self.run_calls(self.own_ready)
                self.run_calls(self.ready)
                timeout_ms = self.find_wait()
            except BaseException as error:
                # Such as a SystemExit that the application has raised in its function: connections
                # of other threads have nothing to do with it, and this is their only thread.
                self.report(error)
            # Whoever takes the lock from here on sees that the bell has to be rung for what is due
            # earlier.
            self.is_waiting = True
            self.drop()
            self.report_all()
            with nogil:
                count = poller_wait(self.poller, self.batch, BATCH_COUNT, timeout_ms)

    cdef int find_wait(self) except -2:
        """Return how long to wait, in milliseconds."""
        cdef double now = monotonic()
        self.due = now if self.ready else self.next_due
        return milliseconds_of(max(self.due - now, 0))

    cdef void report(self, object error) noexcept:
        """Log an error that no caller sees."""
        self.report_later(partial(logger.error, "error in the thread that polls", exc_info=error))

    cdef int report_all(self) except -1:
        """Log what there is to log. What a handler of the application's raises ends no thread."""
        try:
            while self.reports:
                self.make_reports()
        except BaseException:
            pass
        return 0

    cdef int serve_readers(self, int count) except -1:
        """Call the readers of the descriptors that have events."""
        cdef int at
        for at in range(count):
            fd = <int>poller_mark(&self.batch[at])
            if fd == self.bell:
                bell_clear(self.bell)
            elif fd in self.readers:        # else it was removed earlier in this batch
                self.call(self.readers[fd], ())
        return 0

    cdef int run_timers(self) except -1:
        """Make the calls whose time has come."""
        cdef Handle handle
        cdef double now = monotonic()
        while self.next_due <= now:
            handle = heappop(self.timers)[2]
            self.note_first()
            self.ready.append(handle)
        return 0

    cdef int note_first(self) except -1:
        """Note when the first of the timers is due."""
        self.next_due = self.timers[0][0] if self.timers else INFINITY
        return 0

    cdef int run_calls(self, object handles) except -1:
        """Make the calls that are due by now; those that they schedule follow in the next turn."""
        cdef Handle handle
        cdef Py_ssize_t count = len(handles)
        while count:
            count -= 1
            handle = handles.popleft()
            if handle.callback is not None:
                self.call(handle.callback, handle.arguments)
        return 0

    cdef int call(self, object callback, tuple arguments) except -1:
        try:
            callback(*arguments)
        except Exception as error:
            self.report_later(partial(logger.error, "error in %r", callback, exc_info=error))
        return 0

    # ---- threads that are in a call

    cdef int settle(self) except -1:
        """Do what the calling thread has scheduled, and wake the poller thread where that is to do
        the rest, or has to wait for a shorter time."""
        cdef int count = 0
        cdef Py_ssize_t left = 0 if self.is_abandoned else len(self.ready)
        while left and count < ROUND_COUNT:
            self.run_calls(self.ready)
            count += 1
            left = len(self.ready)
        if self.is_waiting and (left or self.next_due < self.due):
            self.is_waiting = False
            bell_ring(self.bell)
        return 0

    cdef Reading make_reading(self, Transport transport):
        cdef SocketReading reading = SocketReading.__new__(SocketReading, self)
        reading.peer = transport
        return reading

    cdef int note_taken(self, SocketReading reading) except -1:
        """Look, every now and then, whether the reading's thread still reads its socket."""
        if not reading.is_noted:
            reading.is_noted = True
            self.taken.append(reading)
        if not self.looks_back:
            self.looks_back = True
            self.call_later(LOOK_BACK_S, self._look_back)
        return 0

    def _look_back(self):
        """Take back the sockets that their threads have not read since the last look."""
        cdef SocketReading reading
        cdef list earlier = self.taken
        self.taken = []
        self.looks_back = False
        for reading in earlier:
            reading.is_noted = False
            if reading.is_waiting:
                continue            # it is noted again when it waits no more
            if reading.was_used:
                reading.was_used = False
                self.note_taken(reading)
            else:
                reading.give_back()

    def abandon(self):
        """In a forked child: close what belongs to the parent, and refuse all calls."""
        super().abandon()
        self.close_descriptors()
        self.ready.clear()
        self.own_ready.clear()
        self.timers.clear()
        self.next_due = INFINITY
        self.readers.clear()
        self.taken.clear()

    # ---- what engines and futures use of a loop

    def time(self):
        """Return the time in seconds, on the clock that does not jump."""
        return monotonic()

    def get_debug(self):
        return False

    def is_running(self):
        return True

    def is_closed(self):
        return False

    def call_soon(self, callback, *arguments, context=None):
        """Make a call in the next turn. The caller holds the lock."""
        cdef Handle handle
        if context is None:
            handle = Handle.__new__(Handle, callback, arguments)
        else:
            handle = Handle.__new__(Handle, context.run, (callback, *arguments))
        self.ready.append(handle)
        return handle

    def call_soon_threadsafe(self, callback, *arguments):
        """Have the poller thread make a call. Any thread may ask, with the lock or without it."""
        self.own_ready.append(Handle.__new__(Handle, callback, arguments))
        bell_ring(self.bell)

    def end_later(self, session):
        """As in every such loop. Neither step needs the lock."""
        self.ready.append(Handle.__new__(Handle, session.abort, ()))
        bell_ring(self.bell)

    def call_later(self, double seconds, callback, *arguments):
        """Make a call in so many seconds."""
        return self.call_at(monotonic() + seconds, callback, *arguments)

    def call_at(self, double when, callback, *arguments):
        """Make a call at a time of the loop's clock."""
        cdef Handle handle = Handle.__new__(Handle, callback, arguments)
        if self.timer_count % FEW_TIMERS == 0:
            self.timers = [one for one in self.timers if (<Handle>one[2]).callback is not None]
            heapify(self.timers)
        self.timer_count += 1
        heappush(self.timers, (when, self.timer_count, handle))
        self.note_first()
        return handle

    def add_reader(self, int fd, callback):
        """Call `callback` whenever a descriptor can be read."""
        self.readers[fd] = callback
        if poller_add(self.poller, fd, POLL_READ, fd) < 0:
            raise OSError(errno, os.strerror(errno))

    def remove_reader(self, int fd):
        """Watch a descriptor no more."""
        if self.readers.pop(fd, None) is not None:
            poller_remove(self.poller, fd)

    def create_future(self):
        """Make a future."""
        return Future(loop=self)

    def call_exception_handler(self, context):
        """Report an error that no caller sees."""
        self.report_later(
            partial(logger.error, context["message"], exc_info=context.get("exception"))
        )


cdef class SocketReading(Reading):
    """How a thread waits for the bytes of a socket, and reads them itself."""

    def __cinit__(self, *_):
        self.bell = -1

    def __dealloc__(self):
        self.end()

    cdef int wait(self, double seconds) except -1:
        cdef EpollSocket peer = self.peer
        cdef bint can_read = peer.fd >= 0 and peer.interest & POLL_READ
        cdef double left = longest_wait_s if seconds < 0 else min(seconds, longest_wait_s)
        cdef int timeout_ms = milliseconds_of(left)
        cdef int fd = peer.fd if can_read else -1
        cdef int bell, found
        check_living()
        self.open_bell()
        bell = self.bell
        if can_read:
            self.take()
        else:
            self.give_back()        # the loop reads on, once it may
        self.is_waiting = True
        try:
            self.shared.leave()
            PyErr_CheckSignals()
            with nogil:
                found = bell_wait(fd, bell, timeout_ms)
            # While the lock is free: the handlers may use connections, and wait, as they like.
            PyErr_CheckSignals()
        finally:
            self.shared.enter()
            self.is_waiting = False
            if self.is_taken:
                (<PollerLoop>self.shared).note_taken(self)
        if found > 0 and peer.fd == fd and peer.interest & POLL_READ:
            (<Poller>peer.engine).serve_one(<void*>peer, POLL_READ)
        return 0

    cdef int open_bell(self) except -1:
        if self.bell < 0:
            self.bell = bell_create()
            if self.bell < 0:
                raise OSError(errno, os.strerror(errno))
        return 0

    cdef int take(self) except -1:
        """Read the socket in this thread from now on."""
        self.was_used = True
        if not self.is_taken:
            self.is_taken = True
            self.peer.set_interest(self.peer.interest | IS_TAKEN)
        return 0

    cdef int give_back(self) except -1:
        if self.is_taken:
            self.is_taken = False
            self.peer.set_interest(self.peer.interest & ~IS_TAKEN)
        return 0

    cdef int ring(self) except -1:
        if self.is_waiting:
            self.is_waiting = False
            bell_ring(self.bell)
        return 0

    cdef int end(self) noexcept:
        if self.bell >= 0 and not self.is_waiting:
            close_descriptor(self.bell)
            self.bell = -1
        return 0

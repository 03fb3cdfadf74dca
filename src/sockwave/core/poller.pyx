"""The wait of the epoll engine, and what becomes of the events that it brings."""

import os

from libc.errno cimport errno
from libc.math cimport INFINITY, ceil

from sockwave.core.engine cimport TURN_MESSAGE_COUNT
from sockwave.core.system cimport (
    POLL_READ, poller_add, poller_close, poller_create, poller_forget, poller_wait, poller_what,
    poller_who,
)
from sockwave.core.timers cimport tick_s

cdef enum:
    LONGEST_WAIT_S = 86400      # in milliseconds it has to fit an int


cdef class Poller(Engine):
    """Waits in an epoll of its own, behind one descriptor that any loop can wait for."""

    def __cinit__(self):
        self.poller = poller_create()
        if self.poller < 0:
            raise OSError(errno, os.strerror(errno))

    def __dealloc__(self):
        if self.poller >= 0:
            poller_close(self.poller)

    def attach(self):
        """Let the loop wait for this engine's one descriptor."""
        self.loop.add_reader(self.poller, self.poll)

    def nest(self, int fd):
        """Become what the loop waits in: `wait` says when `fd`, the epoll of the loop's own
        descriptors, has something."""
        self.owns_loop = True
        if poller_add(self.poller, fd, POLL_READ, NULL) < 0:
            raise OSError(errno, os.strerror(errno))

    def stop(self):
        """Let go of the loop; the sockets have been closed before."""
        super().stop()
        if not self.owns_loop:
            self.loop.remove_reader(self.poller)
        self.owns_loop = False
        # Not left to the collector of garbage, which a server that has been closed is: it is one of
        # the process's descriptors.
        poller_close(self.poller)
        self.poller = -1

    def _promise_end(self):
        if not self.owns_loop:      # else the next `wait` begins with it
            self.loop.call_soon(self._end_turn)

    def poll(self):
        """Serve what is ready, without waiting."""
        self.serve(0)
        if self.position < self.batch_size:
            self.loop.call_soon(self.poll)

    def wait(self, timeout):
        """Wait at most `timeout` seconds (None: as long as it takes) and serve what is ready; true
        when the loop's own descriptors want a look."""
        cdef int timeout_ms = -1
        cdef double seconds = INFINITY if timeout is None else timeout
        # The loop knows of our next two ticks, unless it has lost both, for want of memory.
        cdef bint has_lost_ticks = self.carrier_count and seconds > 2 * tick_s
        if has_lost_ticks:
            seconds = tick_s
        self.cork.has_called_out = False
        self.end_turn()
        # What was called may have scheduled something,
        # which the loop did not know of when it chose the timeout.
        if (
            self.cork.has_called_out or self.next_turn is not None
            or self.position < self.batch_size
        ):
            timeout_ms = 0
        elif seconds != INFINITY:
            timeout_ms = <int>ceil(min(max(seconds, 0), LONGEST_WAIT_S) * 1000)
        self.serve(timeout_ms)
        if has_lost_ticks and self.carrier_count:
            self.promise_ticks(self.loop.time())
        return self.is_nested_ready

    cdef int serve(self, int timeout_ms) except -1:
        """Serve a batch of events, or what the last wake-up has left of one."""
        cdef poller_event* event
        cdef int count
        self.is_nested_ready = False
        if self.position == self.batch_size:
            if timeout_ms == 0:
                count = poller_wait(self.poller, self.batch, BATCH_COUNT, 0)
            else:
                with nogil:
                    count = poller_wait(self.poller, self.batch, BATCH_COUNT, timeout_ms)
            self.position = 0
            self.batch_size = max(count, 0)     # EINTR: the loop sees to the signal
        self.budget = TURN_MESSAGE_COUNT
        self.cork.promised = True
        try:
            while self.position < self.batch_size and self.budget > 0:
                event = &self.batch[self.position]
                self.position += 1
                self.serve_event(poller_who(event), poller_what(event))
        finally:
            self.end_turn()
        return 0

    cdef int serve_event(self, void* who, uint32_t events) except -1:
        return 0

    cdef int forget(self, void* who) noexcept:
        """Take what is about to go out of the batch: its events point to it."""
        cdef int i
        for i in range(self.position, self.batch_size):
            if poller_who(&self.batch[i]) == who:
                poller_forget(&self.batch[i])
        return 0

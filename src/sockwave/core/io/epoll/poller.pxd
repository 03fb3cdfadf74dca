"""Waits for the events of the epoll engine, and dispatches them."""

from libc.stdint cimport uint32_t, uint64_t

from sockwave.core.io.engine cimport Engine
from sockwave.core.io.epoll.system cimport places, poller_event

cdef enum:
    BATCH_COUNT = 256           # events taken from the kernel at once

cdef int milliseconds_of(double seconds) noexcept

cdef class Poller(Engine):
    """Waits in an epoll of its own, whose one descriptor any loop can watch."""
    cdef int poller
    cdef places places          # the registered transports and listeners, by descriptor
    cdef poller_event batch[BATCH_COUNT]
    cdef uint32_t held_count    # how many there are
    cdef void* sole             # the one that there is; NULL: there are others, or it is not known
    # The events that the last wait found, and how many of them have been handled.
    cdef int batch_size, position
    cdef bint is_nested_ready           # a descriptor of the surrounding loop is ready
    # What has the loop wait in `wait`; None: it watches our one descriptor.
    cdef object selector
    # Of a loop that does, one of asyncio's own, the calls that are due: no method tells them.
    cdef object ready

    # Implemented by the engine. `who` is the object in the place of the socket: see `enter`.
    cdef int serve_event(self, void* who, uint32_t events) except -1

    cdef int leave_loop(self) except -1
    cdef int serve(self, int timeout_ms) except -1
    cdef int take_events(self, int timeout_ms) except -1
    cdef bint wait_in_task(self, double seconds) except -1
    cdef int serve_turns(self, double seconds) except -1
    cdef bint has_no_work(self, object first) except -1
    cdef object first_timer(self)
    # Serve the only one without asking the kernel what has happened. False: that has to be asked.
    cdef bint serve_sole(self) except -1
    cdef void* find_sole(self) noexcept
    cdef int serve_one(self, void* who, uint32_t events) except -1
    cdef int enter(self, int fd, void* who) noexcept        # -1: no memory for it
    cdef int leave(self, int fd, void* who) noexcept
    cdef bint is_held(self, int fd) noexcept
    cdef int add(self, int fd, uint32_t interest) noexcept  # -1: see errno
    cdef int change(self, int fd, uint32_t interest) noexcept
    cdef int abandon_one(self, void* who) except -1

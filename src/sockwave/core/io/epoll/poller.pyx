"""Waits for the events of the epoll engine, and dispatches them."""

import os
from asyncio import current_task
from time import monotonic

from libc.errno cimport errno
from libc.math cimport INFINITY, ceil
from libc.stdint cimport uint32_t, uint64_t

from sockwave.core.io.turn_budget cimport has_messages, refill_messages
from sockwave.core.io.epoll.system cimport (
    POLL_READ, places_enter, places_find, places_free, places_leave, places_mark, poller_add,
    poller_change, poller_close, poller_create, poller_mark, poller_wait, poller_what,
)
from sockwave.core.io.timers cimport tick_s

cdef extern from "Python.h":
    int PyErr_CheckSignals() except -1

cdef enum:
    LONGEST_WAIT_S = 86400      # in milliseconds it has to fit an int
    LOOP_MARK = 0               # of the surrounding loop's descriptors; no place has this mark


cdef int milliseconds_of(double seconds) noexcept:
    """Return a time to wait as the system takes it; -1: without limit."""
    return -1 if seconds == INFINITY else <int>ceil(min(seconds, LONGEST_WAIT_S) * 1000)


cdef class Poller(Engine):
    """Waits in an epoll of its own, whose one descriptor any loop can watch."""

    def __cinit__(self):
        self.poller = poller_create()
        if self.poller < 0:
            raise OSError(errno, os.strerror(errno))

    def __dealloc__(self):
        if self.poller >= 0:
            poller_close(self.poller)
        places_free(&self.places)

    def attach(self):
        """Have the loop watch this engine's one descriptor."""
        self.loop.add_reader(self.poller, self.poll)

    def nest(self, selector):
        """Have the loop wait in this engine, by its selector, until `stop`: `wait` returns whether
        the epoll of the loop's own descriptors has events."""
        if poller_add(self.poller, selector.fileno(), POLL_READ, LOOP_MARK) < 0:
            raise OSError(errno, os.strerror(errno))
        self.ready = self.loop._ready
        self.selector = selector

    cdef int leave_loop(self) except -1:
        """Give the wait back to the loop's selector."""
        selector, self.selector = self.selector, None
        if selector is not None:
            selector.detach()
        return 0

    def stop(self):
        """Detach from the loop; the sockets have been closed before."""
        super().stop()
        if self.selector is None:
            self.loop.remove_reader(self.poller)
        self.leave_loop()
        # Now, and not when the closed server is garbage-collected: a process has only so many
        # descriptors.
        poller_close(self.poller)
        self.poller = -1

    def _promise_end(self):
        if self.selector is None:   # else the next `wait` begins with the turn's end
            self.loop.call_soon(self._end_turn)

    def poll(self):
        """Serve the sockets that are ready, without waiting."""
        if self.held_count == 1 and self.position == self.batch_size and self.serve_sole():
            return
        self.serve(0)
        if self.position < self.batch_size:
            self.loop.call_soon(self.poll)

    def wait(self, timeout):
        """Wait at most `timeout` seconds (None: without limit) and serve the sockets that are
        ready, again and again while that leaves the loop nothing to do. Return True if the loop's
        own descriptors have events."""
        cdef double seconds = INFINITY if timeout is None else timeout
        # Our next two ticks are scheduled, unless the loop has lost both for want of memory.
        cdef bint has_no_ticks = seconds > 2 * tick_s
        cdef bint has_lost_ticks = has_no_ticks and self.transport_count
        if has_lost_ticks:
            seconds = tick_s
        if self.wake_queue.queued_count and seconds > 0:
            # The application runs the loop within a turn, whose end would wake these tasks.
            self.wake_queue.is_scheduled = False
            self.wake_queue.schedule()
            seconds = 0
        if current_task(self.loop) is not None:
            return self.wait_in_task(seconds)
        self.cork.has_called_out = False
        self.end_turn()
        # The code that was called may have scheduled calls after the loop chose the timeout.
        if (
            self.cork.has_called_out or self.next_turn is not None
            or self.position < self.batch_size or seconds <= 0
        ):
            self.serve(0)
        elif has_no_ticks:
            self.serve(milliseconds_of(seconds))
        else:
            self.serve_turns(seconds)
        if has_lost_ticks and self.transport_count:
            self.promise_ticks(self.loop.time())
        return self.is_nested_ready

    cdef bint wait_in_task(self, double seconds) except -1:
        """Wait while the application lets the loop run from within a task, and have the loop call
        us to serve what is ready. Calls that it leads to need tasks of their own then, which this
        round must not enter."""
        if self.cork.promised:
            seconds = 0
            self.loop.call_soon(self._end_turn)
        if self.position == self.batch_size:
            self.take_events(milliseconds_of(seconds))
        if self.position < self.batch_size:
            self.loop.call_soon(self.poll)
        return True     # perhaps: it costs a look

    cdef int serve_turns(self, double seconds) except -1:
        """Serve what is ready, for at most so many seconds: one batch, and the next one in a turn
        of its own, without a round of the loop's, which takes longer than a message does. Our next
        tick ends it, in which the loop makes up for the calls that it has lost."""
        cdef double end = <double>monotonic() + seconds
        first = self.first_timer()
        while seconds > 0:
            self.serve(milliseconds_of(seconds))
            PyErr_CheckSignals()    # a batch may have run no Python code that would
            seconds = end - <double>monotonic() if self.has_no_work(first) else 0
        return 0

    cdef bint has_no_work(self, object first) except -1:
        """Tell whether the loop has nothing to do: nothing was scheduled, no timer before the
        `first` one, and nobody has stopped it. Nor is anything left of the batch, which was not
        cut short by a signal or the time."""
        return (
            self.batch_size > 0 and self.position == self.batch_size
            and self.selector is not None and not self.is_nested_ready and not self.cork.promised
            and self.next_turn is None and not self.ready and not self.loop._stopping
            and self.first_timer() is first
        )

    cdef object first_timer(self):
        """Return the loop's next timer; None: it has none."""
        scheduled = self.loop._scheduled
        return scheduled[0] if scheduled else None

    cdef int serve(self, int timeout_ms) except -1:
        """Serve a batch of events, or the rest of one that the last wake-up has left."""
        cdef uint64_t mark
        cdef uint32_t what
        cdef void* who
        cdef bint wakes
        self.is_nested_ready = False
        if self.position == self.batch_size:
            self.take_events(timeout_ms)
        wakes = begin_turn(self)
        try:
            while self.position < self.batch_size and has_messages(&self.budget):
                mark = poller_mark(&self.batch[self.position])
                what = poller_what(&self.batch[self.position])
                self.position += 1
                who = places_find(&self.places, mark)
                if who is not NULL:
                    self.serve_event(who, what)
                elif mark == LOOP_MARK:
                    self.is_nested_ready = True
                # else: the socket was closed earlier in this batch
        finally:
            finish_turn(self, wakes)
        return 0

    cdef int take_events(self, int timeout_ms) except -1:
        """Take a batch of events from the kernel."""
        cdef int count
        if timeout_ms == 0:
            count = poller_wait(self.poller, self.batch, BATCH_COUNT, 0)
        else:
            with nogil:
                count = poller_wait(self.poller, self.batch, BATCH_COUNT, timeout_ms)
        self.position = 0
        self.batch_size = max(count, 0)     # EINTR: the loop handles the signal
        return 0

    cdef bint serve_sole(self) except -1:
        return False

    cdef void* find_sole(self) noexcept:
        """Return the only one that is registered; the caller knows that there is no other."""
        cdef uint32_t fd
        for fd in range(self.places.count):
            if self.sole is NULL:
                self.sole = self.places.who[fd]
        return self.sole

    cdef int serve_one(self, void* who, uint32_t events) except -1:
        """Serve one socket that can be read, in a turn of its own."""
        cdef bint wakes = begin_turn(self)
        try:
            self.serve_event(who, events)
        finally:
            finish_turn(self, wakes)
        return 0

    cdef int serve_event(self, void* who, uint32_t events) except -1:
        return 0

    # ---- the registered transports and listeners

    cdef int enter(self, int fd, void* who) noexcept:
        """Put the object `who` in a descriptor's place; -1: there is no memory."""
        cdef bint is_free = not self.is_held(fd)
        if places_enter(&self.places, fd, who) < 0:
            return -1
        self.held_count += is_free
        self.sole = NULL
        return 0

    cdef int leave(self, int fd, void* who) noexcept:
        """Empty a descriptor's place: events of it that were already taken from the kernel are
        ignored from now on."""
        self.held_count -= self.is_held(fd) and self.places.who[fd] == who
        places_leave(&self.places, fd, who)
        self.sole = NULL
        return 0

    cdef bint is_held(self, int fd) noexcept:
        """Tell whether there is anything in a descriptor's place."""
        return 0 <= fd < <int>self.places.count and self.places.who[fd] is not NULL

    cdef int add(self, int fd, uint32_t interest) noexcept:
        """Have the kernel report the events of a descriptor that has a place."""
        return poller_add(self.poller, fd, interest, places_mark(&self.places, fd))

    cdef int change(self, int fd, uint32_t interest) noexcept:
        return poller_change(self.poller, fd, interest, places_mark(&self.places, fd))

    def abandon(self):
        """In a forked child: close all that belongs to the parent, by plain `close` alone."""
        cdef uint32_t fd
        poller_close(self.poller)
        self.poller = -1
        self.position = self.batch_size = 0
        self.leave_loop()
        for fd in range(self.places.count):
            if self.places.who[fd] is not NULL:
                self.abandon_one(self.places.who[fd])
                self.places.who[fd] = NULL
        super().abandon()

    cdef int abandon_one(self, void* who) except -1:
        """Close the descriptor of the object `who`, and do nothing else to it."""
        return 0


cdef bint begin_turn(Poller engine) except -1:
    """Begin a turn of the engine's. Returns whether its end wakes the tasks that are queued in it:
    a round of the loop, by which others are woken, takes longer than a message does."""
    refill_messages(&engine.budget)
    engine.cork.promised = True
    if engine.wake_queue.is_scheduled:
        return False                # the loop wakes some anyway, and these behind them
    engine.wake_queue.is_scheduled = True
    return True


cdef int finish_turn(Poller engine, bint wakes) except -1:
    """Wake the tasks that were queued in a turn, if its end is to, and end it."""
    if wakes:
        engine.wake_queue.is_scheduled = False      # those queued meanwhile are woken by the loop
        if engine.wake_queue.queued_count:
            return wake_tasks(engine)
    return engine.end_turn()


cdef int wake_tasks(Poller engine) except -1:
    """Wake the tasks that are queued, and end the turn: what they send leaves with it."""
    try:
        engine.wake_queue.wake_all()
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:
        # A task raises nothing; what other code has added as a callback may, as with a future.
        engine.loop.call_exception_handler(
            {"message": "error in a callback of what tasks wait for", "exception": error}
        )
    finally:
        engine.end_turn()
    return 0

"""A load on a server: connections that speak, hear, and check what they hear.

One thread, one epoll. Each connection writes a batch of messages at once, waits for all of their
replies, and writes the next; or one speaks and all hear it; or each speaks when its turn comes.
"""

import os

from cpython.exc cimport PyErr_CheckSignals
from libc.errno cimport EINTR, errno
from libc.stdint cimport uint32_t
from libc.stdlib cimport free, malloc
from posix.time cimport CLOCK_MONOTONIC, clock_gettime, itimerspec, timespec
from posix.unistd cimport close, read

from sockwave.core.io.engine cimport READ_SIZE
from sockwave.core.io.epoll.system cimport (
    POLL_READ, POLL_WRITE, poller_add, poller_change, poller_create, poller_mark, poller_wait,
    poller_what,
)

from sockwave.loadgen.client import LoadError

cdef extern from "<sys/timerfd.h>" nogil:
    int timerfd_create(int clock, int flags)
    int timerfd_settime(int fd, int flags, const itimerspec* new, itimerspec* old)
    int TFD_NONBLOCK, TFD_CLOEXEC

cdef enum:
    SECOND_NS = 1000000000
    MILLISECOND_NS = 1000000
    LONGEST_WAIT_NS = 100 * MILLISECOND_NS


cdef inline uint64_t now_ns() noexcept nogil:
    cdef timespec time
    clock_gettime(CLOCK_MONOTONIC, &time)
    return <uint64_t>time.tv_sec * SECOND_NS + time.tv_nsec


cdef class Load:
    """Connections to one target, in one thread and one epoll.

    Whatever goes wrong on one of them is a LoadError that names it, and ends the load.
    """

    def __cinit__(self, Target target, int connection_count, double patience_s=10):
        self.target = target
        self.talkers = [None] * connection_count
        self.patience_s = patience_s
        self.latencies = Latencies()
        self.timer = -1
        self.poller = poller_create()
        self.place = <uint8_t*>malloc(READ_SIZE)
        if self.poller < 0 or self.place is NULL:
            raise MemoryError

    def __dealloc__(self):
        free(self.place)
        if self.timer >= 0:
            close(self.timer)
        if self.poller >= 0:
            close(self.poller)

    @property
    def agreement(self):
        """What the server has answered to the offer of an extension, to every connection alike."""
        found = {(<Talker>talker).agreement for talker in self.talkers}
        if len(found) > 1:
            raise LoadError(f"the server's answers to the same offer differ: {found}")
        return found.pop()

    # ---- opening and closing

    def open(self, int in_flight=64, int address_count=20000):
        """Open all connections, so many at a time; the latencies are those of the handshakes.

        A local address has ports for less than 30,000: after `address_count` the next one of the
        loopback network is taken.
        """
        cdef Py_ssize_t total = len(self.talkers)
        cdef Py_ssize_t begun = 0
        cdef Py_ssize_t opened = 0
        cdef Talker who = None
        cdef int i
        self.latencies.clear()
        self.last_event_ns = now_ns()
        try:
            while opened < total:
                while begun < total and begun - opened < in_flight:
                    self.dial(begun, address_count)
                    begun += 1
                for i in range(self.wait(self.last_event_ns + SECOND_NS)):
                    who = <Talker><void*>poller_mark(&self.events[i])
                    if who.advance(self.place, READ_SIZE):
                        opened += 1
                        self.latencies.add(now_ns() - who.sent_ns, 1)
                self.check_patience()
        except OSError as error:
            raise LoadError(f"connection {begun if who is None else who.index}: {error}") from error

    cdef int dial(self, Py_ssize_t index, int address_count) except -1:
        cdef Talker who = Talker.__new__(Talker)
        cdef int block = index // address_count
        who.index = index
        who.sent_ns = now_ns()
        self.talkers[index] = who
        who.dial(self.target, f"127.0.0.{1 + block}" if block else None)
        if poller_add(self.poller, who.fd, POLL_READ, <uint64_t><void*>who) < 0:
            raise OSError(errno, os.strerror(errno))
        return 0

    def take_leave(self):
        """Say goodbye on every connection."""
        for talker in self.talkers:
            (<Talker>talker).take_leave()

    def close(self, bint abruptly=False):
        """Close the sockets; abruptly, their ports are free again at once."""
        for talker in self.talkers:
            if talker is not None:
                (<Talker>talker).hang_up(abruptly)

    # ---- speaking and hearing

    def begin(self, Exchange exchange, bint one_speaks=False, double every_s=0):
        """Begin to speak: each for itself, one to all, or each every so many seconds in turn."""
        cdef itimerspec interval
        cdef uint64_t interval_ns
        self.exchange = exchange
        self.speaker = self.talkers[0] if one_speaks else None
        for talker in self.talkers:
            exchange.equip(talker, not one_speaks or talker is self.speaker)
        self.last_event_ns = now_ns()
        if one_speaks:
            self.speak(self.speaker)
        elif every_s > 0:
            interval_ns = max(<uint64_t>(every_s * SECOND_NS / len(self.talkers)), 1)
            interval.it_interval.tv_sec = interval.it_value.tv_sec = interval_ns // SECOND_NS
            interval.it_interval.tv_nsec = interval.it_value.tv_nsec = interval_ns % SECOND_NS
            self.timer = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC)
            if (
                self.timer < 0 or timerfd_settime(self.timer, 0, &interval, NULL) < 0
                or poller_add(self.poller, self.timer, POLL_READ, 0) < 0
            ):
                raise OSError(errno, os.strerror(errno))
        else:
            for talker in self.talkers:
                self.speak(talker)

    def run(self, double seconds, uint64_t most=<uint64_t>-1):
        """Go on for so long, or until so many replies have come; `count` and `latencies` tell."""
        cdef uint64_t end_ns = now_ns() + <uint64_t>(seconds * SECOND_NS)
        self.latencies.clear()
        self.count = 0
        while self.count < most and now_ns() < end_ns:
            self.serve(end_ns)

    def finish(self):
        """Say nothing more, and let what is under way arrive."""
        self.is_finishing = True
        if self.timer >= 0:
            close(self.timer)
            self.timer = -1
        self.await_all()

    def talk(self, Exchange exchange, int at_once=64):
        """Let each connection write one batch, a few of them at a time."""
        cdef Py_ssize_t first
        self.exchange = exchange
        self.is_finishing = True
        for first in range(0, len(self.talkers), at_once):
            for talker in self.talkers[first:first + at_once]:
                exchange.equip(talker, True)
                self.speak(talker)
            self.await_all()

    def check_silence(self):
        """Raise when anything has come, or a connection has ended, while nothing was asked."""
        self.serve(0)

    cdef int await_all(self) except -1:
        cdef uint64_t end_ns = now_ns() + <uint64_t>(self.patience_s * SECOND_NS)
        while self.awaited:
            self.serve(end_ns)
            if now_ns() > end_ns:
                raise LoadError(f"{self.awaited} replies are missing")
        return 0

    # ---- events

    cdef int wait(self, uint64_t end_ns) except -1:
        """Wait for events, at most until then."""
        cdef uint64_t now = now_ns()
        cdef uint64_t left_ns = min(end_ns - now, LONGEST_WAIT_NS) if end_ns > now else 0
        cdef int timeout_ms = <int>((left_ns + MILLISECOND_NS - 1) // MILLISECOND_NS)
        cdef int count = poller_wait(self.poller, self.events, EVENT_COUNT, timeout_ms)
        PyErr_CheckSignals()
        if count > 0:
            self.last_event_ns = now_ns()
        elif count < 0:
            if errno != EINTR:
                raise OSError(errno, os.strerror(errno))
            count = 0
        return count

    def check_patience(self):
        """Raise when nothing has come for too long."""
        if now_ns() - self.last_event_ns > self.patience_s * SECOND_NS:
            raise LoadError(
                f"nothing has come for {self.patience_s:g} s, {self.awaited} replies are missing"
            )

    cdef int serve(self, uint64_t end_ns) except -1:
        """Serve one batch of events."""
        cdef int count = self.wait(end_ns)
        cdef Talker who
        cdef uint32_t what
        cdef int i
        if count == 0 and self.awaited:
            self.check_patience()
        try:
            for i in range(count):
                if poller_mark(&self.events[i]) == 0:
                    self.take_turns()
                    continue
                who = <Talker><void*>poller_mark(&self.events[i])
                what = poller_what(&self.events[i])
                if what & POLL_WRITE:
                    self.write(who)
                if what & ~<uint32_t>POLL_WRITE:
                    self.hear(who)
        except (LoadError, OSError) as error:
            raise LoadError(f"connection {self.at_hand.index}: {error}") from error
        return 0

    cdef int take_turns(self) except -1:
        """Let those speak whose time has come."""
        cdef uint64_t due = 0
        cdef Talker who
        if read(self.timer, &due, sizeof(due)) < 0:
            return 0
        while due:
            due -= 1
            who = self.talkers[self.turn]
            self.turn = (self.turn + 1) % len(self.talkers)
            if who.heard_count == who.sent_count:
                self.speak(who)         # who still waits misses a turn: fewer replies tell of it
        return 0

    cdef int speak(self, Talker who) except -1:
        """Write the next batch."""
        self.exchange.compose(who)
        self.awaited += self.exchange.depth * (1 if self.speaker is None else len(self.talkers))
        who.sent_ns = now_ns()
        return self.write(who)

    cdef int write(self, Talker who) except -1:
        cdef bint awaits_writable
        self.at_hand = who
        awaits_writable = not who.write()
        if awaits_writable != who.awaits_writable:
            who.awaits_writable = awaits_writable
            poller_change(
                self.poller, who.fd, POLL_READ | (POLL_WRITE if awaits_writable else 0),
                <uint64_t><void*>who,
            )
        return 0

    cdef int hear(self, Talker who) except -1:
        """Take what has come for one connection, and say the next thing where it is all."""
        cdef Talker speaker = who if self.speaker is None else self.speaker
        cdef Py_ssize_t size
        cdef uint64_t ns
        cdef uint32_t count
        self.at_hand = who
        size = who.receive(self.place, READ_SIZE)
        while size > 0:
            ns = now_ns() - speaker.sent_ns
            count = who.heard_count
            if self.exchange is None:
                raise LoadError(f"{size} bytes that nobody has asked for")
            self.exchange.check(who, speaker, self.place, size)
            count = who.heard_count - count
            if count:
                self.count += count
                self.latencies.add(ns, count)
                self.awaited -= count
                if not self.is_finishing and self.timer < 0 and (
                    self.awaited == 0 if speaker is self.speaker
                    else who.heard_count == who.sent_count
                ):
                    self.speak(speaker)
            size = who.receive_more(self.place, READ_SIZE)
        if size < 0:
            raise LoadError(f"closed by the server after {who.heard_count} replies")
        return 0

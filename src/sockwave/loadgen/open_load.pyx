"""A load at a constant rate, whatever the server does ("open loop").

Each message is due at a time that is known from the beginning, and a latency counts from then: not
from when the message has left, which a server that is stuck would delay, and so hide how late it is
("coordinated omission"). The messages go round the clients, one for each.
"""

import os

from libc.errno cimport errno
from libc.math cimport ceil, sqrt
from libc.stdint cimport uint32_t
from posix.time cimport CLOCK_MONOTONIC, itimerspec
from posix.unistd cimport read

from sockwave.core.io.epoll.system cimport POLL_READ, poller_add
from sockwave.loadgen.exchange cimport Exchange
from sockwave.loadgen.load cimport now_ns

cdef extern from "<sys/timerfd.h>" nogil:
    int timerfd_create(int clock, int flags)
    int timerfd_settime(int fd, int flags, const itimerspec* new, itimerspec* old)
    int TFD_NONBLOCK, TFD_CLOEXEC, TFD_TIMER_ABSTIME

cdef enum:
    SECOND_NS = 1000000000
    # The most that is sent before replies are read again.
    MOST_AT_ONCE = 256

cdef uint64_t NO_END = <uint64_t>-1


cdef class OpenLoad(Load):
    """A load whose messages leave when they are due, and not when replies have come.

    `begin_at`, then `run` as often as wanted, `stop`, and `drain`.
    """

    def begin_at(
        self, Exchange exchange, double rate, *, double ramp_s=0, double warmup_s=0,
        bint one_sends=False,
    ):
        """Begin to send `rate` messages in a second, all clients together; in the first `ramp_s`
        seconds the rate rises from 0. What is due in these and in `warmup_s` more is not counted.
        With `one_sends` the first client sends, and all get the replies."""
        if exchange.depth != 1:
            raise ValueError(f"expected a depth of 1, got {exchange.depth}")
        self.exchange = exchange
        self.sender = self.clients[0] if one_sends else None
        self.sender_count = 1 if one_sends else len(self.clients)
        for client in self.clients:
            self.prepare(client, not one_sends or client is self.sender)
        self.rate = rate
        self.ramp_s = ramp_s
        self.first_counted = <uint64_t>ceil(rate * (ramp_s / 2 + warmup_s))
        self.timer = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC)
        if self.timer < 0 or poller_add(self.poller, self.timer, POLL_READ, 0) < 0:
            raise OSError(errno, os.strerror(errno))
        self.last_count = NO_END
        self.start_ns = self.last_event_ns = now_ns()
        self.arm()

    # ---- when a message is due

    cdef uint64_t due_ns(self, uint64_t number) noexcept:
        """Return when a message is due."""
        cdef double in_ramp = self.rate * self.ramp_s / 2
        cdef double after_s
        if number < in_ramp:
            after_s = sqrt(2 * self.ramp_s * number / self.rate)
        else:
            after_s = self.ramp_s + (number - in_ramp) / self.rate
        return self.start_ns + <uint64_t>(after_s * SECOND_NS)

    cdef uint64_t count_due(self, uint64_t ns) noexcept:
        """Return how many messages are due by then: the reverse of `due_ns`."""
        cdef double after_s = (ns - self.start_ns) / <double>SECOND_NS
        cdef uint64_t count
        if after_s < self.ramp_s:
            count = <uint64_t>(self.rate * after_s * after_s / (2 * self.ramp_s))
        else:
            count = <uint64_t>(self.rate * (self.ramp_s / 2 + after_s - self.ramp_s))
        # Both round, so the last one is asked for by itself.
        while self.due_ns(count) <= ns:
            count += 1
        return count

    cdef uint64_t next_number(self, LoadClient client) noexcept:
        """Return the number of the message that a client sends next."""
        if self.sender is not None:
            return client.sent_count
        return client.index + <uint64_t>client.sent_count * self.sender_count

    cdef int arm(self) except -1:
        """Set the timer to when the next message is due."""
        cdef itimerspec when
        cdef uint64_t ns = self.due_ns(self.due_count)
        when.it_interval.tv_sec = when.it_interval.tv_nsec = 0
        when.it_value.tv_sec = ns // SECOND_NS
        when.it_value.tv_nsec = ns % SECOND_NS
        if timerfd_settime(self.timer, TFD_TIMER_ABSTIME, &when, NULL) < 0:
            raise OSError(errno, os.strerror(errno))
        return 0

    # ---- sending

    cdef int send_due(self) except -1:
        """Send what is due. A client whose earlier message the kernel has not taken sends it later,
        and the latency counts from now all the same."""
        cdef uint64_t fired
        cdef uint64_t end
        cdef LoadClient client
        read(self.timer, &fired, sizeof(fired))
        end = min(self.count_due(now_ns()), self.last_count, self.due_count + MOST_AT_ONCE)
        while self.due_count < end:
            client = self.clients[self.due_count % self.sender_count]
            self.awaited += 1 if self.sender is None else len(self.clients)
            self.due_count += 1
            if not client.awaits_writable:
                self.send_one(client)
        return self.arm() if self.due_count < self.last_count else 0

    cdef int send_one(self, LoadClient client) except -1:
        self.exchange.compose(client)
        return Load.write(self, client)

    cdef int write(self, LoadClient client) except -1:
        """Write what is left, and then what has become due meanwhile."""
        Load.write(self, client)
        while not client.awaits_writable and client.batch is not NULL and (
            self.next_number(client) < self.due_count
        ):
            self.send_one(client)
        return 0

    cdef int note_replies(
        self, LoadClient client, LoadClient sender, uint32_t count, uint64_t ns
    ) except -1:
        """Count replies, each from when its message was due."""
        cdef uint64_t number = client.reply_count - count
        cdef uint32_t _i
        if self.sender is None:
            number = client.index + number * self.sender_count
        self.awaited -= count
        for _i in range(count):
            if number >= self.first_counted:
                self.count += 1
                self.latencies.add(ns - self.due_ns(number), 1)
            number += self.sender_count
        return 0

    # ---- the end

    def stop(self):
        """Let nothing more become due: what is due already is still sent."""
        self.last_count = max(self.count_due(now_ns()), self.due_count)

    def drain(self, double seconds):
        """Send what was due, and wait for the replies that are missing, at most so long; sets
        `count` and `latencies`.

        Returns how many have not come. Those count with the time for which they are missing
        already: without them, a server that has stopped would look fast.
        """
        cdef uint64_t end_ns = now_ns() + <uint64_t>(seconds * SECOND_NS)
        cdef uint64_t ns, number
        cdef LoadClient client
        self.latencies.clear()
        self.count = 0
        while (self.awaited or self.due_count < self.last_count) and now_ns() < end_ns:
            self.last_event_ns = now_ns()  # `seconds` is the only limit here
            self.serve(end_ns)
        ns = now_ns()
        self.awaited += (
            (self.last_count - self.due_count) * (1 if self.sender is None else len(self.clients))
        )
        self.due_count = self.last_count
        for client in self.clients if self.awaited else ():
            number = client.reply_count
            if self.sender is None:
                number = client.index + number * self.sender_count
            while number < self.due_count:
                if number >= self.first_counted:
                    self.latencies.add(ns - self.due_ns(number), 1)
                number += self.sender_count
        return self.awaited

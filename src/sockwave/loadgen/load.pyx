"""A load on a server: clients that send messages and check the replies.

One thread, one epoll. Each client writes a batch of messages at once, waits for all of the replies,
and writes the next batch; or one client sends and all get the replies; or a timer lets the clients
send one after the other.
"""

import os

from cpython.exc cimport PyErr_CheckSignals
from libc.errno cimport EINTR, errno
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


cdef uint64_t now_ns() noexcept nogil:
    cdef timespec time
    clock_gettime(CLOCK_MONOTONIC, &time)
    return <uint64_t>time.tv_sec * SECOND_NS + time.tv_nsec


cdef class Load:
    """Clients of one target, in one thread and one epoll.

    Whatever goes wrong on a connection raises a LoadError that names it, and ends the load.
    """

    def __cinit__(self, Target target, int connection_count, double timeout_s=10):
        self.target = target
        self.clients = [None] * connection_count
        self.timeout_s = timeout_s
        self.latencies = Latencies()
        # Until `begin` there is nothing to say: pings are answered, and all else is an error.
        self.exchange = Exchange(0, 1, False, 1)
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
        """The server's answer to the offer of an extension; LoadError unless it is the same for all
        clients."""
        found = {(<LoadClient>client).agreement for client in self.clients}
        if len(found) > 1:
            raise LoadError(f"the server's answers to the same offer differ: {found}")
        return found.pop()

    # ---- opening and closing

    def open(self, int in_flight=64, int address_count=20000, double over_s=0):
        """Open all connections, at most `in_flight` at a time, and evenly over `over_s` seconds;
        the latencies are those of the handshakes.

        One local address has ports for less than 30,000 connections: after `address_count` of them
        the next address of the loopback network is used.
        """
        cdef Py_ssize_t total = len(self.clients)
        cdef Py_ssize_t begun = 0
        cdef Py_ssize_t opened = 0
        cdef uint64_t start_ns = now_ns()
        cdef uint64_t next_ns = start_ns
        cdef LoadClient client = None
        cdef int i
        self.latencies.clear()
        self.last_event_ns = start_ns
        try:
            while opened < total:
                while begun < total and begun - opened < in_flight and now_ns() >= next_ns:
                    opened += self.connect(begun, address_count)
                    begun += 1
                    next_ns = start_ns + <uint64_t>(begun * over_s / total * SECOND_NS)
                if opened == total:
                    break
                for i in range(self.wait(max(next_ns, now_ns() + MILLISECOND_NS))):
                    client = <LoadClient><void*>poller_mark(&self.events[i])
                    if client.is_open:
                        self.receive_replies(client)
                    elif client.advance(self.place, READ_SIZE):
                        opened += 1
                        self.latencies.add(now_ns() - client.sent_ns, 1)
                if begun > opened:
                    self.check_timeout()
        except OSError as error:
            index = begun if client is None else client.index
            raise LoadError(f"connection {index}: {error}") from error

    cdef bint connect(self, Py_ssize_t index, int address_count) except -1:
        """Connect a new client; true: it is open already."""
        cdef LoadClient client = LoadClient.__new__(LoadClient)
        cdef int block = index // address_count
        client.index = index
        client.sent_ns = now_ns()
        self.clients[index] = client
        client.connect(self.target, f"127.0.0.{1 + block}" if block else None)
        self.watch(client)
        return client.is_open

    cdef int watch(self, LoadClient client) except -1:
        if poller_add(self.poller, client.fd, POLL_READ, <uint64_t><void*>client) < 0:
            raise OSError(errno, os.strerror(errno))
        return 0

    def shake_hands(self, double seconds, uint64_t most=<uint64_t>-1, int address_count=20000):
        """Open connections for `seconds`, or until `most` have been opened, as many at once as the
        load has; each is closed, by RST, when it is open, and another one takes its place. Sets
        `count` and `latencies`."""
        cdef uint64_t end_ns = now_ns() + <uint64_t>(seconds * SECOND_NS)
        cdef Py_ssize_t index
        cdef LoadClient client = None
        cdef int i
        self.latencies.clear()
        self.count = 0
        try:
            if self.clients[0] is None:
                self.last_event_ns = now_ns()
                for index in range(len(self.clients)):
                    self.connect(index, address_count)
            while self.count < most and now_ns() < end_ns:
                for i in range(self.wait(end_ns)):
                    client = <LoadClient><void*>poller_mark(&self.events[i])
                    if client.advance(self.place, READ_SIZE):
                        self.count += 1
                        self.latencies.add(now_ns() - client.sent_ns, 1)
                        client.close(True)
                        self.connect(client.index, address_count)
                self.check_timeout()
        except (LoadError, OSError) as error:
            raise LoadError(
                f"connection {0 if client is None else client.index}: {error}"
            ) from error

    def send_close(self):
        """Begin the closing handshake on every connection."""
        for client in self.clients:
            (<LoadClient>client).send_close()

    def close(self, bint reset=False):
        """Close the sockets; with `reset` by RST, so that their ports can be used again at once."""
        for client in self.clients:
            if client is not None:
                (<LoadClient>client).close(reset)

    # ---- sending and receiving

    def begin(self, Exchange exchange, bint one_sends=False, double every_s=0):
        """Begin to send. By default each client sends and gets its own replies; with `one_sends`
        the first client sends and all get the replies; with `every_s` each client sends once in so
        many seconds, one after the other."""
        cdef itimerspec interval
        cdef uint64_t interval_ns
        self.exchange = exchange
        self.sender = self.clients[0] if one_sends else None
        for client in self.clients:
            self.prepare(client, not one_sends or client is self.sender)
        self.last_event_ns = now_ns()
        if one_sends:
            self.send_batch(self.sender)
        elif every_s > 0:
            interval_ns = max(<uint64_t>(every_s * SECOND_NS / len(self.clients)), 1)
            interval.it_interval.tv_sec = interval.it_value.tv_sec = interval_ns // SECOND_NS
            interval.it_interval.tv_nsec = interval.it_value.tv_nsec = interval_ns % SECOND_NS
            self.timer = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC)
            if (
                self.timer < 0 or timerfd_settime(self.timer, 0, &interval, NULL) < 0
                or poller_add(self.poller, self.timer, POLL_READ, 0) < 0
            ):
                raise OSError(errno, os.strerror(errno))
        else:
            for client in self.clients:
                self.send_batch(client)

    def run(self, double seconds, uint64_t most=<uint64_t>-1):
        """Go on for `seconds`, or until `most` replies have come; sets `count` and `latencies`."""
        cdef uint64_t end_ns = now_ns() + <uint64_t>(seconds * SECOND_NS)
        self.latencies.clear()
        self.count = 0
        while self.count < most and now_ns() < end_ns:
            self.serve(end_ns)

    def finish(self):
        """Send nothing more, and wait for the replies that are missing."""
        self.is_finishing = True
        if self.timer >= 0:
            close(self.timer)
            self.timer = -1
        self.await_all()

    def send_once(self, Exchange exchange, int at_once=64):
        """Let each client send one batch, `at_once` of them at a time, and wait for the replies."""
        cdef Py_ssize_t first
        self.exchange = exchange
        self.is_finishing = True
        for first in range(0, len(self.clients), at_once):
            for client in self.clients[first:first + at_once]:
                self.prepare(client, True)
                self.send_batch(client)
            self.await_all()

    def check_silence(self):
        """Raise LoadError if anything has come, or a connection has ended, since the last reply."""
        self.serve(0)

    cdef int prepare(self, LoadClient client, bint sends) except -1:
        """Let a client have room for what it says. Nothing of that is there to be written yet: a
        pong, which may be owed before, would take it along."""
        self.exchange.prepare(client, sends)
        client.written = client.batch_size
        return 0

    cdef int await_all(self) except -1:
        cdef uint64_t end_ns = now_ns() + <uint64_t>(self.timeout_s * SECOND_NS)
        while self.awaited:
            self.serve(end_ns)
            if now_ns() > end_ns:
                raise LoadError(f"{self.awaited} replies are missing")
        return 0

    # ---- events

    cdef int wait(self, uint64_t end_ns) except -1:
        """Wait for events, at most until `end_ns`."""
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

    def check_timeout(self):
        """Raise LoadError when nothing has come for `timeout_s`."""
        if now_ns() - self.last_event_ns > self.timeout_s * SECOND_NS:
            raise LoadError(
                f"nothing has come for {self.timeout_s:g} s, {self.awaited} replies are missing"
            )

    cdef int serve(self, uint64_t end_ns) except -1:
        """Serve one batch of events."""
        cdef int count = self.wait(end_ns)
        cdef LoadClient client
        cdef uint32_t what
        cdef int i
        if count == 0 and (self.awaited or self.awaits_ends()):
            self.check_timeout()
        try:
            for i in range(count):
                if poller_mark(&self.events[i]) == 0:
                    self.send_due()
                    continue
                client = <LoadClient><void*>poller_mark(&self.events[i])
                what = poller_what(&self.events[i])
                if what & POLL_WRITE:
                    self.write(client)
                if what & ~<uint32_t>POLL_WRITE:
                    self.receive_replies(client)
        except (LoadError, OSError) as error:
            raise LoadError(f"connection {self.current.index}: {error}") from error
        return 0

    cdef bint awaits_ends(self) noexcept:
        """Tell whether the server has to close connections."""
        return self.exchange.ends_connections and not self.is_finishing

    cdef int send_due(self) except -1:
        """Let the clients send that the timer has fired for."""
        cdef uint64_t due = 0
        cdef LoadClient client
        if read(self.timer, &due, sizeof(due)) < 0:
            return 0
        while due:
            due -= 1
            client = self.clients[self.next_sender]
            self.next_sender = (self.next_sender + 1) % len(self.clients)
            if client.reply_count == client.sent_count:
                self.send_batch(client)
            # Otherwise it still waits for replies, and misses a turn, which shows in the count.
        return 0

    cdef int send_batch(self, LoadClient client) except -1:
        """Write the next batch."""
        self.exchange.compose(client)
        self.awaited += self.exchange.depth * (1 if self.sender is None else len(self.clients))
        client.sent_ns = now_ns()
        return self.write(client)

    cdef int write(self, LoadClient client) except -1:
        cdef bint awaits_writable
        self.current = client
        awaits_writable = not client.write()
        if awaits_writable != client.awaits_writable:
            client.awaits_writable = awaits_writable
            poller_change(
                self.poller, client.fd, POLL_READ | (POLL_WRITE if awaits_writable else 0),
                <uint64_t><void*>client,
            )
        return 0

    cdef int receive_replies(self, LoadClient client) except -1:
        """Read and check what has come for a client, and send the next batch when all replies are
        there, or when the server has closed the connection behind them, where it has to."""
        cdef LoadClient sender = client if self.sender is None else self.sender
        cdef Py_ssize_t size
        cdef uint64_t ns
        cdef uint32_t count
        self.current = client
        size = client.receive(self.place, READ_SIZE)
        while size > 0:
            ns = now_ns()
            count = client.reply_count
            self.exchange.check(client, sender, self.place, size)
            count = client.reply_count - count
            if count:
                self.note_replies(client, sender, count, ns)
            if client.owes_pong and not client.awaits_writable:
                self.write(client)
            size = client.receive_more(self.place, READ_SIZE)
        if size < 0:
            self.see_end(client)
        return 0

    cdef int note_replies(
        self, LoadClient client, LoadClient sender, uint32_t count, uint64_t ns
    ) except -1:
        """Count replies, and send the next batch when all are there."""
        self.count += count
        self.latencies.add(ns - sender.sent_ns, count)
        self.awaited -= count
        if (
            not self.is_finishing and self.timer < 0
            and not self.exchange.ends_connections
            and (
                self.awaited == 0 if sender is self.sender
                else client.reply_count == client.sent_count
            )
        ):
            self.send_batch(sender)
        return 0

    cdef int see_end(self, LoadClient client) except -1:
        """Connect again where the server has to close behind a batch, and raise LoadError where it
        has not."""
        cdef bint is_due = (
            self.exchange.ends_connections and client.reply_count == client.sent_count
        )
        if not is_due:
            raise LoadError(f"closed by the server after {client.reply_count} replies")
        client.close(False)
        if not self.is_finishing:
            client.connect(self.target, None)
            self.watch(client)
            self.send_batch(client)
        return 0

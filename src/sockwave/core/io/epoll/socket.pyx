"""A TCP or Unix socket in the epoll engine: recv and send."""

import os
import socket
from functools import cache

from cpython.bytes cimport PyBytes_FromStringAndSize
from cpython.ref cimport Py_DECREF
from libc.errno cimport EAGAIN, EINTR, errno
from libc.string cimport memcpy, memset

from sockwave.core.io.transport cimport Probes
from sockwave.core.io.engine cimport HEADROOM_SIZE, READ_SIZE
from sockwave.core.io.epoll.poller cimport Poller
from sockwave.core.io.receiver cimport Receiver
from sockwave.core.io.endings cimport end_stream, reset_stream
from sockwave.core.io.epoll.system cimport (
    AF_INET, AF_INET6, AF_UNIX, IPPROTO_TCP, MSG_NOSIGNAL, POLL_BROKEN, POLL_READ, POLL_WRITE,
    SHUT_RDWR, SHUT_WR, SIOCOUTQ, SO_KEEPALIVE, SO_LINGER, SOL_SOCKET, TCP_INFO, TCP_KEEPCNT,
    TCP_KEEPIDLE, TCP_KEEPINTVL, TCP_NOTSENT_LOWAT, TCP_USER_TIMEOUT, close_descriptor,
    getsockname, getsockopt, ioctl, linger_option, msghdr, poller_remove, recv,
    send_bytes, sendmsg, setsockopt, shutdown, sockaddr, socklen_t, tcp_info,
)
from sockwave.core.io.timers cimport ticks_of
from sockwave.core.io.writer cimport Vector

from sockwave.core.io.transport import UNSENT_SIZE

cdef int unsent_size = UNSENT_SIZE

cdef enum:
    # Used in place of UNSENT_SIZE for a peer that has just taken all that waited for it: a message
    # of 1 MiB is written in one call, and the kernel sends it while the peer reads.
    PROMPT_UNSENT_SIZE = 1048576
    # … if it took that in the tick in which waiting began, or in the next.
    PROMPT_TICK_COUNT = 1

# Cached: the C library looks for a translation each time, and many peers leave by a reset.
describe = cache(os.strerror)


cdef uint16_t family_of(const uint8_t* raw) noexcept:
    """Return the family of a struct sockaddr."""
    cdef uint16_t family
    memcpy(&family, raw, 2)
    return family


cdef uint16_t port_of(const uint8_t* raw) noexcept:
    """Return the port in the struct sockaddr of an Internet socket."""
    return raw[2] << 8 | raw[3]


cdef const uint8_t* host_in(const uint8_t* raw, uint8_t* size) noexcept:
    """Find the IP address in a struct sockaddr; the size is 0 if there is none."""
    cdef uint16_t family = family_of(raw)
    size[0] = 4 if family == AF_INET else 16 if family == AF_INET6 else 0
    return raw + (4 if family == AF_INET else 8)


cdef object as_address(const uint8_t* host, uint8_t size, uint16_t port):
    """Return (host, port) for an IP address; "" if there is none."""
    if not size:
        return ""
    packed = PyBytes_FromStringAndSize(<const char*>host, size)
    return socket.inet_ntop(socket.AF_INET if size == 4 else socket.AF_INET6, packed), port


cdef uint32_t events_in(uint32_t interest) noexcept:
    """Return the events that the epoll is to report."""
    cdef uint32_t events = interest & ~<uint32_t>(IS_WATCHED | IS_TAKEN)
    return events & ~<uint32_t>POLL_READ if interest & IS_TAKEN else events


cdef class EpollSocket(Transport):
    """A TCP or Unix socket in the engine's epoll."""

    def __cinit__(self):
        self.fd = -1

    def __dealloc__(self):
        if self.fd >= 0:
            close_descriptor(self.fd)

    cdef int set_interest(self, uint32_t interest) except -1:
        if interest != self.interest and self.fd >= 0:
            self.interest = interest
            if interest & IS_WATCHED:       # else `watch_peer` will add it with these events
                (<Poller>self.engine).change(self.fd, events_in(interest))
        return 0

    cdef int watch_readable(self, bint on) except -1:
        return self.set_interest(self.interest | POLL_READ if on else self.interest & ~POLL_READ)

    cdef int await_writable(self) except -1:
        self.begin_waiting()
        return self.set_interest(self.interest | POLL_WRITE)

    cdef int ready(self, uint32_t events) except -1:
        """Handle events: write and read as much as the socket allows."""
        cdef bint is_prompt
        if events & POLL_WRITE:
            is_prompt = self.moved and self.engine.wheel.tick - self.moved <= PROMPT_TICK_COUNT
            self.set_interest(self.interest & ~POLL_WRITE)
            self.moved = 0
            self.run_ready()
            if not is_prompt or self.is_flushed():
                self.call_prompt(is_prompt)
        if events & (POLL_READ | POLL_BROKEN) and self.fd >= 0:
            if self.interest & POLL_READ:
                self.readable()
            elif events & POLL_BROKEN:
                self.peer_has_gone()
        return 0

    cdef int peer_has_gone(self) except -1:
        """Handle a peer that is gone while reading is paused: read all the same. The kernel still
        holds what the peer sent before it left, nothing follows that, and the receiver keeps it.
        The kernel reports this event again and again until the socket has been read to its end."""
        return self.close_with(None) if self.has_ended else self.readable()

    cdef int call_prompt(self, bint is_prompt) noexcept:
        """Have the kernel buffer much for a peer that reads at once, and little for any other."""
        cdef int size = PROMPT_UNSENT_SIZE if is_prompt else unsent_size
        if is_prompt != self.is_prompt:
            self.is_prompt = is_prompt
            self.set_option(IPPROTO_TCP, TCP_NOTSENT_LOWAT, size)
        return 0

    cdef uint32_t measure_untaken(self) except? 0:
        # The kernel may buffer megabytes, and epoll reports room only when a third has been sent.
        cdef int size = 0
        return size if self.fd >= 0 and ioctl(self.fd, SIOCOUTQ, &size) == 0 else 0

    cdef bint find_silence(self, uint32_t* silence_ticks) except -1:
        cdef tcp_info info
        cdef socklen_t size = sizeof(info)
        if getsockopt(self.fd, IPPROTO_TCP, TCP_INFO, &info, &size) < 0:
            return False
        silence_ticks[0] = ticks_of(info.tcpi_last_ack_recv / 1000)
        return True

    cdef bint probe(self, const Probes* probes) except -1:
        cdef uint8_t address[ADDRESS_SIZE]
        cdef int patience_ms = 0
        cdef socklen_t size = sizeof(patience_ms)
        if self.find_own_address(address) == AF_UNIX:
            return True
        # With TCP_USER_TIMEOUT, which `write_timeout` sets, Linux does not count the probes but
        # goes by that time.
        getsockopt(self.fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &patience_ms, &size)
        if patience_ms > probes.patience_ms:
            self.set_option(IPPROTO_TCP, TCP_USER_TIMEOUT, probes.patience_ms)
        return (
            self.set_option(SOL_SOCKET, SO_KEEPALIVE, 1)
            and self.set_option(IPPROTO_TCP, TCP_KEEPIDLE, probes.idle_s)
            and self.set_option(IPPROTO_TCP, TCP_KEEPINTVL, probes.interval_s)
            and self.set_option(IPPROTO_TCP, TCP_KEEPCNT, probes.count)
        )

    cdef bint set_option(self, int level, int option, int value) noexcept:
        return setsockopt(self.fd, level, option, &value, sizeof(value)) == 0

    cdef ssize_t take(self, uint8_t* place, size_t size) noexcept:
        """Receive up to `size` bytes, as recv(2) does: a socket that notes when they came has its
        own way."""
        return recv(self.fd, place, size, 0)

    cdef int readable(self) except -1:
        cdef Receiver receiver = self.receiver
        cdef uint8_t* place = NULL
        cdef size_t size = 0
        cdef ssize_t count
        if receiver is not None and not self.is_closing:
            place = receiver.reserve(&size)
        if place is NULL:
            place = self.engine.read_buffer + HEADROOM_SIZE
            size = READ_SIZE
        count = self.take(place, size)
        if count > 0:
            self.deliver(place, count)
        elif count == 0:
            self.end_reading()
        elif errno != EAGAIN and errno != EINTR:
            self.close_with(OSError(errno, describe(errno)))
        return 0

    cdef Py_ssize_t put(self, const Vector* vectors, int count) noexcept:
        cdef msghdr message
        cdef ssize_t taken
        if self.fd < 0:
            return -1
        if count == 1:
            taken = send_bytes(self.fd, vectors.base, vectors.size, MSG_NOSIGNAL)
        else:
            memset(&message, 0, sizeof(message))
            message.msg_iov = <void*>vectors
            message.msg_iovlen = count
            taken = sendmsg(self.fd, &message, MSG_NOSIGNAL)
        if taken >= 0:
            return taken
        if errno == EAGAIN or errno == EINTR:
            return 0
        # We can send the peer nothing more. `recv` does not report every such error (ENOBUFS):
        # after this call it returns what has come already, and then the end of the stream.
        shutdown(self.fd, SHUT_RDWR)
        return -1

    cdef int send_fin(self) except -1:
        shutdown(self.fd, SHUT_WR)
        return 0

    cdef int close_socket(self) except -1:
        cdef Poller engine = <Poller>self.engine
        if self.fd >= 0:
            # While a forked child has a copy of the descriptor, `close` alone would neither take
            # the socket out of the epoll nor send FIN. If the kernel has bytes that we have not
            # read, it sends RST instead, as with `close` alone.
            if self.interest & IS_WATCHED:
                poller_remove(engine.poller, self.fd)
            engine.leave(self.fd, <void*>self)
            end_stream(self.fd)
            close_descriptor(self.fd)
            self.fd = -1
            Py_DECREF(self)
        return 0

    cdef int abandon(self) except -1:
        if self.fd >= 0:
            close_descriptor(self.fd)
            self.fd = -1        # the table's reference stays: nothing is to be freed here
        return Transport.abandon(self)

    cpdef object reset(self):
        cdef linger_option option
        option.l_onoff = 1
        option.l_linger = 0
        if self.fd >= 0:
            setsockopt(self.fd, SOL_SOCKET, SO_LINGER, &option, sizeof(option))
            reset_stream(self.fd)       # also if another process has a copy
        self.close_with(None)

    cdef int keep_address(self, const uint8_t* address) noexcept:
        """Keep the peer's address from a struct sockaddr, without the parts that no caller asks
        for: the scope of an IPv6 address, the path of a Unix socket."""
        cdef const uint8_t* host = host_in(address, &self.host_size)
        memcpy(self.host, host, self.host_size)
        self.port = port_of(address)
        return 0

    def claim_address(self, str host, int port):
        cdef bytes packed = b""
        if host:
            packed = socket.inet_pton(socket.AF_INET6 if ":" in host else socket.AF_INET, host)
        self.host_size = len(packed)
        memcpy(self.host, <const char*>packed, self.host_size)
        self.port = port

    cdef uint16_t find_own_address(self, uint8_t* address) noexcept:
        """Find the struct sockaddr of our own address, ADDRESS_SIZE bytes, and return its family; 0
        if the socket is closed."""
        cdef socklen_t size = ADDRESS_SIZE
        memset(address, 0, ADDRESS_SIZE)
        if self.fd < 0 or getsockname(self.fd, <sockaddr*>address, &size) < 0:
            return 0
        return family_of(address)

    @property
    def remote_address(self):
        return as_address(self.host, self.host_size, self.port)

    @property
    def local_address(self):
        cdef uint8_t address[ADDRESS_SIZE]
        cdef uint16_t family = self.find_own_address(address)
        cdef uint8_t size
        if not family:
            return None
        if family == AF_UNIX:
            # A path ends with a zero byte; an abstract name of Linux begins with one (unix(7)).
            name = PyBytes_FromStringAndSize(<const char*>address + 2, ADDRESS_SIZE - 2)
            return name.rstrip(b"\0").decode("utf-8", "surrogateescape")
        host = host_in(address, &size)
        return as_address(host, size, port_of(address))

"""The epoll engine: accept, recv, send and epoll. Every system call of the core stands here."""

import os
import socket

from cpython.bytes cimport PyBytes_FromStringAndSize
from cpython.ref cimport Py_DECREF, Py_INCREF
from libc.errno cimport EAGAIN, ECONNABORTED, EINTR, errno
from libc.math cimport INFINITY, ceil
from libc.stdint cimport uint16_t, uintptr_t
from libc.string cimport memcpy, memset

from sockwave.core.carrier cimport HEADROOM_SIZE, READ_SIZE, TURN_MESSAGE_COUNT
from sockwave.core.receiver cimport Receiver
from sockwave.core.timers cimport tick_s
from sockwave.core.writer cimport Vector

cdef extern from "poller.h" nogil:
    enum: POLL_READ, POLL_WRITE, POLL_BROKEN
    int poller_create()
    int poller_add(int poller, int fd, uint32_t interest, void* who)
    int poller_change(int poller, int fd, uint32_t interest, void* who)
    int poller_remove(int poller, int fd)
    int poller_wait(int poller, poller_event* events, int count, int timeout_ms)
    void* poller_who(const poller_event* event)
    uint32_t poller_what(const poller_event* event)
    void poller_forget(poller_event* event)
    void poller_close(int poller)

cdef extern from "<sys/socket.h>" nogil:
    ctypedef unsigned int socklen_t
    struct sockaddr:
        pass
    struct msghdr:
        void* msg_iov
        size_t msg_iovlen
    ssize_t recv(int fd, void* data, size_t size, int flags)
    ssize_t send_bytes "send"(int fd, const void* data, size_t size, int flags)
    ssize_t sendmsg(int fd, const msghdr* message, int flags)
    int accept4(int fd, sockaddr* address, socklen_t* size, int flags)
    int shutdown(int fd, int how)
    int setsockopt(int fd, int level, int option, const void* value, socklen_t size)
    int getsockopt(int fd, int level, int option, void* value, socklen_t* size)
    int getsockname(int fd, sockaddr* address, socklen_t* size)
    struct linger_option "linger":
        int l_onoff
        int l_linger
    int SOCK_NONBLOCK, SOCK_CLOEXEC, MSG_NOSIGNAL, SHUT_WR, SHUT_RDWR, AF_INET, AF_INET6, AF_UNIX
    int SOL_SOCKET, SO_KEEPALIVE, SO_LINGER

cdef extern from "<netinet/in.h>" nogil:
    int IPPROTO_TCP

cdef extern from "<netinet/tcp.h>" nogil:
    int TCP_KEEPIDLE, TCP_KEEPINTVL, TCP_KEEPCNT, TCP_USER_TIMEOUT

cdef extern from "<sys/ioctl.h>" nogil:
    int ioctl(int fd, unsigned long request, int* value)

cdef extern from "<linux/sockios.h>" nogil:
    unsigned long SIOCOUTQ

cdef extern from "<unistd.h>" nogil:
    int close_descriptor "close"(int fd)

cdef enum:
    LONGEST_WAIT_S = 86400      # in milliseconds it has to fit an int
    # Set in the epoll's pointer to a Listener; objects lie at even addresses.
    LISTENER_TAG = 1


cdef object as_address(const uint8_t* raw):
    """Give (host, port) for the struct sockaddr of an Internet socket, "" for another."""
    cdef uint16_t family
    memcpy(&family, raw, 2)
    cdef object port = raw[2] << 8 | raw[3]
    if family == AF_INET:
        packed = PyBytes_FromStringAndSize(<const char*>raw + 4, 4)
        return socket.inet_ntop(socket.AF_INET, packed), port
    if family == AF_INET6:
        packed = PyBytes_FromStringAndSize(<const char*>raw + 8, 16)
        return socket.inet_ntop(socket.AF_INET6, packed), port
    return ""


cdef int write_address(uint8_t* raw, str host, int port) except -1:
    """Write the struct sockaddr that `as_address` reads: for an IP address."""
    cdef uint16_t family = AF_INET6 if ":" in host else AF_INET
    cdef bytes packed = socket.inet_pton(family, host)
    memcpy(raw, &family, 2)
    raw[2] = port >> 8
    raw[3] = port & 0xFF
    memcpy(raw + (4 if family == AF_INET else 8), <const char*>packed, len(packed))
    return 0


cdef class Listener:
    """A listening socket."""

    def __cinit__(self, socket_, make=None):
        self.socket = socket_
        self.make = make
        self.fd = socket_.fileno()


cdef class EpollEngine(Engine):
    """Serves its sockets by an epoll of its own,
    behind one descriptor that any loop can wait for."""

    def __cinit__(self):
        self.listeners = {}
        self.poller = poller_create()
        if self.poller < 0:
            raise OSError(errno, os.strerror(errno))

    def __dealloc__(self):
        if self.poller >= 0:
            poller_close(self.poller)

    # ---- in somebody's loop

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
        # The loop knows of our tick, unless it has lost it, for want of memory.
        cdef bint has_lost_tick = self.carrier_count and seconds > 2 * tick_s
        if has_lost_tick:
            seconds = tick_s
        self.cork.has_called_out = False
        self.end_turn()
        # What was called may have scheduled something,
        # which the loop did not know of when it chose the timeout.
        if self.cork.has_called_out or self.postponed or self.position < self.batch_size:
            timeout_ms = 0
        elif seconds != INFINITY:
            timeout_ms = <int>ceil(min(max(seconds, 0), LONGEST_WAIT_S) * 1000)
        self.serve(timeout_ms)
        if has_lost_tick and self.carrier_count:
            self.renew_tick(self.loop.time())
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
        cdef EpollSocket peer = None
        if not events:
            return 0                # its socket has ended in this batch
        if who is NULL:
            self.is_nested_ready = True
            return 0
        try:
            if <uintptr_t>who & LISTENER_TAG:
                self.accept(<Listener><void*>(<uintptr_t>who - LISTENER_TAG))
            else:
                peer = <EpollSocket>who
                peer.ready(events)
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException as error:
            if peer is None:
                self.tell(error, None)
            else:
                peer.fail(error)
        return 0

    cdef int forget(self, void* who) noexcept:
        """Take what is about to go out of the batch: its events point to it."""
        cdef int i
        for i in range(self.position, self.batch_size):
            if poller_who(&self.batch[i]) == who:
                poller_forget(&self.batch[i])
        return 0

    # ---- listening

    async def listen(self, socket_, make=None):
        """Accept connections on a listening socket; `make` makes their carriers, where they are no
        plain ones."""
        cdef Listener listener = Listener(socket_, make)
        self.listeners[listener.fd] = listener
        if self.watch(listener) < 0:
            raise OSError(errno, os.strerror(errno))

    cdef int watch(self, Listener listener) noexcept:
        cdef void* who = <void*>(<uintptr_t><void*>listener | LISTENER_TAG)
        return poller_add(self.poller, listener.fd, POLL_READ, who)

    def accept_again(self, Listener listener):
        """Take up accepting: at once, to know whether it is possible."""
        listener.rests = False
        if self.listeners.get(listener.fd) is listener:
            if self.watch(listener) < 0:
                self.rest(listener, errno)
            else:
                self.accept(listener)

    def stop_listening(self):
        """Close the listening sockets."""
        for listener in self.listeners.values():
            poller_remove(self.poller, (<Listener>listener).fd)
            self.forget(<void*>(<uintptr_t><void*>listener | LISTENER_TAG))
            listener.socket.close()
        self.listeners = {}

    cdef int accept(self, Listener listener) except -1:
        cdef uint8_t address[OWN_ADDRESS_SIZE]
        cdef socklen_t size
        cdef int _attempt, fd
        for _attempt in range(ACCEPT_COUNT):
            if listener.fd not in self.listeners or listener.rests:
                return 0            # a listener's listener has closed the server
            size = sizeof(address)
            memset(address, 0, ADDRESS_SIZE)
            fd = accept4(listener.fd, <sockaddr*>address, &size, SOCK_NONBLOCK | SOCK_CLOEXEC)
            if fd >= 0:
                self.welcome_socket(fd, listener, address)
            elif errno == EAGAIN:
                return self.can_accept()        # the kernel looks for a descriptor first
            elif errno != ECONNABORTED and errno != EINTR:
                return self.rest(listener, errno)
        return 0

    cdef int welcome_socket(self, int fd, Listener listener, const uint8_t* address) except -1:
        cdef EpollSocket peer
        try:
            if listener.make is None:
                peer = EpollSocket.__new__(EpollSocket)
            else:
                peer = listener.make()
        except BaseException:
            close_descriptor(fd)
            raise
        peer.fd = fd
        memcpy(peer.address, address, ADDRESS_SIZE)
        peer.interest = POLL_READ
        if poller_add(self.poller, fd, POLL_READ, <void*>peer) < 0:
            return self.rest(listener, errno)
        self.can_accept()
        Py_INCREF(peer)             # the epoll's reference, until `drop`
        return self.admit(peer)

    cdef int rest(self, Listener listener, int error) except -1:
        # Without descriptors the listening socket stays readable: to wait for it would be to spin.
        # What may fail for want of memory comes first: then it is still watched.
        self.rest_from_accepting(os.strerror(error), self.accept_again, listener)
        listener.rests = True
        poller_remove(self.poller, listener.fd)
        return 0


cdef class EpollSocket(Carrier):
    """A TCP or Unix socket in the engine's epoll."""

    def __cinit__(self):
        self.fd = -1

    def __dealloc__(self):
        if self.fd >= 0:
            close_descriptor(self.fd)

    cdef int set_interest(self, uint32_t interest) except -1:
        if interest != self.interest and self.fd >= 0:
            self.interest = interest
            poller_change((<EpollEngine>self.engine).poller, self.fd, interest, <void*>self)
        return 0

    cdef int watch_readable(self, bint on) except -1:
        return self.set_interest(self.interest | POLL_READ if on else self.interest & ~POLL_READ)

    cdef int await_writable(self) except -1:
        self.begin_waiting()
        return self.set_interest(self.interest | POLL_WRITE)

    cdef int ready(self, uint32_t events) except -1:
        """Write and read, as far as the peer lets."""
        if events & POLL_WRITE:
            self.set_interest(self.interest & ~POLL_WRITE)
            self.moved = 0
            self.run_ready()
        if events & (POLL_READ | POLL_BROKEN) and self.fd >= 0:
            if self.interest & POLL_READ:
                self.readable()
            elif events & POLL_BROKEN:
                self.lose(None)
        return 0

    cdef uint32_t measure_untaken(self) except? 0:
        # In the kernel there may be megabytes, of which epoll tells when a third has left.
        cdef int size = 0
        return size if self.fd >= 0 and ioctl(self.fd, SIOCOUTQ, &size) == 0 else 0

    cdef bint probe(self, int idle_s, int interval_s, int count) except -1:
        cdef uint8_t address[OWN_ADDRESS_SIZE]
        cdef int patience_ms = 0
        cdef socklen_t size = sizeof(patience_ms)
        if self.find_own_address(address) == AF_UNIX:
            return True
        # Where Linux has this time, which `write_timeout` sets, it does not count the probes.
        getsockopt(self.fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &patience_ms, &size)
        if patience_ms > 1000 * (idle_s + interval_s * count):
            self.set_option(
                IPPROTO_TCP, TCP_USER_TIMEOUT, 1000 * (idle_s + interval_s * count)
            )
        return (
            self.set_option(SOL_SOCKET, SO_KEEPALIVE, 1)
            and self.set_option(IPPROTO_TCP, TCP_KEEPIDLE, idle_s)
            and self.set_option(IPPROTO_TCP, TCP_KEEPINTVL, interval_s)
            and self.set_option(IPPROTO_TCP, TCP_KEEPCNT, count)
        )

    cdef bint set_option(self, int level, int option, int value) noexcept:
        return setsockopt(self.fd, level, option, &value, sizeof(value)) == 0

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
        count = recv(self.fd, place, size, 0)
        if count > 0:
            self.deliver(place, count)
        elif count == 0:
            self.end_reading()
        elif errno != EAGAIN and errno != EINTR:
            self.lose(OSError(errno, os.strerror(errno)))
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
        # The peer gets no more of us. Not every error is one that `recv` sees too (ENOBUFS): here
        # it sees the end of the stream, behind what has come already.
        shutdown(self.fd, SHUT_RDWR)
        return -1

    cdef int end_writing(self) except -1:
        shutdown(self.fd, SHUT_WR)
        return 0

    cdef int drop(self) except -1:
        cdef EpollEngine engine = <EpollEngine>self.engine
        if self.fd >= 0:
            close_descriptor(self.fd)       # which takes it out of the epoll
            self.fd = -1
            engine.forget(<void*>self)
            Py_DECREF(self)
        return 0

    cpdef object reset(self):
        cdef linger_option option
        option.l_onoff = 1
        option.l_linger = 0
        if self.fd >= 0:
            setsockopt(self.fd, SOL_SOCKET, SO_LINGER, &option, sizeof(option))
        self.lose(None)

    def claim_address(self, str host, int port):
        memset(self.address, 0, ADDRESS_SIZE)
        if host:
            write_address(self.address, host, port)

    cdef uint16_t find_own_address(self, uint8_t* address) noexcept:
        """Find the struct sockaddr of our end, OWN_ADDRESS_SIZE bytes, and give its family; 0 where
        there is none any more."""
        cdef socklen_t size = OWN_ADDRESS_SIZE
        cdef uint16_t family = 0
        memset(address, 0, OWN_ADDRESS_SIZE)
        if self.fd >= 0 and getsockname(self.fd, <sockaddr*>address, &size) == 0:
            memcpy(&family, address, 2)
        return family

    @property
    def remote_address(self):
        return as_address(self.address)

    @property
    def local_address(self):
        cdef uint8_t address[OWN_ADDRESS_SIZE]
        cdef uint16_t family = self.find_own_address(address)
        if not family:
            return None
        if family == AF_UNIX:
            return (<const char*>address + 2).decode("utf-8", "surrogateescape")
        return as_address(address)

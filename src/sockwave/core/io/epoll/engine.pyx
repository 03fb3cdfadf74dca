"""The epoll engine: accepts connections, and passes events to their transports."""

import os

from cpython.ref cimport Py_INCREF
from libc.errno cimport EAGAIN, ECONNABORTED, EINTR, ENOMEM, errno
from libc.stdint cimport uintptr_t
from libc.string cimport memset

from sockwave.core.io.epoll.socket cimport ADDRESS_SIZE, IS_WATCHED, EpollSocket
from sockwave.core.io.endings cimport end_stream
from sockwave.core.io.epoll.system cimport (
    POLL_READ, SOCK_CLOEXEC, SOCK_NONBLOCK, accept4, close_descriptor, poller_remove,
    sockaddr, socklen_t,
)

cdef enum:
    # Set in the pointer to a Listener in the table of places; the addresses of objects are even.
    LISTENER_TAG = 1

# For how long connections are accepted in a row. In a flood, where each new one is closed to make
# room for the next, all ACCEPT_COUNT would take ten times that, in which all other clients wait.
cdef double ACCEPT_S = 0.25e-3


cdef class Listener:
    """A listening socket."""

    def __cinit__(self, socket_, make=None):
        self.socket = socket_
        self.make = make
        self.fd = socket_.fileno()


cdef void* place_of(Listener listener) noexcept:
    """Return the entry of a listening socket in the table of places."""
    return <void*>(<uintptr_t><void*>listener | LISTENER_TAG)


cdef class EpollEngine(Poller):
    """Accepts connections, and serves them by an epoll."""

    def __cinit__(self):
        self.listeners = {}

    cdef bint serve_sole(self) except -1:
        # A client with one connection: what has happened can only be that it can be read, or has
        # failed, which a try to read tells as well.
        cdef void* who = self.find_sole()
        cdef EpollSocket peer
        if who is NULL or <uintptr_t>who & LISTENER_TAG:
            return False
        peer = <EpollSocket>who
        if peer.interest != (POLL_READ | IS_WATCHED):
            return False
        self.serve_one(who, POLL_READ)
        return True

    cdef int serve_event(self, void* who, uint32_t events) except -1:
        cdef EpollSocket peer
        try:
            if <uintptr_t>who & LISTENER_TAG:
                self.accept(<Listener><void*>(<uintptr_t>who - LISTENER_TAG))
            else:
                peer = <EpollSocket>who     # a reference: it may end in its own turn
                self.serve_peer(peer, events)
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException as error:
            self.tell(error, None)
        return 0

    cdef int serve_peer(self, EpollSocket peer, uint32_t events) except -1:
        try:
            peer.ready(events)
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException as error:
            peer.close_and_report(error)
        return 0

    async def listen(self, socket_, make=None):
        """Accept connections on a listening socket; `make` makes their transports, None: plain
        ones."""
        cdef Listener listener = Listener(socket_, make)
        if self.enter(listener.fd, place_of(listener)) < 0:
            raise MemoryError
        self.listeners[listener.fd] = listener
        if self.add(listener.fd, POLL_READ) < 0:
            raise OSError(errno, os.strerror(errno))

    def accept_again(self, Listener listener):
        """Accept again after a pause, and try it at once, to know whether it is possible."""
        listener.is_paused = False
        if self.listeners.get(listener.fd) is listener:
            if self.add(listener.fd, POLL_READ) < 0:
                self.pause_accepting(listener, errno)
            else:
                self.accept(listener)

    def stop_listening(self):
        """Close the listening sockets."""
        for listener in self.listeners.values():
            poller_remove(self.poller, (<Listener>listener).fd)
            self.leave((<Listener>listener).fd, place_of(listener))
            listener.socket.close()
        self.listeners = {}

    cdef int accept(self, Listener listener) except -1:
        cdef uint8_t address[ADDRESS_SIZE]
        cdef socklen_t size
        cdef int _attempt, fd
        cdef double now = self.clock()
        cdef double end = now + ACCEPT_S
        for _attempt in range(ACCEPT_COUNT):
            if now > end:
                return 0
            if listener.fd not in self.listeners or listener.is_paused:
                return 0            # a listener of the application has closed the server
            size = sizeof(address)
            memset(address, 0, ADDRESS_SIZE)
            fd = accept4(listener.fd, <sockaddr*>address, &size, SOCK_NONBLOCK | SOCK_CLOEXEC)
            if fd >= 0:
                self.welcome_socket(fd, listener, address, now)
                now = self.clock()
            elif errno == EAGAIN:
                # To find that no client waits, the kernel has needed a descriptor.
                return self.accept_pause.can_accept()
            elif errno != ECONNABORTED and errno != EINTR:
                return self.pause_accepting(listener, errno)
        return 0

    cdef int welcome_socket(
        self, int fd, Listener listener, const uint8_t* address, double now
    ) except -1:
        cdef EpollSocket peer
        try:
            if listener.make is None:
                peer = EpollSocket.__new__(EpollSocket)
            else:
                peer = listener.make()
        except BaseException:
            end_stream(fd)
            close_descriptor(fd)
            raise
        peer.engine = self
        peer.fd = fd
        peer.keep_address(address)
        peer.interest = POLL_READ
        self.accept_pause.can_accept()
        if self.enter(fd, <void*>peer) < 0:
            end_stream(fd)
            return self.pause_accepting(listener, ENOMEM)
        Py_INCREF(peer)             # the table's reference, until `close_socket`
        try:
            self.admit(peer, now)
            # Most clients have sent their request by now: a try to read costs less than an event.
            # If the socket were in the epoll already, that would report an event for bytes that
            # have just been read.
            self.serve_peer(peer, POLL_READ)
        finally:
            self.watch_peer(peer, listener)
        return 0

    async def carry(self, socket_, EpollSocket peer):
        """Have a new transport carry the bytes of a socket that is connected, and own its
        descriptor from now on. Raises OSError."""
        self.take_in(socket_, peer)

    cdef int take_in(self, object socket_, EpollSocket peer) except -1:
        cdef double now = self.clock()
        cdef int error, fd
        address = socket_.getpeername()
        if isinstance(address, tuple):
            peer.claim_address(address[0].partition("%")[0], address[1])
        fd = socket_.fileno()
        try:
            socket_.detach()
        except BaseException:
            # The handler of a signal may raise in any Python code, such as the end of `detach`.
            if socket_.fileno() < 0:
                close_descriptor(fd)
            raise
        # From here until it is admitted no Python code runs: a transport that has a place, but no
        # cork, could not be closed.
        if self.enter(fd, <void*>peer) < 0:
            close_descriptor(fd)
            raise MemoryError
        peer.engine = self
        peer.interest = POLL_READ
        peer.fd = fd
        Py_INCREF(peer)             # as in `welcome_socket`
        self.admit(peer, now)
        if peer.fd >= 0 and self.add(peer.fd, peer.interest) < 0:
            error = errno
            peer.close_with(None)
            raise OSError(error, os.strerror(error))
        peer.interest |= IS_WATCHED
        return 0

    cdef int watch_peer(self, EpollSocket peer, Listener listener) except -1:
        cdef int error
        if peer.fd < 0:
            return 0
        if self.add(peer.fd, peer.interest) < 0:
            error = errno
            peer.close_with(OSError(error, os.strerror(error)))
            return self.pause_accepting(listener, error)
        peer.interest |= IS_WATCHED
        return 0

    cdef int pause_accepting(self, Listener listener, int error) except -1:
        # Without descriptors the listening socket stays readable: the loop would spin on it. The
        # step that may fail for want of memory comes first: then the socket is still watched.
        self.accept_pause.begin(os.strerror(error), self.accept_again, listener)
        listener.is_paused = True
        poller_remove(self.poller, listener.fd)
        return 0

    cdef int abandon_one(self, void* who) except -1:
        if <uintptr_t>who & LISTENER_TAG:
            (<Listener><void*>(<uintptr_t>who - LISTENER_TAG)).socket.close()
        else:
            (<EpollSocket>who).abandon()
        return 0

    def abandon(self):
        """As in every engine; the listening sockets are closed, too."""
        super().abandon()
        self.listeners = {}

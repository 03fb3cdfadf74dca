"""The epoll engine: accepts connections, and passes events to their transports."""

from libc.stdint cimport uint8_t, uint32_t

from sockwave.core.io.epoll.socket cimport EpollSocket
from sockwave.core.io.epoll.poller cimport Poller

cdef enum:
    ACCEPT_COUNT = 64           # connections accepted in a row, if it takes at most ACCEPT_S

cdef class Listener:
    """A listening socket."""
    cdef readonly object socket
    cdef int fd
    cdef bint is_paused             # for want of descriptors or memory
    cdef object make            # makes the transport of a connection; None: an EpollSocket

cdef class EpollEngine(Poller):
    """Accepts connections, and serves them by an epoll."""
    cdef dict listeners                 # fd → Listener

    cdef int serve_peer(self, EpollSocket peer, uint32_t events) except -1
    cdef int accept(self, Listener listener) except -1
    cdef int welcome_socket(
        self, int fd, Listener listener, const uint8_t* address, double now
    ) except -1
    cdef int take_in(self, object socket_, EpollSocket peer) except -1
    cdef int watch_peer(self, EpollSocket peer, Listener listener) except -1
    cdef int pause_accepting(self, Listener listener, int error) except -1

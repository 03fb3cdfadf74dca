"""A socket of the epoll engine that knows when its bytes have come."""

from sockwave.core.io.arrival cimport Arrival
from sockwave.core.io.epoll.socket cimport EpollSocket

cdef extern from "stamp.h" nogil:
    ssize_t receive_stamped(int fd, void* place, size_t size, double* at_s)

cdef class StampedSocket(EpollSocket):
    """A TCP socket in the engine's epoll, with the kernel's times of what it receives."""
    cdef readonly Arrival arrival

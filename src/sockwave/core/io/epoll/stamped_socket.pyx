"""A socket of the epoll engine that knows when its bytes have come: SO_TIMESTAMPNS of Linux."""

from libc.stdint cimport uint8_t

cdef extern from "stamp.h" nogil:
    int ask_for_stamps(int fd)


def stamp(int fd):
    """Have the kernel note when bytes come for a socket; return whether it does."""
    return ask_for_stamps(fd) == 0


cdef class StampedSocket(EpollSocket):
    """A TCP socket in the engine's epoll, with the kernel's times of what it receives."""

    def __cinit__(self):
        self.arrival = Arrival()

    cdef ssize_t take(self, uint8_t* place, size_t size) noexcept:
        return receive_stamped(self.fd, place, size, &self.arrival.at_s)

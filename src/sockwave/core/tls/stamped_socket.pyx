"""A socket of the epoll engine that speaks TLS, and knows when its bytes have come."""

from libc.stdint cimport uint8_t

from sockwave.core.io.epoll.stamped_socket cimport receive_stamped


cdef class StampedTlsSocket(TlsSocket):
    """A TCP socket in the engine's epoll with TLS, and the kernel's times of what it receives."""

    def __cinit__(self, *_):
        self.arrival = Arrival()

    cdef ssize_t take(self, uint8_t* place, size_t size) noexcept:
        return receive_stamped(self.fd, place, size, &self.arrival.at_s)

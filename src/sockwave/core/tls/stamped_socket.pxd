"""A socket of the epoll engine that speaks TLS, and knows when its bytes have come."""

from sockwave.core.io.arrival cimport Arrival
from sockwave.core.tls.epoll_socket cimport TlsSocket

cdef class StampedTlsSocket(TlsSocket):
    """A TCP socket in the engine's epoll with TLS, and the kernel's times of what it receives."""
    cdef readonly Arrival arrival

"""A socket of the epoll engine that speaks TLS."""

from sockwave.core.io.epoll.socket cimport EpollSocket
from sockwave.core.tls.tls cimport Tls

cdef class TlsSocket(EpollSocket):
    """A TCP or Unix socket in the engine's epoll, with TLS on it."""
    cdef Tls tls

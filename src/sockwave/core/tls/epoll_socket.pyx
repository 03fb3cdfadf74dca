"""A socket of the epoll engine that speaks TLS."""

import os

from libc.errno cimport EAGAIN, EINTR, errno
from libc.stdint cimport uint8_t

from sockwave.core.io.engine cimport READ_SIZE
from sockwave.core.io.transport cimport Lingering
from sockwave.core.io.writer cimport Vector


cdef class TlsSocket(EpollSocket):
    """A TCP or Unix socket in the engine's epoll, with TLS on it."""

    def __cinit__(self, Tls tls):
        self.tls = tls
        self.is_secure = True

    cdef int readable(self) except -1:
        cdef uint8_t* place = self.tls.records.received
        cdef ssize_t count = self.take(place, READ_SIZE)
        if count > 0:
            self.tls.receive(self, place, count)
        elif count == 0:
            self.tls.end_of_stream(self)
        elif errno != EAGAIN and errno != EINTR:
            self.close_with(OSError(errno, os.strerror(errno)))
        return 0

    cdef Py_ssize_t put(self, const Vector* vectors, int count) noexcept:
        if self.fd < 0:
            return -1
        return self.tls.put(self, vectors, count)

    cdef Py_ssize_t transmit(self, const uint8_t* data, size_t size) noexcept:
        cdef Vector vector
        vector.base = <void*>data
        vector.size = size
        return EpollSocket.put(self, &vector, 1)

    cdef int run_ready(self) except -1:
        if not self.tls.flush(self):
            return 0
        if self.is_finished:
            return EpollSocket.send_fin(self)
        return EpollSocket.run_ready(self)

    cdef bint is_flushed(self) noexcept:
        return self.backlog.count == 0 and self.tls.unsent is None

    cdef int shut_down(self, Lingering lingering) except -1:
        return self.tls.shut_down(self, lingering)

    cdef int send_fin(self) except -1:
        # Otherwise `run_ready` sends the FIN when the close_notify has left.
        return EpollSocket.send_fin(self) if self.tls.send_close_notify(self) else 0

    cdef int close_socket(self) except -1:
        if self.fd >= 0:
            # The stream ended in order, on one side at least.
            if self.is_finished or self.has_ended:
                self.tls.send_close_notify(self)
            EpollSocket.close_socket(self)
            self.tls.release()
        return 0

    @property
    def tls_info(self):
        return self.tls.tls_info

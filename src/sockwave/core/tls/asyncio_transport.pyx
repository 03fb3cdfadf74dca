"""A transport on top of asyncio's that speaks TLS, by the same code as in the epoll engine.

asyncio's own TLS is not used: it keeps 256 KiB for each connection, does not report a stream that
was cut off, and its handshake timeout would come on top of the one for the opening request.
"""

import asyncio

from cpython.buffer cimport PyBUF_WRITE
from cpython.bytes cimport PyBytes_FromStringAndSize
from cpython.memoryview cimport PyMemoryView_FromMemory
from libc.stdint cimport uint8_t

from sockwave.core.io.engine cimport READ_SIZE
from sockwave.core.io.transport cimport Lingering
from sockwave.core.io.turn_budget cimport refill_messages
from sockwave.core.tls.tls cimport Tls
from sockwave.core.io.asyncio.transport cimport AsyncioTransport
from sockwave.core.io.writer cimport Vector


cdef class TlsTransport(AsyncioTransport):
    """A client behind an asyncio transport, with TLS on it."""

    cdef Tls tls

    def __cinit__(self, engine, Tls tls):
        self.tls = tls
        self.is_secure = True

    def get_buffer(self, size_hint):
        return PyMemoryView_FromMemory(<char*>self.tls.records.received, READ_SIZE, PyBUF_WRITE)

    def buffer_updated(self, size_t size):
        refill_messages(&self.engine.budget)
        if not self.is_lost:
            self.tls.receive(self, self.tls.records.received, size)

    def eof_received(self):
        self.tls.end_of_stream(self)
        return True

    cdef Py_ssize_t put(self, const Vector* vectors, int count) noexcept:
        if self.is_lost:
            return -1
        return self.tls.put(self, vectors, count)

    cdef Py_ssize_t transmit(self, const uint8_t* data, size_t size) noexcept:
        if self.transport.is_closing():
            return -1
        if self.is_write_paused:
            return 0
        self.transport.write(PyBytes_FromStringAndSize(<const char*>data, size))
        return size

    cdef int run_ready(self) except -1:
        if self.is_lost or not self.tls.flush(self):
            return 0
        if self.is_finished:
            return AsyncioTransport.send_fin(self)
        return AsyncioTransport.run_ready(self)

    cdef bint is_flushed(self) noexcept:
        return self.tls.unsent is None and AsyncioTransport.is_flushed(self)

    cdef int shut_down(self, Lingering lingering) except -1:
        return self.tls.shut_down(self, lingering)

    cdef int send_fin(self) except -1:
        # Otherwise `run_ready` sends the FIN when the close_notify has left.
        return AsyncioTransport.send_fin(self) if self.tls.send_close_notify(self) else 0

    cdef int close_socket(self) except -1:
        # The stream ended in order, on one side at least.
        if self.is_finished or self.has_ended:
            self.tls.send_close_notify(self)
            # `close` alone sends no FIN while a child process has a copy of the descriptor.
            AsyncioTransport.send_fin(self)
            self.transport.close()      # asyncio closes the socket once all has been sent
        else:
            AsyncioTransport.close_socket(self)
        return self.tls.release()

    @property
    def tls_info(self):
        return self.tls.tls_info


class TlsProtocol(TlsTransport, asyncio.BufferedProtocol):
    """The class that asyncio's transport accepts as its protocol, like `TransportProtocol`."""

    __slots__ = ()

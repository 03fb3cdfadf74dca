"""A transport of asyncio's that carries TLS, which is driven here as in the epoll engine.

asyncio's own TLS would serve too, but keeps 256 KiB for each connection, tells nobody of a stream
that was cut off, and begins to count its time where the opening request ends to count.
"""

import asyncio

from cpython.buffer cimport PyBUF_WRITE
from cpython.bytes cimport PyBytes_FromStringAndSize
from cpython.memoryview cimport PyMemoryView_FromMemory
from libc.stdint cimport uint8_t

from sockwave.core.io.engine cimport READ_SIZE, TURN_MESSAGE_COUNT
from sockwave.core.tls.tls cimport Tls
from sockwave.core.io.asyncio.transport cimport TransportCarrier
from sockwave.core.io.writer cimport Vector


cdef class TlsTransport(TransportCarrier):
    """A peer behind an asyncio transport, with TLS on it."""

    cdef Tls guard

    def __cinit__(self, engine, Tls guard):
        self.guard = guard
        self.is_secure = True

    def get_buffer(self, size_hint):
        return PyMemoryView_FromMemory(<char*>self.guard.records.received, READ_SIZE, PyBUF_WRITE)

    def buffer_updated(self, size_t size):
        self.engine.budget = TURN_MESSAGE_COUNT
        if not self.is_lost:
            self.guard.receive(self, self.guard.records.received, size)

    def eof_received(self):
        self.guard.end_of_stream(self)
        return True

    cdef Py_ssize_t put(self, const Vector* vectors, int count) noexcept:
        if self.is_lost:
            return -1
        return self.guard.put(self, vectors, count)

    cdef Py_ssize_t transmit(self, const uint8_t* data, size_t size) noexcept:
        if self.transport.is_closing():
            return -1
        if self.is_write_paused:
            return 0
        self.transport.write(PyBytes_FromStringAndSize(<const char*>data, size))
        return size

    cdef int run_ready(self) except -1:
        if self.is_lost or not self.guard.is_clear(self):
            return 0
        if self.is_finished:
            return TransportCarrier.end_writing(self)
        return TransportCarrier.run_ready(self)

    cdef bint is_flushed(self) noexcept:
        return self.guard.unsent is None and TransportCarrier.is_flushed(self)

    cdef int finish(self, bint linger) except -1:
        return self.guard.finish(self, linger)

    cdef int end_writing(self) except -1:
        # Else the FIN follows when the close_notify has left.
        return TransportCarrier.end_writing(self) if self.guard.notify(self) else 0

    cdef int drop(self) except -1:
        if self.is_finished or self.has_ended:      # in order, on one side at least
            self.guard.notify(self)
            TransportCarrier.end_writing(self)      # as `close` ends nothing that others hold
            self.transport.close()      # once the transport has sent that
        else:
            TransportCarrier.drop(self)
        return self.guard.release()

    @property
    def security(self):
        return self.guard.security


class TlsProtocol(TlsTransport, asyncio.BufferedProtocol):
    """What a transport takes for its protocol, as `transport.TransportProtocol`."""

    __slots__ = ()

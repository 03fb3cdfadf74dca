"""TLS between a transport and the protocol's bytes."""

from libc.stdint cimport uint8_t

from sockwave.core.io.transport cimport Lingering, Transport
from sockwave.core.tls.session cimport TlsSession
from sockwave.core.io.writer cimport Vector

cdef enum:
    # The most bytes of TLS's own answers (alerts, key updates) that wait for a client that does not
    # read them. Beyond it the connection ends.
    MAX_UNSENT_SIZE = 262144

cdef class Tls(TlsSession):
    """One connection's TLS. `transport` is always the transport that it belongs to."""
    cdef bytes unsent           # encrypted, but not yet taken by the transport; None: nothing
    cdef size_t unsent_start

    # Send what was encrypted since `mark`, a position in the wire's output. The portable path and
    # the direct path do it in different ways.
    cdef int forward(self, Transport transport, size_t mark) except -1

    # What a transport calls:
    cdef int receive(self, Transport transport, const uint8_t* data, size_t size) except -1
    cdef int end_of_stream(self, Transport transport) except -1
    cdef Py_ssize_t put(self, Transport transport, const Vector* vectors, int count) noexcept
    cdef bint flush(self, Transport transport) except -1
    cdef int shut_down(self, Transport transport, Lingering lingering) except -1
    cdef bint send_close_notify(self, Transport transport) except -1

    cdef int receive_proxy_header(
        self, Transport transport, const uint8_t* data, size_t size
    ) except -1
    cdef bint advance_handshake(self, Transport transport) except -1
    cdef int read_records(self, Transport transport) except -1
    cdef bint send_unsent(self, Transport transport) except -1
    cdef int send(self, Transport transport, const uint8_t* data, size_t size) except -1
    cdef int fail(self, Transport transport, object error, size_t mark) except -1

"""TLS between a carrier and its bytes."""

from libc.stdint cimport uint8_t

from sockwave.core.io.transport cimport Carrier
from sockwave.core.tls.session cimport Sealer
from sockwave.core.io.writer cimport Vector

cdef enum:
    # What our own TLS layer may answer to a peer that does not read it: alerts, key updates.
    MAX_UNSENT_SIZE = 262144

cdef class Tls(Sealer):
    """One connection's TLS. `line` is always the carrier that it belongs to."""
    cdef bytes unsent           # sealed, but not yet taken by the carrier; None: nothing
    cdef size_t unsent_start

    # Of what is sealed, what begins at `mark` in the wire is sent; each path has its way.
    cdef int forward(self, Carrier line, size_t mark) except -1

    # What a carrier calls:
    cdef int receive(self, Carrier line, const uint8_t* data, size_t size) except -1
    cdef int receive_preamble(self, Carrier line, const uint8_t* data, size_t size) except -1
    cdef int end_of_stream(self, Carrier line) except -1
    cdef Py_ssize_t put(self, Carrier line, const Vector* vectors, int count) noexcept
    cdef bint is_clear(self, Carrier line) except -1
    cdef int finish(self, Carrier line, bint linger) except -1
    cdef bint notify(self, Carrier line) except -1

    cdef bint open(self, Carrier line) except -1
    cdef int read_records(self, Carrier line) except -1
    cdef bint send_unsent(self, Carrier line) except -1
    cdef int send(self, Carrier line, const uint8_t* data, size_t size) except -1
    cdef int fail(self, Carrier line, object error, size_t mark) except -1

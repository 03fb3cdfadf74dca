"""A TLS session, with OpenSSL's memory in place of a socket: what is sealed and unsealed."""

from libc.stdint cimport uint8_t

from sockwave.core.io.writer cimport Vector

cdef extern from "wire.h" nogil:
    ctypedef struct Wire:
        const uint8_t* input
        size_t input_size
        uint8_t* output
        size_t output_size
        size_t output_capacity

cdef enum:
    RECORD_SIZE = 16384         # RFC 8446, 5.1: the most that one record carries
    # Sealed before the transport is asked whether it takes any: so much may wait beside the backlog.
    CHUNK_SIZE = 65536

cdef class Records:
    """Buffers that the TLS connections of a listener share."""
    cdef Wire wire
    cdef uint8_t* received      # READ_SIZE bytes, as they came from the socket
    cdef uint8_t* gathered      # RECORD_SIZE bytes: small pieces on their way into one record

cdef class TlsSession:
    """One connection's TLS session."""
    cdef object context         # the user's ssl.SSLContext
    cdef object ssl_object           # the ssl.SSLObject, from the first byte of the peer on
    cdef object incoming, outgoing      # its MemoryBIOs, on the portable path
    cdef Records records
    cdef object facts           # those of the session, as of its end
    cdef bint is_established    # the handshake is over
    cdef bint is_notified       # our close_notify is sent
    cdef bint awaits_peer       # nothing can be sealed before something has come
    cdef bint is_client         # who speaks first; of a server's, always false

    # What the portable path and the direct one do each in their way:
    cdef int begin(self) except -1
    cdef int feed(self, const uint8_t* data, size_t size) except -1
    cdef int shake_hands(self) except -1        # raises SSLWantReadError
    cdef bint may_have_more(self) except -1
    # Of one record, its size; 0: none is whole; -1: the peer's close_notify
    cdef Py_ssize_t unseal(self, uint8_t* place, size_t size) except -2
    cdef Py_ssize_t seal(self, const uint8_t* data, size_t size) except -2     # 0: awaits_peer
    cdef int unwrap(self) except -1

    # What is asked of it:
    cdef Py_ssize_t read_into(self, uint8_t* place, size_t size, size_t* filled) except -2
    cdef Py_ssize_t seal_chunk(
        self, const Vector* vectors, int count, int* at, size_t* offset
    ) except -2
    cdef size_t gather(self, const Vector* vectors, int count, int at, size_t offset) noexcept
    cdef int release(self) except -1

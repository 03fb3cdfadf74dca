"""A TLS session that encrypts and decrypts in memory, without a socket."""

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
    # The most that is encrypted before the transport is asked to send it. If it cannot, this much
    # waits in `Tls.unsent`, beside the backlog.
    CHUNK_SIZE = 65536

cdef class Records:
    """Buffers that the TLS connections of a listener share."""
    cdef Wire wire
    cdef uint8_t* received      # READ_SIZE bytes, as they came from the socket
    cdef uint8_t* gathered      # RECORD_SIZE bytes: small pieces, copied together for one record

cdef class TlsSession:
    """One connection's TLS session."""
    cdef object context         # the application's ssl.SSLContext
    cdef object ssl_object      # the ssl.SSLObject; None before the client's first byte
    cdef object incoming, outgoing      # its MemoryBIOs, on the portable path
    cdef Records records
    cdef object info            # the TLSInfo, once it has been asked for or the session has ended
    cdef bint is_established    # the handshake is over
    cdef bint sent_close_notify
    cdef bint awaits_peer       # nothing can be encrypted before more has been received

    # True, and None; a client's session overrides both.
    cdef bint is_server_side(self) noexcept
    cdef object server_name(self)       # what a client calls the server

    # What the portable path and the direct path do in different ways:
    cdef int begin(self) except -1
    cdef int feed(self, const uint8_t* data, size_t size) except -1     # received bytes
    cdef int do_handshake(self) except -1       # raises SSLWantReadError: more has to come first
    cdef bint may_have_more(self) except -1
    # Decrypts one record, or a part of one: bytes written; 0: no record is whole; -1: the peer has
    # sent its close_notify.
    cdef Py_ssize_t decrypt(self, uint8_t* place, size_t size) except -2
    cdef Py_ssize_t encrypt(self, const uint8_t* data, size_t size) except -2   # 0: awaits_peer
    cdef int unwrap(self) except -1             # make our close_notify
    cdef bytes own_certificate(self)    # that the peer was shown, in DER; None: it is not known

    # What `Tls` and the load generator call:
    cdef Py_ssize_t read_into(self, uint8_t* place, size_t size, size_t* filled) except -2
    cdef Py_ssize_t encrypt_chunk(
        self, const Vector* vectors, int count, int* at, size_t* offset
    ) except -2
    cdef size_t gather(self, const Vector* vectors, int count, int at, size_t offset) noexcept
    cdef int release(self) except -1

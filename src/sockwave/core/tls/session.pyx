"""A TLS session that encrypts and decrypts in memory, without a socket: RFC 8446 and RFC 5246.

This is the portable path, by the ssl module's `SSLObject` and `MemoryBIO`. `openssl` has the direct
path.
"""

import ssl

from cpython.buffer cimport PyBUF_READ, PyBUF_WRITE
from cpython.memoryview cimport PyMemoryView_FromMemory
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy

from sockwave.core.io.engine cimport READ_SIZE

from sockwave.tls_info import read_session


cdef class Records:
    """Buffers that the TLS connections of a listener share."""

    def __cinit__(self):
        self.received = <uint8_t*>malloc(READ_SIZE)
        self.gathered = <uint8_t*>malloc(RECORD_SIZE)
        if self.received is NULL or self.gathered is NULL:
            raise MemoryError

    def __dealloc__(self):
        free(self.received)
        free(self.gathered)
        free(self.wire.output)


cdef class TlsSession:
    """One connection's TLS session."""

    def __cinit__(self, context, Records records):
        self.context = context
        self.records = records

    cdef bint is_server_side(self) noexcept:
        return True

    cdef object server_name(self):
        return None

    @property
    def tls_info(self):
        """The TLSInfo of the session, once it is established; None until then."""
        if self.info is None and self.is_established and self.ssl_object is not None:
            try:
                self.info = read_session(self.ssl_object, self.own_certificate())
            except ValueError:
                pass        # OpenSSL no longer answers for a session that has failed
        return self.info

    cdef int begin(self) except -1:
        self.incoming = ssl.MemoryBIO()
        self.outgoing = ssl.MemoryBIO()
        self.ssl_object = self.context.wrap_bio(
            self.incoming, self.outgoing, server_side=self.is_server_side(),
            server_hostname=self.server_name(),
        )
        return 0

    cdef int feed(self, const uint8_t* data, size_t size) except -1:
        self.incoming.write(PyMemoryView_FromMemory(<char*>data, size, PyBUF_READ))
        return 0

    cdef int do_handshake(self) except -1:
        self.ssl_object.do_handshake()
        return 0

    cdef bint may_have_more(self) except -1:
        return self.incoming.pending or self.ssl_object.pending()

    cdef Py_ssize_t decrypt(self, uint8_t* place, size_t size) except -2:
        cdef Py_ssize_t count = -1
        try:
            # The ssl module returns 0 bytes at the peer's close_notify.
            count = self.ssl_object.read(
                size, PyMemoryView_FromMemory(<char*>place, size, PyBUF_WRITE)
            ) or -1
        except ssl.SSLWantReadError:
            count = 0
        except ssl.SSLZeroReturnError:
            pass
        return count

    cdef Py_ssize_t encrypt(self, const uint8_t* data, size_t size) except -2:
        cdef Py_ssize_t taken = 0
        try:
            taken = self.ssl_object.write(PyMemoryView_FromMemory(<char*>data, size, PyBUF_READ))
        except ssl.SSLWantReadError:
            self.awaits_peer = True
        return taken

    cdef int unwrap(self) except -1:
        # The client may still be sending. What has come is dropped, as what will come is: if
        # OpenSSL met it while it looks for the client's close_notify, it would fail the session
        # ("application data after close notify"), and the transport would end without lingering.
        try:
            while self.may_have_more() and self.ssl_object.read(RECORD_SIZE):
                pass
        except Exception:
            pass        # SSLWantReadError: all is read. Or the session has failed, as below.
        try:
            self.ssl_object.unwrap()
        except Exception:
            # SSLWantReadError: it asks for the peer's close_notify, which we do not wait for. Or
            # the session has failed, and OpenSSL can send nothing more.
            pass
        return 0

    cdef bytes own_certificate(self):
        return None     # the ssl module does not tell

    cdef Py_ssize_t read_into(self, uint8_t* place, size_t size, size_t* filled) except -2:
        """Decrypt as many records as there are and fit, and set `filled`. Returns more than 0 when
        there may be more; 0 or -1 as `decrypt` does."""
        cdef Py_ssize_t count = 1
        while filled[0] < size:
            count = self.decrypt(place + filled[0], size - filled[0])
            if count <= 0:
                return count
            filled[0] += count
            if not self.may_have_more():
                return 0
        return count

    cdef Py_ssize_t encrypt_chunk(
        self, const Vector* vectors, int count, int* at, size_t* offset
    ) except -2:
        """Encrypt the next CHUNK_SIZE bytes or so, in records as full as possible, and move `at`
        and `offset` behind them. Returns how many bytes that were."""
        cdef Py_ssize_t encrypted_size = 0
        cdef Py_ssize_t done
        cdef size_t size
        while at[0] < count and encrypted_size < CHUNK_SIZE:
            size = vectors[at[0]].size - offset[0]
            if size < RECORD_SIZE and at[0] + 1 < count:
                size = self.gather(vectors, count, at[0], offset[0])
                done = self.encrypt(self.records.gathered, size)
            else:
                done = self.encrypt(<const uint8_t*>vectors[at[0]].base + offset[0], size)
            if done <= 0:
                break
            encrypted_size += done
            offset[0] += done
            while at[0] < count and offset[0] >= vectors[at[0]].size:
                offset[0] -= vectors[at[0]].size
                at[0] += 1
        return encrypted_size

    cdef size_t gather(self, const Vector* vectors, int count, int at, size_t offset) noexcept:
        """Copy the next pieces into `gathered`, as many bytes as fit into one record."""
        cdef size_t used = 0
        cdef size_t size
        while at < count and used < RECORD_SIZE:
            size = min(vectors[at].size - offset, RECORD_SIZE - used)
            memcpy(self.records.gathered + used, <const uint8_t*>vectors[at].base + offset, size)
            used += size
            offset = 0
            at += 1
        return used

    cdef int release(self) except -1:
        """Free OpenSSL's session; `tls_info` stays."""
        _info = self.tls_info       # read now, as that needs the session
        self.ssl_object = self.incoming = self.outgoing = None
        return 0

"""TLS by OpenSSL's own functions, called on the SSL that the ssl module has made.

The functions are looked up at run time in the same library that the ssl module uses. OpenSSL itself
tells us the SSL while the ssl module makes it, so that no layout of a Python object is guessed.
Where anything is not as expected, the portable path (`session`) is used.
"""

import _ssl
import ssl

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from cpython.object cimport PyObject
from libc.stdint cimport uint8_t

from sockwave.core.io.transport cimport Transport
from sockwave.core.tls.session cimport Wire

cdef extern from "openssl.h" nogil:
    enum: OPENSSL_WANT_READ, OPENSSL_ZERO_RETURN
    int openssl_load(const char* path, const char* version)
    void openssl_capture(void** place)
    void* openssl_replace_bio(void* session)
    int openssl_own_certificate(const void* session, uint8_t* place)
    void openssl_attach(void* bio, Wire* wire)
    int openssl_read(void* session, void* bio, Wire* wire, void* data, int size)
    int openssl_write(void* session, void* bio, Wire* wire, const void* data, int size)
    int openssl_explain(void* session, int result, unsigned long* error)
    const char* openssl_reason "openssl.ERR_reason_error_string" (unsigned long error)
    bint openssl_has_pending "openssl.SSL_has_pending" (const void* session)
    int openssl_is_server "openssl.SSL_is_server" (const void* session)
    void* openssl_owner "openssl.SSL_get_ex_data" (const void* session, int index)

cdef enum:
    MAX_READ_SIZE = 1 << 30     # OpenSSL takes sizes as int


cdef void* ssl_of(
    object context, object incoming, object outgoing, bint is_server_side, object server_name,
    list made,
) except? NULL:
    """Let the ssl module make an SSLObject, which is appended to `made`. Returns the SSL in it, or
    NULL if it is not certain which that is."""
    cdef void* captured = NULL
    openssl_capture(&captured)
    try:
        made.append(
            context.wrap_bio(
                incoming, outgoing, server_side=is_server_side, server_hostname=server_name
            )
        )
    finally:
        openssl_capture(NULL)
    # The ssl module keeps a pointer to its own object as the application data of each SSL.
    owner = getattr(made[0], "_sslobj", None)
    if captured is NULL or openssl_owner(captured, 0) != <void*><PyObject*>owner:
        return NULL
    return captured if openssl_is_server(captured) == is_server_side else NULL


cdef bint find_functions() except -1:
    """Find OpenSSL's functions, and try them on an SSL of our own; false: do not use them."""
    cdef Wire wire
    cdef void* found
    cdef void* bio
    cdef uint8_t[16] place
    cdef unsigned long error
    path = getattr(_ssl, "__file__", None)
    version = ssl.OPENSSL_VERSION.encode()
    if not version.startswith((b"OpenSSL 1.1.1", b"OpenSSL 3.")):
        return False
    if path is None:
        if openssl_load(NULL, version) < 0:
            return False
    elif openssl_load(path.encode(), version) < 0:
        return False
    made = []
    found = ssl_of(
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.MemoryBIO(), ssl.MemoryBIO(), True, None,
        made,
    )
    if found is NULL:
        return False
    bio = openssl_replace_bio(found)
    if bio is NULL:
        return False
    # Give it the first bytes of a record only: OpenSSL has to read them from the wire, and to ask
    # for more.
    wire.input = place
    wire.input_size = 3
    wire.output = NULL
    wire.output_size = wire.output_capacity = 0
    place[0], place[1], place[2] = 22, 3, 1
    result = openssl_read(found, bio, &wire, place, 16)
    return (
        result == -1 and openssl_explain(found, result, &error) == OPENSSL_WANT_READ
        and wire.input_size == 0 and wire.output_size == 0
    )


cdef bint found = find_functions()


def is_available():
    """Tell whether `DirectTls` can be used in this process."""
    return found


cdef class DirectTls(Tls):
    """TLS by OpenSSL's own functions, without the ssl module's MemoryBIO in between."""

    cdef int begin(self) except -1:
        cdef list made = []
        self.incoming = ssl.MemoryBIO()
        self.outgoing = ssl.MemoryBIO()
        self.ssl = ssl_of(
            self.context, self.incoming, self.outgoing, self.is_server_side(), self.server_name(),
            made,
        )
        self.ssl_object = made[0]
        if self.ssl is not NULL:
            self.bio = openssl_replace_bio(self.ssl)
            if self.bio is NULL:
                raise MemoryError
            self.incoming = self.outgoing = None
        return 0

    cdef int feed(self, const uint8_t* data, size_t size) except -1:
        if self.ssl is NULL:
            return Tls.feed(self, data, size)
        self.records.wire.input = data
        self.records.wire.input_size = size
        return 0

    cdef int do_handshake(self) except -1:
        if self.ssl is NULL:
            return Tls.do_handshake(self)
        openssl_attach(self.bio, &self.records.wire)
        try:
            self.ssl_object.do_handshake()
        finally:
            openssl_attach(self.bio, NULL)
        return 0

    cdef bint may_have_more(self) except -1:
        if self.ssl is NULL:
            return Tls.may_have_more(self)
        return self.records.wire.input_size or openssl_has_pending(self.ssl)

    cdef Py_ssize_t decrypt(self, uint8_t* place, size_t size) except -2:
        cdef int count
        if self.ssl is NULL:
            return Tls.decrypt(self, place, size)
        count = openssl_read(
            self.ssl, self.bio, &self.records.wire, place, min(size, <size_t>MAX_READ_SIZE)
        )
        return count if count > 0 else self.explain(count)

    cdef Py_ssize_t encrypt(self, const uint8_t* data, size_t size) except -2:
        cdef int count
        if self.ssl is NULL:
            return Tls.encrypt(self, data, size)
        count = openssl_write(
            self.ssl, self.bio, &self.records.wire, data, min(size, <size_t>MAX_READ_SIZE)
        )
        if count > 0:
            return count
        if self.explain(count) < 0:
            raise ssl.SSLZeroReturnError(OPENSSL_ZERO_RETURN, "the session has been shut down")
        self.awaits_peer = True
        return 0

    cdef int explain(self, int count) except -2:
        """Tell why a call of OpenSSL's has given nothing, as `decrypt` does, or raise the SSLError
        that the ssl module would raise, with OpenSSL's reason."""
        cdef const char* reason
        cdef unsigned long error
        cdef int result = openssl_explain(self.ssl, count, &error)
        if result == OPENSSL_WANT_READ:
            return 0
        if result == OPENSSL_ZERO_RETURN:
            return -1
        reason = openssl_reason(error)
        raise ssl.SSLError(result, "no reason given" if reason is NULL else reason.decode())

    cdef int unwrap(self) except -1:
        cdef size_t input_size = self.records.wire.input_size
        if self.ssl is NULL:
            return Tls.unwrap(self)
        self.records.wire.input_size = 0        # the input is another connection's, or too late
        openssl_attach(self.bio, &self.records.wire)
        try:
            return Tls.unwrap(self)
        finally:
            openssl_attach(self.bio, NULL)
            self.records.wire.input_size = input_size

    cdef int forward(self, Transport transport, size_t mark) except -1:
        cdef Wire* wire = &self.records.wire
        cdef size_t size
        if self.ssl is NULL:
            return Tls.forward(self, transport, mark)
        if wire.output_size > mark:
            size = wire.output_size - mark
            wire.output_size = mark
            self.send(transport, wire.output + mark, size)
        return 0

    cdef bytes own_certificate(self):
        cdef bytes made
        cdef int size = 0 if self.ssl is NULL else openssl_own_certificate(self.ssl, NULL)
        if not size:
            return None
        made = PyBytes_FromStringAndSize(NULL, size)
        openssl_own_certificate(self.ssl, <uint8_t*>PyBytes_AS_STRING(made))
        return made

    cdef int release(self) except -1:
        Tls.release(self)
        self.ssl = self.bio = NULL
        return 0

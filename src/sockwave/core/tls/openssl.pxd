"""TLS by OpenSSL's own functions, called on the SSL that the ssl module has made."""

from sockwave.core.tls.tls cimport Tls

cdef class DirectTls(Tls):
    """TLS by OpenSSL's own functions, without the ssl module's MemoryBIO in between.

    The ssl module makes and owns the SSL, does the handshake, and calls its callbacks meanwhile.
    """
    cdef void* ssl              # the SSL of `ssl_object`; NULL: this one uses the portable path
    cdef void* bio              # reads and writes the wire

    cdef int explain(self, int count) except -2

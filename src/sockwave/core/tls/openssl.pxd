"""TLS by OpenSSL's own functions, called on the SSL that the ssl module has made."""

from sockwave.core.tls.tls cimport Tls

cdef class DirectTls(Tls):
    """The same connection, without the ssl module's memory in between.

    Python keeps what it has made, and runs its callbacks during the handshake.
    """
    cdef void* ssl              # the SSL of `ssl_object`; NULL: the portable path serves after all
    cdef void* bio              # reads and writes the wire

    cdef int complain(self, int result) except -1

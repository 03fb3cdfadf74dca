"""The client's side of a TLS session, by OpenSSL's own functions."""

from sockwave.core.tls.openssl cimport DirectTls

cdef class DirectClientTls(DirectTls):
    """The client's side of a TLS session, without the ssl module's MemoryBIO in between."""
    cdef object name            # the same as in `ClientTls`
    cdef object when_established

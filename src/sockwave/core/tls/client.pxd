"""The client's side of a TLS session."""

from sockwave.core.tls.tls cimport Tls

cdef class ClientTls(Tls):
    """The client's side of a TLS session, by the ssl module."""
    cdef object name            # the server's, for SNI and the check of its certificate; or None
    cdef object when_established    # called once, without arguments, if not None

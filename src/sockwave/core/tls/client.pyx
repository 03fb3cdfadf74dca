"""The client's side of a TLS session: RFC 8446, section 4.4, and RFC 6066, section 3.

This is the portable path; `client_openssl` has the direct path.
"""

from sockwave.core.io.transport cimport Transport


cdef class ClientTls(Tls):
    """The client's side of a TLS session, by the ssl module."""

    cdef bint is_server_side(self) noexcept:
        return False

    cdef object server_name(self):
        return self.name

    def aim(self, name, when_established):
        """Set the name of the server, which is sent to it and must be its certificate's, and what
        is called when the session is established: None for neither."""
        self.name = name
        self.when_established = when_established

    def start(self, Transport transport):
        """Begin the handshake: the client speaks first."""
        self.begin()
        self.advance_handshake(transport)

    cdef bint advance_handshake(self, Transport transport) except -1:
        if not Tls.advance_handshake(self, transport):
            return False
        call, self.when_established = self.when_established, None
        if call is not None:
            call()
        return not transport.is_lost

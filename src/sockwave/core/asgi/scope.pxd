"""What an ASGI application is told of a request, or of an opening handshake: its scope."""

from sockwave.core.http.request_head cimport RequestHead

cpdef str decode_path(bytes raw_path)

cdef class ScopeTemplate:
    """What the scopes of one kind for one application have in common."""
    cdef dict common
    cdef str secure_scheme      # in place of the common one, for a client that uses TLS
    cdef dict extensions        # for HTTP/1.1
    cdef dict old_extensions    # for HTTP/1.0
    cdef str added_path         # what a proxy has taken away from each path
    cdef bytes added_raw_path
    cdef dict state             # of the application's lifespan: each scope has a copy

    cpdef dict make(
        self, RequestHead head, bint is_secure, object client, object server, bint is_debugged
    )

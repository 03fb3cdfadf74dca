"""The client's end of a connection: socket, TLS, opening handshake (Linux)."""

from libc.stdint cimport uint8_t

from sockwave.core.tls.client_openssl cimport DirectClientTls
from sockwave.core.tls.session cimport Records

cdef class Target:
    """The server that the clients of one load connect to, and their opening request."""
    cdef tuple address
    cdef int family             # AF_INET or AF_INET6
    cdef str server_name        # what the certificate must name; None: no matter
    cdef object context         # the ssl.SSLContext of a client; None: no TLS
    cdef Records records        # the buffers that the clients share
    cdef readonly bytes request     # empty: the clients upgrade to nothing
    cdef bint offers            # the request offers permessage-deflate
    # The last answer that was found right, and its extensions: the other clients compare with it.
    cdef bytes accepted_answer
    cdef str agreement

cdef class Client:
    """One connection to a target. Only `connect` blocks."""
    cdef Target target
    cdef object socket
    cdef int fd
    cdef DirectClientTls tls          # None: no TLS
    cdef bytes unsent           # encrypted, but not yet taken by the kernel; None: nothing
    cdef bytes answer           # what has come of the answer to the opening request
    cdef bytes behind           # what has come with it, and is to be read; None: nothing
    cdef str agreement          # the server's extensions; None: none, or no answer yet
    cdef bint is_open

    cdef int connect(self, Target target, str source) except -1
    cdef bint advance(self, uint8_t* place, size_t size) except -1      # true: it is open
    # The number of bytes received; 0: none for now; -1: the server has ended the stream.
    cdef Py_ssize_t receive(self, uint8_t* place, size_t size) except -2
    cdef Py_ssize_t receive_more(self, uint8_t* place, size_t size) except -2
    cdef size_t put(self, const uint8_t* data, size_t size) except? 0   # the bytes taken
    cdef int close(self, bint reset) except -1

    cdef int send_request(self) except -1
    cdef Py_ssize_t take_behind(self, uint8_t* place, size_t size) except -2
    cdef Py_ssize_t receive_bytes(self, uint8_t* place, size_t size) except -2
    cdef size_t send_plain(self, const uint8_t* data, size_t size) except? 0
    cdef int do_handshake(self) except -1
    cdef int send_encrypted(self) except -1
    cdef int check_answer(self) except -1
    cdef int parse_answer(self) except -1

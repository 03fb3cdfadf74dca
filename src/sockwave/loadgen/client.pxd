"""One WebSocket connection as a client holds it: socket, TLS, opening handshake (Linux)."""

from libc.stdint cimport uint8_t

from sockwave.core.tls.openssl cimport DirectTls
from sockwave.core.tls.session cimport Records

cdef class Target:
    """What the clients of one load connect to, and what they ask of it."""
    cdef tuple address
    cdef object context         # the ssl.SSLContext of a client; None: no TLS
    cdef Records records        # the buffers that they share
    cdef readonly bytes request
    cdef bint offers            # asks for permessage-deflate
    cdef bytes right_answer     # the last one, and what it agreed on
    cdef str agreement

cdef class Client:
    """One connection to a target. Nothing here waits, but for `dial`."""
    cdef Target target
    cdef object socket
    cdef int fd
    cdef DirectTls tls
    cdef bytes unsent           # sealed, but not yet taken by the kernel; None: nothing
    cdef bytes answer           # what has come of the answer to the opening request
    cdef str agreement          # on extensions; None: there is none, or the answer is not here
    cdef bint is_open

    cdef int dial(self, Target target, str source) except -1
    cdef bint advance(self, uint8_t* place, size_t size) except -1      # true: it is open
    # The bytes that came; 0: none for now; -1: the peer has ended the stream.
    cdef Py_ssize_t receive(self, uint8_t* place, size_t size) except -2
    cdef Py_ssize_t receive_more(self, uint8_t* place, size_t size) except -2
    cdef size_t put(self, const uint8_t* data, size_t size) except? 0   # the bytes taken
    cdef int hang_up(self, bint abruptly) except -1

    cdef int send_request(self) except -1
    cdef Py_ssize_t receive_bytes(self, uint8_t* place, size_t size) except -2
    cdef size_t send_plain(self, const uint8_t* data, size_t size) except? 0
    cdef int do_handshake(self) except -1
    cdef int send_sealed(self) except -1
    cdef int judge_answer(self) except -1
    cdef int read_answer(self) except -1

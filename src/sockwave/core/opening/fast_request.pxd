"""The fast request: the opening request that nearly every client sends, answered without HTTP."""

from libc.stdint cimport uint8_t

from sockwave.core.http.head cimport Head

cdef enum:
    KEY_SIZE = 24               # of Sec-WebSocket-Key: 16 bytes in base64

cdef bint check_fast_request(const Head* found, size_t size) noexcept nogil
cpdef bytes write_answer(bytes key, bytes fields)

"""The application's messages: as bytes, and as frames that can be sent to many connections."""

from libc.stdint cimport uint8_t

from sockwave.core.protocol.deflate cimport Compressor

cdef object payload_of(object message, const uint8_t** data, size_t* size, int* opcode)
cdef int check_compress(object compress) except -1
cdef bytes frame_of(uint8_t first_byte, const uint8_t* data, size_t size)
cdef bytes deflated_frame_of(
    Compressor compressor, object owner, const uint8_t* data, size_t size, int opcode
)
cdef bytes draft_frame_of(const uint8_t* data, size_t size)

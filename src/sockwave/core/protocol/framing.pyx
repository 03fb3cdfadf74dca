"""The application's messages: as bytes, and as frames that can be sent to many connections."""

from cpython.bytes cimport (
    PyBytes_AS_STRING, PyBytes_Check, PyBytes_FromStringAndSize, PyBytes_GET_SIZE,
)
from cpython.unicode cimport PyUnicode_Check
from libc.string cimport memcpy

from sockwave.core.protocol.frames cimport BINARY, FIN, TEXT, header_size, write_header

cdef extern from "Python.h":
    const char* PyUnicode_AsUTF8AndSize(object text, Py_ssize_t* size) except NULL


cdef object payload_of(object message, const uint8_t** data, size_t* size, int* opcode):
    """Set `data`, `size` and `opcode` for a message: a str is text, bytes-like is binary.

    Returns the object that owns the bytes; the caller holds it as long as it uses `data`. Raises
    TypeError for anything else, ValueError for a str that cannot be encoded as UTF-8 (it has a
    lone surrogate).
    """
    cdef Py_ssize_t length
    if PyUnicode_Check(message):
        data[0] = <const uint8_t*>PyUnicode_AsUTF8AndSize(message, &length)
        size[0] = length
        opcode[0] = TEXT
        return message
    if not PyBytes_Check(message):
        try:
            # A copy, as the application may change its buffer before the message has left.
            message = bytes(memoryview(message))
        except TypeError:
            raise TypeError(
                f"a message is a str (text) or bytes-like (binary), not {type(message).__name__}"
            ) from None
    data[0] = <const uint8_t*>PyBytes_AS_STRING(message)
    size[0] = PyBytes_GET_SIZE(message)
    opcode[0] = BINARY
    return message


cdef int check_compress(object compress) except -1:
    """Raise TypeError unless the argument `compress` of a send is True, False or None."""
    if compress is not None and compress is not True and compress is not False:
        raise TypeError(f"compress: expected True, False or None, given {compress!r}")
    return 0


cdef bytes frame_of(uint8_t first_byte, const uint8_t* data, size_t size):
    """Make a frame (RFC 6455, section 5.2) that can be sent to many connections."""
    cdef size_t head = header_size(size)
    cdef bytes frame = PyBytes_FromStringAndSize(NULL, head + size)
    cdef uint8_t* out = <uint8_t*>PyBytes_AS_STRING(frame)
    write_header(out, first_byte, size)
    memcpy(out + head, data, size)
    return frame


cdef bytes deflated_frame_of(
    Compressor compressor, object owner, const uint8_t* data, size_t size, int opcode
):
    """Make a compressed frame that can be sent to many connections: it refers to no message that
    was sent before."""
    owner = compressor.deflate(owner, &data, &size, &opcode, None)
    return frame_of(FIN | opcode, data, size)


cdef bytes draft_frame_of(const uint8_t* data, size_t size):
    """Make a text frame of draft-75 and draft-76 that can be sent to many connections."""
    cdef bytes frame = PyBytes_FromStringAndSize(NULL, size + 2)
    cdef uint8_t* out = <uint8_t*>PyBytes_AS_STRING(frame)
    out[0] = 0x00
    memcpy(out + 1, data, size)
    out[size + 1] = 0xFF
    return frame

"""Bodies of responses: how they are framed, and how they leave. RFC 9112, sections 6 and 7."""

from libc.stdint cimport uint8_t
from libc.string cimport memcpy

from sockwave.core.flag cimport flag
from sockwave.core.http.exchange cimport Carrier
from sockwave.core.http.response_head cimport HeaderFields

cdef enum:
    # What is put together in the scratch buffer: at most as much as a writer copies.
    COPIED_SIZE = 8192
    FRAMING_SIZE = 48           # room for "Content-Length: ", 20 digits and CRLF

# A part of a body: bytes that `owner`, a borrowed reference, keeps alive.
cdef struct Payload:
    const uint8_t* data
    size_t size

# How the body of one response is framed.
cdef struct Framing:
    flag is_head_request
    flag skips_body             # of HEAD, 204 and 304
    flag is_chunked
    flag closes                 # the connection ends with this response

cdef inline uint8_t* put(uint8_t* to, const void* data, size_t size) noexcept:
    """Copy bytes, and return where the next ones go."""
    memcpy(to, data, size)
    return to + size

cdef object as_payload(object data, Payload* payload)
cdef bint may_have_body(const Framing* framing, int status) noexcept
cdef int choose_framing(
    Framing* framing, HeaderFields fields, int status, bint is_1_0, Py_ssize_t length, uint8_t* line
) except -1
cdef bytes choose_connection(Framing* framing, HeaderFields fields, bint is_1_0)
cdef int send_body(
    const Framing* framing, Carrier carrier, uint8_t* scratch, size_t used, object owner,
    const Payload* payload, bint last, bytes trailers,
) except -1

"""Bodies of responses: how they are framed, and how they leave. RFC 9112, sections 6 and 7."""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE

from sockwave.core.digits cimport put_digits
from sockwave.core.http.response_head cimport NOT_GIVEN, has_content

cdef extern from "Python.h":
    const char* PyUnicode_AsUTF8AndSize(object text, Py_ssize_t* size) except NULL


cdef object as_payload(object data, Payload* payload):
    """Find the bytes of `data`, a str as UTF-8; returns what keeps them alive and unchanged. Raises
    TypeError or ValueError if they cannot be sent."""
    cdef Py_ssize_t size = 0
    if isinstance(data, str):
        try:
            payload.data = <const uint8_t*>PyUnicode_AsUTF8AndSize(data, &size)
        except UnicodeEncodeError:
            raise ValueError("data: expected str without lone surrogates, given one") from None
        payload.size = size
        return data
    if type(data) is not bytes:
        if not isinstance(data, (bytes, bytearray, memoryview)):
            raise TypeError(f"data: expected str or bytes-like, given {type(data).__name__}")
        data = bytes(data)
    payload.data = <const uint8_t*>PyBytes_AS_STRING(data)
    payload.size = PyBytes_GET_SIZE(data)
    return data


cdef bint may_have_body(const Framing* framing, int status) noexcept:
    """Tell whether a response with this status has a body that the client gets."""
    return not framing.is_head_request and has_content(status)


cdef int choose_framing(
    Framing* framing, HeaderFields fields, int status, bint is_1_0, Py_ssize_t length, uint8_t* line
) except -1:
    """Choose how the body is framed, and write the field that says it to `line`; returns the size
    of that. `length` is the body's, NOT_GIVEN if it is not known."""
    cdef uint8_t* end = line
    framing.skips_body = not may_have_body(framing, status)
    if fields is not None and fields.length != NOT_GIVEN:
        length = fields.length
    elif status == 304:
        length = NOT_GIVEN
    # RFC 9110, 8.6: "A server MUST NOT send a Content-Length header field in any response with
    # a status code of 1xx (Informational) or 204 (No Content)."
    if status == 204:
        pass
    elif length != NOT_GIVEN:
        end = put_digits(put(end, b"Content-Length: ", 16), length, 10)
        end = put(end, b"\r\n", 2)
    elif status == 304:
        pass
    elif not is_1_0:
        end = put(end, b"Transfer-Encoding: chunked\r\n", 28)
        framing.is_chunked = not framing.skips_body
    else:
        framing.closes = framing.closes or not framing.skips_body
    return end - line


cdef bytes choose_connection(Framing* framing, HeaderFields fields, bint is_1_0):
    """Decide whether the connection ends with this response, and return the field that says so;
    b"" where there is nothing to say."""
    cdef list options = None if fields is None else fields.options
    cdef bint has_upgrade = fields is not None and fields.has_upgrade
    cdef list lowered
    if options is None and not has_upgrade:
        if framing.closes:
            return b"Connection: close\r\n"
        return b"Connection: keep-alive\r\n" if is_1_0 else b""
    options = options or []
    lowered = [option.lower() for option in options]
    if has_upgrade and "upgrade" not in lowered:
        # RFC 9110, 7.8: "A sender of Upgrade MUST also send an "Upgrade" connection option".
        options.append("Upgrade")
    if "close" in lowered:
        framing.closes = True
    elif framing.closes:
        options = [option for option in options if option.lower() != "keep-alive"]
        options.append("close")
    elif is_1_0 and "keep-alive" not in lowered:
        options.append("keep-alive")
    return f"Connection: {', '.join(options)}\r\n".encode("latin-1")


cdef int send_trailers(
    Carrier carrier, const uint8_t* scratch, size_t used, const Payload* payload, char* tail,
    size_t tail_size, bytes trailers,
) except -1:
    """Send the end of a chunked body with trailers: RFC 9112, section 7.1.2."""
    cdef bytes head = PyBytes_FromStringAndSize(<const char*>scratch, used)
    cdef bytes end = tail[:tail_size] + trailers + b"\r\n"
    whole = head + (<const char*>payload.data)[:payload.size] + end
    return carrier.write(whole, <const uint8_t*>PyBytes_AS_STRING(whole), PyBytes_GET_SIZE(whole))


cdef int send_body(
    const Framing* framing, Carrier carrier, uint8_t* scratch, size_t used, object owner,
    const Payload* payload, bint last, bytes trailers,
) except -1:
    """Send a part of the body behind `used` bytes that stand in the scratch buffer already."""
    cdef size_t size = 0 if framing.skips_body else payload.size
    cdef bint is_chunk = framing.is_chunked and size > 0
    cdef size_t tail_size = 0
    cdef char tail[8]
    if is_chunk:
        # RFC 9112, 7.1: a chunk of no bytes would be the last one.
        used = put(put_digits(scratch + used, size, 16), b"\r\n", 2) - scratch
        memcpy(tail, b"\r\n", 2)
        tail_size = 2
    if last and framing.is_chunked:
        memcpy(tail + tail_size, b"0\r\n\r\n", 5)
        tail_size += 5
        if trailers is not None:
            return send_trailers(carrier, scratch, used, payload, tail, tail_size - 2, trailers)
    if used + size + tail_size <= COPIED_SIZE:
        put(put(scratch + used, payload.data, size), tail, tail_size)
        return carrier.write(None, scratch, used + size + tail_size)
    try:
        carrier.write(None, scratch, used)
        carrier.write(owner, payload.data, size)
        carrier.write(None, <const uint8_t*>tail, tail_size)
    except BaseException:
        carrier.drop()      # a part of it may have been queued
        raise
    return 0

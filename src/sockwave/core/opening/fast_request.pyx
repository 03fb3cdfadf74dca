"""The fast request: the opening request that nearly every client sends, answered without HTTP.

RFC 6455, section 4.1, and RFC 9112, sections 3 and 5. `http` and `handshake` accept each fast
request as well, with the same answer, provided that the server accepts its origin and its
subprotocols. Any other request, well-formed or not, is left to them: nothing is refused here.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.string cimport memcmp, memcpy

from sockwave.core.http.characters cimport BASE64, count_run
from sockwave.core.http.head cimport (
    CONNECTION_OPTIONS, CONTENT_LENGTH, EXTENSIONS, HOST, KEY, ORDINARY, ORIGIN, OTHER_HANDSHAKE,
    SUBPROTOCOLS, TRANSFER_ENCODING, UPGRADE, VERSION, FieldValue, is_common_host, is_value,
    parse_head,
)
from sockwave.core.opening.extension_list cimport is_extension_list

cdef extern from "accept.h" nogil:
    enum: ACCEPT_SIZE
    void write_accept(char* to, const char* key)

cdef bytes ANSWER = (
    b"HTTP/1.1 101 Switching Protocols\r\n"
    b"Upgrade: websocket\r\n"
    b"Connection: Upgrade\r\n"
    b"Sec-WebSocket-Accept: "
)


cdef bint check_fast_request(const Head* found, size_t size) noexcept nogil:
    """Tell whether an ordinary head, with nothing behind it in `size` bytes, is an opening request
    in which each known field occurs at most once."""
    cdef const FieldValue* host = &found.values[HOST]
    cdef const FieldValue* key = &found.values[KEY]
    cdef const FieldValue* version = &found.values[VERSION]
    cdef const FieldValue* options = &found.values[CONNECTION_OPTIONS]
    cdef const FieldValue* origin = &found.values[ORIGIN]
    cdef const FieldValue* extensions = &found.values[EXTENSIONS]
    if (
        found.size != size or found.method_size != 3 or found.counts[OTHER_HANDSHAKE]
        or found.counts[CONTENT_LENGTH] or found.counts[TRANSFER_ENCODING]
        or found.counts[ORIGIN] > 1
        or found.counts[EXTENSIONS] > 1 or found.counts[SUBPROTOCOLS] > 1
    ):
        return False
    if (
        found.counts[HOST] != 1 or found.counts[UPGRADE] != 1
        or found.counts[CONNECTION_OPTIONS] != 1
        or found.counts[KEY] != 1 or found.counts[VERSION] != 1
    ):
        return False
    if not is_common_host(host):
        return False
    if not is_value(&found.values[UPGRADE], "websocket", 9):
        return False
    # Firefox sends both options. Other lists are valid too, but rare, and left to `http`.
    if not is_value(options, "upgrade", 7) and not is_value(options, "keep-alive, upgrade", 19):
        return False
    if version.size != 2 or memcmp(version.data, b"13", 2) != 0:
        return False
    # 9.1: a malformed list fails the connection, which is left to `handshake`.
    if found.counts[EXTENSIONS] and not is_extension_list(extensions.data, extensions.size):
        return False
    # A tab is allowed in a value, but not in an origin.
    if found.counts[ORIGIN] and has_tab(origin):
        return False
    # 4.1: "a nonce consisting of a randomly selected 16-byte value that has been base64-encoded".
    return (
        key.size == KEY_SIZE and key.data[22] == c"=" and key.data[23] == c"="
        and count_run(key.data, key.data + 22, BASE64) == 22
    )


cdef bint has_tab(const FieldValue* value) noexcept nogil:
    cdef size_t i
    for i in range(value.size):
        if value.data[i] == c"\t":
            return True
    return False


cpdef bytes write_answer(bytes key, bytes fields):
    """Write the 101 response to a request with this key and with additional `fields`, each of
    which ends in CRLF.

    Raises ValueError for a key of any other size than 24 bytes.
    """
    cdef size_t size = PyBytes_GET_SIZE(ANSWER) + ACCEPT_SIZE + 2 + PyBytes_GET_SIZE(fields) + 2
    cdef bytes answer
    cdef char* to
    if PyBytes_GET_SIZE(key) != KEY_SIZE:
        raise ValueError(f"key: expected {KEY_SIZE} bytes, given {len(key)}")
    answer = PyBytes_FromStringAndSize(NULL, size)
    to = PyBytes_AS_STRING(answer)
    memcpy(to, PyBytes_AS_STRING(ANSWER), PyBytes_GET_SIZE(ANSWER))
    to += PyBytes_GET_SIZE(ANSWER)
    write_accept(to, PyBytes_AS_STRING(key))
    to += ACCEPT_SIZE
    memcpy(to, b"\r\n", 2)
    memcpy(to + 2, PyBytes_AS_STRING(fields), PyBytes_GET_SIZE(fields))
    memcpy(to + 2 + PyBytes_GET_SIZE(fields), b"\r\n", 2)
    return answer


def is_fast_request(bytes raw):
    """Tell whether these bytes are one fast request, and nothing else."""
    cdef Head found
    cdef size_t size = PyBytes_GET_SIZE(raw)
    return (
        parse_head(<const uint8_t*>PyBytes_AS_STRING(raw), size, &found) == ORDINARY
        and check_fast_request(&found, size)
    )

"""The fast request: the opening request that nearly every client sends, answered without HTTP.

RFC 6455, section 4.1, and RFC 9112, sections 3 and 5. `http` and `handshake` accept each fast
request as well, with the same answer, provided that the server accepts its origin and its
subprotocols. Any other request, well-formed or not, is left to them: nothing is refused here.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.stdint cimport uint32_t
from libc.string cimport memcmp, memcpy

cdef extern from "accept.h" nogil:
    enum: ACCEPT_SIZE
    void write_accept(char* to, const char* key)

# What a byte may be a part of. A byte may be of several kinds.
cdef enum:
    TOKEN = 1                   # RFC 9110, 5.6.2: tchar
    # A field's value: visible ASCII, SP and HTAB. RFC 9110, 5.5, also allows other bytes, for old
    # clients. They are rare, so such a request is left to `http`.
    VALUE = 2
    TARGET = 4                  # visible ASCII but "#", which begins a fragment
    NAME = 8                    # RFC 3986, 3.2.2: a host's name or IPv4 address, without "%"
    BASE64 = 16

cdef enum:
    PORT_DIGITS = 5
    MAX_PORT = 65535

cdef uint8_t kinds[256]

cdef bytes DIGITS = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"

cdef bytes ANSWER = (
    b"HTTP/1.1 101 Switching Protocols\r\n"
    b"Upgrade: websocket\r\n"
    b"Connection: Upgrade\r\n"
    b"Sec-WebSocket-Accept: "
)


cdef int fill_kinds() except -1:
    cdef uint8_t byte
    for byte in b"!#$%&'*+-.^_`|~":
        kinds[byte] |= TOKEN
    for byte in b"-._~!$&'()*+,;=":
        kinds[byte] |= NAME
    for byte in DIGITS:
        kinds[byte] |= BASE64
        if byte not in b"+/":
            kinds[byte] |= TOKEN | NAME
    for byte in range(0x20, 0x7F):
        kinds[byte] |= VALUE
        if byte not in b" #":
            kinds[byte] |= TARGET
    kinds[0x09] |= VALUE
    return 0


fill_kinds()


cdef size_t count_run(const uint8_t* data, const uint8_t* end, uint8_t kind) noexcept nogil:
    """Count the bytes of a kind that come next."""
    cdef const uint8_t* at = data
    while at < end and kinds[at[0]] & kind:
        at += 1
    return at - data


cdef bint is_word(const uint8_t* data, size_t size, const char* word) noexcept nogil:
    """Compare without case. `word` must be in lower case and have `size` characters, and `data` no
    control bytes.

    A letter and its capital differ in the bit 0x20 only. So does no other pair of bytes that may
    stand in `data`, if one of the two occurs in a word that is compared here.
    """
    cdef size_t i
    for i in range(size):
        if data[i] | 0x20 != <uint8_t>word[i]:
            return False
    return True


cdef int identify(const uint8_t* name, size_t size) noexcept nogil:
    """Return which of the known fields has this name."""
    if size == 4:
        return HOST if is_word(name, size, "host") else OTHER_FIELD
    if size == 6:
        return ORIGIN if is_word(name, size, "origin") else OTHER_FIELD
    if size == 7:
        return UPGRADE if is_word(name, size, "upgrade") else OTHER_FIELD
    if size == 10:
        return CONNECTION_OPTIONS if is_word(name, size, "connection") else OTHER_FIELD
    if size == 14:
        return NOT_FAST if is_word(name, size, "content-length") else OTHER_FIELD
    if size < 17:
        return OTHER_FIELD
    if not is_word(name, 14, "sec-websocket-"):
        return NOT_FAST if size == 17 and is_word(name, size, "transfer-encoding") else OTHER_FIELD
    if size == 17 and is_word(name + 14, 3, "key"):
        return KEY
    if size == 21 and is_word(name + 14, 7, "version"):
        return VERSION
    if size == 24 and is_word(name + 14, 10, "extensions"):
        return EXTENSIONS
    if size == 22 and is_word(name + 14, 8, "protocol"):
        return SUBPROTOCOLS
    return NOT_FAST


cdef bint parse_line(const uint8_t* data, size_t size, FastRequest* found) noexcept nogil:
    """Parse the request line; false unless it is GET of a path, by HTTP/1.1."""
    cdef size_t target_size
    if size < 5 or memcmp(data, b"GET /", 5) != 0:
        return False
    target_size = count_run(data + 4, data + size, TARGET)
    found.line_size = 4 + target_size + 9
    return (
        size >= found.line_size + 2 and memcmp(data + 4 + target_size, b" HTTP/1.1\r\n", 11) == 0
    )


cdef bint is_partial_request(const uint8_t* data, size_t size) noexcept nogil:
    """Tell whether these bytes are the beginning of a GET of a path, and its head is not whole yet.
    False also for a line that does not end in CRLF: `http` refuses that without waiting for the
    rest."""
    cdef size_t line_start = 0
    cdef size_t i
    if memcmp(data, b"GET /", min(size, <size_t>5)) != 0:
        return False
    for i in range(size):
        if data[i] == c"\n":
            if not i or data[i - 1] != c"\r" or line_start == i - 1:
                return False
            line_start = i + 1
        elif i and data[i - 1] == c"\r":
            return False
    return True


cdef bint parse_fast_request(const uint8_t* data, size_t size, FastRequest* found) noexcept nogil:
    """Parse a whole request head with nothing behind it, in one pass; false for anything else."""
    cdef const uint8_t* end = data + size
    cdef const uint8_t* name
    cdef size_t name_size
    cdef FieldValue value
    cdef int known
    if not parse_line(data, size, found):
        return False
    data += found.line_size + 2
    found.block_size = end - data
    found.field_count = 0
    for known in range(KNOWN_COUNT):
        found.counts[known] = 0
    while end - data >= 2 and data[0] != c"\r":
        name = data
        name_size = count_run(data, end, TOKEN)
        data += name_size
        if not name_size or data == end or data[0] != c":":
            return False
        data += 1
        value.data = data
        value.size = count_run(data, end, VALUE)
        data += value.size
        if end - data < 2 or data[0] != c"\r" or data[1] != c"\n":
            return False
        data += 2
        strip(&value)
        known = identify(name, name_size)
        found.values[known] = value
        found.counts[known] += 1
        found.field_count += 1
    return end - data == 2 and data[0] == c"\r" and data[1] == c"\n"


cdef int strip(FieldValue* value) noexcept nogil:
    """Remove the white space around a value."""
    while value.size and (value.data[0] == c" " or value.data[0] == c"\t"):
        value.data += 1
        value.size -= 1
    while value.size and (
        value.data[value.size - 1] == c" " or value.data[value.size - 1] == c"\t"
    ):
        value.size -= 1
    return 0


cdef bint is_value(const FieldValue* value, const char* word, size_t size) noexcept nogil:
    return value.size == size and is_word(value.data, size, word)


cdef bint check_fast_request(const FastRequest* found) noexcept nogil:
    """Tell whether it is an opening request in which each known field occurs at most once."""
    cdef const FieldValue* host = &found.values[HOST]
    cdef const FieldValue* key = &found.values[KEY]
    cdef const FieldValue* version = &found.values[VERSION]
    cdef const FieldValue* options = &found.values[CONNECTION_OPTIONS]
    cdef const FieldValue* origin = &found.values[ORIGIN]
    if (
        found.counts[NOT_FAST] or found.counts[ORIGIN] > 1
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
    # A tab is allowed in a value, but not in an origin.
    if found.counts[ORIGIN] and has_tab(origin):
        return False
    # 4.1: "a nonce consisting of a randomly selected 16-byte value that has been base64-encoded".
    return (
        key.size == KEY_SIZE and key.data[22] == c"=" and key.data[23] == c"="
        and count_run(key.data, key.data + 22, BASE64) == 22
    )


cdef bint is_common_host(const FieldValue* host) noexcept nogil:
    """Tell whether it is a name, an IPv4 address or [::1], with a port or none: RFC 9110, 7.2.
    Other hosts, well-formed or not, are rare, and left to `http`."""
    cdef const uint8_t* at = host.data
    cdef const uint8_t* end = host.data + host.size
    cdef uint32_t port = 0
    if host.size >= 5 and memcmp(at, b"[::1]", 5) == 0:
        at += 5
    else:
        at += count_run(at, end, NAME)
    if at == host.data or (at < end and at[0] != c":") or end - at > 1 + PORT_DIGITS:
        return False
    while at + 1 < end:
        at += 1
        if not c"0" <= at[0] <= c"9":
            return False
        port = port * 10 + (at[0] - c"0")
    return port <= MAX_PORT


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
    cdef FastRequest found
    return (
        parse_fast_request(<const uint8_t*>PyBytes_AS_STRING(raw), PyBytes_GET_SIZE(raw), &found)
        and check_fast_request(&found)
    )

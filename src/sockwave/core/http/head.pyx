"""Ordinary request heads, parsed in one pass: RFC 9112, sections 3 and 5.

Nearly every client sends heads that follow the grammar to the letter. They are parsed here, and
make no object. Every other head, well-formed or not, is left to the strict parser (`http.check`):
nothing is refused here. What is ordinary here, that parser accepts too, with the same meaning:
tests/test_ordinary_head.py holds the two together.
"""

from libc.stdint cimport uint32_t
from libc.string cimport memcmp

from sockwave.core.http.characters cimport NAME, TARGET, TOKEN, VALUE, count_run, is_word

cdef enum:
    # More digits than a length of a body that fits any disk; a longer number is left to `http`.
    LENGTH_DIGITS = 18
    PORT_DIGITS = 5
    HIGHEST_PORT = 65535


cdef int identify(const uint8_t* name, size_t size) noexcept nogil:
    """Return which of the known fields has this name."""
    if size == 4:
        return HOST if is_word(name, size, "host") else OTHER_FIELD
    if size == 6:
        if is_word(name, size, "origin"):
            return ORIGIN
        return EXPECT if is_word(name, size, "expect") else OTHER_FIELD
    if size == 7:
        return UPGRADE if is_word(name, size, "upgrade") else OTHER_FIELD
    if size == 10:
        return CONNECTION_OPTIONS if is_word(name, size, "connection") else OTHER_FIELD
    if size == 14:
        return CONTENT_LENGTH if is_word(name, size, "content-length") else OTHER_FIELD
    if size < 17:
        return OTHER_FIELD
    if not is_word(name, 14, "sec-websocket-"):
        if size == 17 and is_word(name, size, "transfer-encoding"):
            return TRANSFER_ENCODING
        return OTHER_FIELD
    if size == 17 and is_word(name + 14, 3, "key"):
        return KEY
    if size == 21 and is_word(name + 14, 7, "version"):
        return VERSION
    if size == 24 and is_word(name + 14, 10, "extensions"):
        return EXTENSIONS
    if size == 22 and is_word(name + 14, 8, "protocol"):
        return SUBPROTOCOLS
    return OTHER_HANDSHAKE


cdef bint is_known_method(const uint8_t* data, size_t size) noexcept nogil:
    """Tell whether it is a method that nearly every request has."""
    if size == 3:
        return memcmp(data, b"GET", 3) == 0 or memcmp(data, b"PUT", 3) == 0
    if size == 4:
        return memcmp(data, b"POST", 4) == 0 or memcmp(data, b"HEAD", 4) == 0
    if size == 5:
        return memcmp(data, b"PATCH", 5) == 0
    if size == 6:
        return memcmp(data, b"DELETE", 6) == 0
    return size == 7 and memcmp(data, b"OPTIONS", 7) == 0


cdef HeadStatus parse_line(const uint8_t* data, size_t size, Head* head) noexcept nogil:
    """Parse the request line: a known method, a path, and HTTP/1.1."""
    cdef const uint8_t* end = data + size
    cdef const uint8_t* at
    head.method_size = count_run(data, data + min(size, <size_t>8), TOKEN)
    at = data + head.method_size
    if at == end:
        return PARTIAL if size <= 7 else UNUSUAL
    if at[0] != c" " or not is_known_method(data, head.method_size):
        return UNUSUAL
    at += 1
    if at == end:
        return PARTIAL
    if at[0] != c"/":
        return UNUSUAL
    head.target_size = count_run(at, end, TARGET)
    at += head.target_size
    head.line_size = head.method_size + 1 + head.target_size + 9
    if memcmp(at, b" HTTP/1.1\r\n", min(<size_t>(end - at), <size_t>11)) != 0:
        return UNUSUAL
    return ORDINARY if end - at >= 11 else PARTIAL


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


cdef HeadStatus parse_head(const uint8_t* data, size_t size, Head* head) noexcept nogil:
    """Parse the request head at the front of `data`, if it is an ordinary one."""
    cdef const uint8_t* start = data
    cdef const uint8_t* end = data + size
    cdef const uint8_t* name
    cdef size_t name_size
    cdef FieldValue value
    cdef int known
    cdef HeadStatus status = parse_line(data, size, head)
    if status != ORDINARY:
        return status
    data += head.line_size + 2
    head.field_count = 0
    for known in range(KNOWN_COUNT):
        head.counts[known] = 0
    while data < end and data[0] != c"\r":
        name = data
        name_size = count_run(data, end, TOKEN)
        data += name_size
        if data == end:
            return PARTIAL
        if not name_size or data[0] != c":":
            return UNUSUAL
        data += 1
        value.data = data
        value.size = count_run(data, end, VALUE)
        data += value.size
        if data == end:
            return PARTIAL
        if data[0] != c"\r":
            return UNUSUAL
        if end - data < 2:
            return PARTIAL
        if data[1] != c"\n":
            return UNUSUAL
        data += 2
        strip(&value)
        known = identify(name, name_size)
        head.values[known] = value
        head.counts[known] += 1
        head.field_count += 1
    if end - data < 2:
        return PARTIAL
    if data[1] != c"\n":
        return UNUSUAL
    head.size = data + 2 - start
    head.block_size = head.size - head.line_size - 2
    return ORDINARY


cdef bint is_value(const FieldValue* value, const char* word, size_t size) noexcept nogil:
    """Compare a value with a word in lower case, without case."""
    return value.size == size and is_word(value.data, size, word)


cdef bint find_framing(const Head* head, BodyFraming* framing) noexcept nogil:
    """Find where the body ends; false where the head does not say it in one of the usual ways."""
    cdef const FieldValue* length = &head.values[CONTENT_LENGTH]
    cdef size_t i
    framing.is_chunked = False
    framing.size = 0
    if head.counts[TRANSFER_ENCODING] + head.counts[CONTENT_LENGTH] > 1:
        return False
    if head.counts[TRANSFER_ENCODING]:
        framing.is_chunked = True
        # One space before it, or none: other white space has been used to hide this field from
        # proxies.
        return (
            is_value(&head.values[TRANSFER_ENCODING], "chunked", 7)
            and is_plain(&head.values[TRANSFER_ENCODING])
        )
    if head.counts[CONTENT_LENGTH]:
        if not length.size or length.size > LENGTH_DIGITS or not is_plain(length):
            return False
        for i in range(length.size):
            if not c"0" <= length.data[i] <= c"9":
                return False
            framing.size = framing.size * 10 + (length.data[i] - c"0")
    return True


cdef bint is_plain(const FieldValue* value) noexcept nogil:
    """Tell whether at most one space, and no other white space, stands around a value."""
    cdef const uint8_t* before = value.data - 1
    if before[0] == c" ":
        before -= 1
    return before[0] == c":" and value.data[value.size] == c"\r"


cdef bint has_common_host(const Head* head) noexcept nogil:
    """Tell whether there is one Host, and a common one."""
    return head.counts[HOST] == 1 and is_common_host(&head.values[HOST])


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
    return port <= HIGHEST_PORT


def find_ordinary(bytes raw):
    """Return (size, body size or "chunked") of an ordinary head at the front of `raw`; None for
    anything else: for tests."""
    cdef Head head
    cdef BodyFraming framing
    cdef const uint8_t* data = <const uint8_t*><const char*>raw
    if parse_head(data, len(raw), &head) != ORDINARY or not find_framing(&head, &framing):
        return None
    if not has_common_host(&head):
        return None
    return head.size, "chunked" if framing.is_chunked else framing.size

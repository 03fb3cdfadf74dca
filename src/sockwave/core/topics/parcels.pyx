"""A message as brokers carry it: one line that says what it is, and the message.

docs/scaling.md has the format. Nothing of it is trusted.
"""

import json

from cpython.bytes cimport PyBytes_AS_STRING
from libc.string cimport memchr, memset

from sockwave.core.protocol.utf8 cimport UTF8_COMPLETE, utf8_check
from sockwave.core.topics.records cimport (
    HEAD_SIZE, ID, MAX_RECORD_SIZE, META, TEXT, append_bytes,
)
from sockwave.messages import MAX_SHARED_KEY_SIZE, SLOW_POLICIES

cdef enum:
    MAX_HOST_SIZE = 64
    MAX_META_SIZE = 16 << 10
    MAX_ID_SIZE = 255

BAD_CONTENT = (TypeError, ValueError, RecursionError)


cdef bint is_part(const uint8_t* data, size_t size) noexcept nogil:
    return size > 3 and data[0] == b"1" and data[1] == b"p" and data[2] == b" "


cdef bint read_parcel(const uint8_t* data, size_t size, Parcel* parcel) noexcept nogil:
    """Find the parts of `1t HOST META\\n` and a message, of which HOST and META may be missing, or
    META alone; `-` is no host. False: it is something else."""
    cdef const uint8_t* end
    cdef const uint8_t* place
    cdef size_t line_size
    memset(parcel, 0, sizeof(parcel[0]))
    if size < 3 or data[0] != b"1" or (data[1] != b"t" and data[1] != b"b"):
        return False
    end = <const uint8_t*>memchr(data, b"\n", min(size, MAX_HOST_SIZE + MAX_META_SIZE + 5))
    if end is NULL:
        return False
    parcel.is_text = data[1] == b"t"
    parcel.message = end + 1
    parcel.size = size - (end + 1 - data)
    line_size = end - data
    if line_size == 2:
        return True
    if data[2] != b" ":
        return False
    parcel.host = data + 3
    place = <const uint8_t*>memchr(data + 3, b" ", line_size - 3)
    parcel.host_size = (end if place is NULL else place) - parcel.host
    if not 1 <= parcel.host_size <= MAX_HOST_SIZE:
        return False
    if place is not NULL:
        parcel.meta = place + 1
        parcel.meta_size = end - parcel.meta
        return 0 < parcel.meta_size <= MAX_META_SIZE
    return True


cdef bint read_hex(const uint8_t* digits, uint64_t* value) noexcept nogil:
    """Read 16 digits; False: they are none, or all are zeros."""
    cdef int i
    cdef uint8_t digit
    value[0] = 0
    for i in range(16):
        digit = digits[i]
        if b"0" <= digit <= b"9":
            digit -= 48
        elif b"a" <= digit <= b"f":
            digit -= 87
        else:
            return False
        value[0] = value[0] << 4 | digit
    return value[0] != 0


cdef bint read_decimal(const uint8_t* digits, size_t size, uint64_t* value) noexcept nogil:
    """Read up to 18 digits; False: they are none, or all are zeros."""
    cdef size_t i
    value[0] = 0
    if not 1 <= size <= 18:
        return False
    for i in range(size):
        if not b"0" <= digits[i] <= b"9":
            return False
        value[0] = 10 * value[0] + (digits[i] - 48)
    return value[0] != 0


cdef size_t read_place(
    const uint8_t* data, size_t size, uint64_t* epoch, uint64_t* offset
) noexcept nogil:
    """Read `1o EPOCH OFFSET\\n`, what stands before the parcel of a topic with a history, or `1s`,
    of a stream; return its size. 0: something else stands there."""
    cdef const uint8_t* end
    if size < 22 or data[0] != b"1" or (data[1] != b"o" and data[1] != b"s"):
        return 0
    if data[2] != b" " or data[19] != b" ":
        return 0
    end = <const uint8_t*>memchr(data + 20, b"\n", min(size - 20, 19))
    if end is NULL or not read_hex(data + 3, epoch) or not read_decimal(
        data + 20, end - data - 20, offset
    ):
        return 0
    return end - data + 1


cdef bint read_origin(
    const Parcel* parcel, uint64_t* incarnation, uint64_t* sequence
) noexcept nogil:
    """Read which worker has published a message, and the number that it has there; False: that is
    not said."""
    return (
        parcel.host_size > 17 and parcel.host[16] == b"." and read_hex(parcel.host, incarnation)
        and read_decimal(parcel.host + 17, parcel.host_size - 17, sequence)
    )


cdef bint is_sound(const Parcel* parcel) noexcept nogil:
    """Tell whether a message has a size that it can have, and is UTF-8 where it is a text."""
    return parcel.size + parcel.meta_size <= MAX_RECORD_SIZE - HEAD_SIZE and (
        not parcel.is_text
        or utf8_check(UTF8_COMPLETE, parcel.message, parcel.size) == UTF8_COMPLETE
    )


cdef int write_payload(const Parcel* parcel, Head* head, Buffer* payload) except -1:
    """Set the flags, and put the payload together where there is a meta; 1: that is bad."""
    cdef bytes id, meta
    cdef uint8_t lengths[2]
    head.flags = TEXT if parcel.is_text else 0
    if not parcel.meta_size:
        return 0
    id = meta = None
    try:
        id, meta = read_meta((<const char*>parcel.meta)[:parcel.meta_size])
    except BAD_CONTENT:
        pass
    if id is None:
        return 1
    payload.begin = payload.size = 0
    if id:
        head.flags |= ID
        lengths[0] = <uint8_t>len(id)
        append_bytes(payload, lengths, 1)
        append_bytes(payload, <const uint8_t*>PyBytes_AS_STRING(id), len(id))
    head.flags |= META
    lengths[0] = <uint8_t>(len(meta) & 0xFF)
    lengths[1] = <uint8_t>(len(meta) >> 8)
    append_bytes(payload, lengths, 2)
    append_bytes(payload, <const uint8_t*>PyBytes_AS_STRING(meta), len(meta))
    return append_bytes(payload, parcel.message, parcel.size)


cdef bytes describe(const uint8_t* payload, uint8_t flags, const Parts* parts):
    """Return what other hosts are to know of a message besides, as JSON in one line; None: that is
    nothing that they would take."""
    cdef size_t size
    if flags & ID:
        payload += 1 + parts.id_size
    cdef bytes said = None
    try:
        found = {}
        if flags & META:
            size = payload[0] | <size_t>payload[1] << 8
            found = check_meta(json.loads((<const char*>payload + 2)[:size]))
        if flags & ID:
            found["id"] = (<const char*>parts.id)[:parts.id_size].decode()
        said = json.dumps(found, separators=(",", ":")).encode()
    except BAD_CONTENT:
        pass
    return said


cdef tuple read_meta(bytes said):
    """Return the id (b"": none) and the rest of what another host says of a message.

    Raises TypeError or ValueError for what cannot be.
    """
    found = check_meta(json.loads(said))
    id = found.pop("id", "")
    if not isinstance(id, str) or len(id.encode()) > MAX_ID_SIZE:
        raise ValueError("id: expected up to 255 bytes")
    return id.encode(), json.dumps(found, separators=(",", ":")).encode()


cdef dict check_meta(object found):
    """Return what is known of a meta, and nothing else. Raises TypeError or ValueError for wrong
    values."""
    cdef dict known = {}
    if not isinstance(found, dict):
        raise TypeError(f"meta: expected an object, given {type(found).__name__}")
    if (compress := found.get("compress")) is not None:
        if not isinstance(compress, bool):
            raise TypeError("compress: expected true or false")
        known["compress"] = compress
    if (slow := found.get("slow")) is not None:
        if slow not in SLOW_POLICIES:
            raise ValueError("slow: expected a policy")
        known["slow"] = slow
    if (key := found.get("key")) is not None:
        if not isinstance(key, (str, int, float, bool)) or len(str(key)) > MAX_SHARED_KEY_SIZE:
            raise ValueError("key: expected a short text or number")
        known["key"] = key
    if (id := found.get("id")) is not None:
        known["id"] = id
    return known

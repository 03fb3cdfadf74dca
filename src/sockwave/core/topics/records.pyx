"""The records that workers and the sequencer exchange, and the memory in which they wait."""

from libc.stdlib cimport free, malloc

cdef enum:
    FIRST_CAPACITY = 4096

if sizeof(Head) != HEAD_SIZE:
    raise AssertionError("the head of a record: expected 40 bytes")


cdef RecordCheck check_head(
    const uint8_t* data, size_t size, Head* head, bint is_to_worker
) noexcept nogil:
    """Read the head of the record that begins at `data`; WHOLE: all of the record is there.

    Length and type are checked as soon as the head is there, before anything of the record is kept.
    """
    if size < HEAD_SIZE:
        return INCOMPLETE
    memcpy(head, data, HEAD_SIZE)
    if head.length < HEAD_SIZE or head.length > MAX_RECORD_SIZE:
        return BAD_LENGTH
    if is_to_worker:
        if (head.type < WELCOME or head.type > BROKER) and head.type != BROADCAST:
            return BAD_TYPE
    elif head.type < HELLO or head.type > PONG:
        return BAD_TYPE
    return WHOLE if size >= head.length else INCOMPLETE


cdef bint split_payload(
    const uint8_t* payload, size_t size, uint8_t flags, Parts* parts
) noexcept nogil:
    """Find the id and the message in a payload; False: it is shorter than it says."""
    cdef size_t part_size
    parts.id = NULL
    parts.id_size = 0
    if flags & ID:
        if size < 1:
            return False
        part_size = payload[0]
        if not part_size or size < 1 + part_size:
            return False
        parts.id = payload + 1
        parts.id_size = part_size
        payload += 1 + part_size
        size -= 1 + part_size
    if flags & META:
        if size < 2:
            return False
        part_size = payload[0] | <size_t>payload[1] << 8
        if size < 2 + part_size:
            return False
        payload += 2 + part_size
        size -= 2 + part_size
    parts.message = payload
    parts.message_size = size
    return True


cdef int write_record(
    Buffer* buffer, const Head* head, const uint8_t* payload, size_t size
) except -1:
    """Append a record; its length is set here."""
    cdef uint8_t* place = add_room(buffer, HEAD_SIZE + size)
    memcpy(place, head, HEAD_SIZE)
    (<Head*>place).length = <uint32_t>(HEAD_SIZE + size)
    if size:
        memcpy(place + HEAD_SIZE, payload, size)
    return 0


# ---- buffers

cdef int grow(Buffer* buffer, size_t size) except -1:
    """Provide room for `size` more bytes."""
    cdef size_t capacity = buffer.capacity
    cdef uint8_t* data
    # Moving what waits to the front is worth it where that frees at least as much.
    if buffer.begin >= buffer.size and size <= capacity - buffer.size and capacity:
        memcpy(buffer.data, buffer.data + buffer.begin, buffer.size)
        buffer.begin = 0
        return 0
    capacity = max(2 * buffer.size, buffer.size + size)
    capacity = max(capacity, FIRST_CAPACITY)
    data = <uint8_t*>malloc(capacity)
    if data is NULL:
        raise MemoryError
    if buffer.size:
        memcpy(data, buffer.data + buffer.begin, buffer.size)
    free(buffer.data)
    buffer.data = data
    buffer.begin = 0
    buffer.capacity = capacity
    return 0


cdef int free_buffer(Buffer* buffer) noexcept nogil:
    """Drop what waits, and free the memory."""
    free(buffer.data)
    buffer.data = NULL
    buffer.begin = buffer.size = buffer.capacity = 0
    return 0


cdef int trim_buffer(Buffer* buffer, size_t kept_capacity) noexcept nogil:
    """Free the memory of an empty buffer that has more than so many bytes of it."""
    if not buffer.size and buffer.capacity > kept_capacity:
        free_buffer(buffer)
    return 0


# ---- for those who are not compiled

def pack_record(
    int type, int flags=0, int worker=0, uint32_t topic=0, uint32_t request=0,
    uint64_t epoch=0, uint64_t offset=0, uint64_t sequence=0, bytes payload=b"",
):
    """Return a record."""
    cdef Head head
    head.length = <uint32_t>(HEAD_SIZE + len(payload))
    head.type = <uint8_t>type
    head.flags = <uint8_t>flags
    head.worker = <uint16_t>worker
    head.topic = topic
    head.request = request
    head.epoch = epoch
    head.offset = offset
    head.sequence = sequence
    return (<const char*>&head)[:HEAD_SIZE] + payload


def unpack_records(const uint8_t[::1] data):
    """Return the whole records that bytes of the sequencer begin with, as tuples of the fields of
    their heads without the length, and their payloads; and how many bytes they are.

    Raises ValueError for what is no record of the sequencer's.
    """
    cdef Head head
    cdef size_t size = data.shape[0]
    cdef size_t place = 0
    cdef RecordCheck found
    cdef list records = []
    while place < size:
        found = check_head(&data[place], size - place, &head, True)
        if found == INCOMPLETE:
            break
        if found != WHOLE:
            raise ValueError(
                f"expected a record of the sequencer, given type {head.type}, {head.length} B"
            )
        payload = (<const char*>&data[place])[HEAD_SIZE:head.length]
        records.append((
            head.type, head.flags, head.worker, head.topic, head.request, head.epoch, head.offset,
            head.sequence, payload,
        ))
        place += head.length
    return records, place

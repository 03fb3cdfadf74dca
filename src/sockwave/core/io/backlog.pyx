"""The backlog: a queue of segments that wait to be sent to one peer, as a part of its writer."""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from cpython.mem cimport PyMem_Free, PyMem_Realloc
from cpython.ref cimport Py_DECREF, Py_INCREF, Py_XDECREF
from libc.string cimport memmove

from sockwave.core.protocol.frames cimport Header, is_control, parse_header

cdef enum:
    # With the header of a bytes object 512: the largest block that CPython's own allocator serves.
    CHUNK_SIZE = 479
    MAX_CHUNK_SIZE = 65503      # chunks double up to here
    FRAME_END = 0xFF            # the last byte of a frame in the drafts 75 and 76


cdef size_t count_draft_ends(const uint8_t* data, size_t size) noexcept:
    """Count the frames of a draft that end in `data`: by their last byte, which UTF-8 never has."""
    cdef size_t count = 0
    cdef size_t i
    for i in range(size):
        count += data[i] == FRAME_END
    # Draft 76, 4.2: FF 00 is not a message but the close, and nothing follows it.
    if size >= 2 and data[size - 2] == FRAME_END and data[size - 1] == 0:
        count -= 1
    return count


cdef size_t count_frame_ends(
    const uint8_t* frame, const uint8_t* begin, const uint8_t* end
) noexcept:
    """Count the messages that end after `begin`, in the frames between `frame` and `end`."""
    cdef Header header
    cdef size_t count = 0
    while frame < end and parse_header(frame, end - frame, &header) and header.complete:
        # A payload that is not here is in the next segment: the frame is the last one here.
        if <size_t>(end - frame) - header.size < header.length:
            return count + (header.fin and not is_control(header.opcode))
        frame += header.size + header.length
        count += frame > begin and header.fin and not is_control(header.opcode)
    return count


cdef size_t cut_size(const uint8_t* frame, const uint8_t* end, size_t taken) noexcept:
    """Return how many bytes are left of the frame that is cut in two when `taken` bytes, counted
    from `frame`, have been sent; 0 where the cut is between two frames."""
    cdef Header header
    cdef const uint8_t* cut = frame + taken
    while frame < cut:
        if not (parse_header(frame, end - frame, &header) and header.complete):
            return 0
        if header.length > <size_t>(end - frame):
            return end - cut
        frame += header.size + header.length
    return frame - cut


cdef uint8_t* append_room(Backlog* backlog, size_t size) except NULL:
    """Add `size` bytes to the end of the queue and return where the caller must write them, before
    anything else is done with the queue."""
    cdef Segment* last
    cdef size_t capacity = CHUNK_SIZE
    cdef uint8_t* place
    if backlog.count:
        last = last_segment(backlog)
        if size <= backlog.row.tail_room:
            place = <uint8_t*>last.data + last.size
            last.size += size
            backlog.size += size
            backlog.row.tail_room -= <uint32_t>size
            return place
        capacity = min(max(2 * last.size, CHUNK_SIZE), MAX_CHUNK_SIZE)
    capacity = max(capacity, size)
    chunk = PyBytes_FromStringAndSize(NULL, capacity)
    place = <uint8_t*>PyBytes_AS_STRING(chunk)
    append_segment(backlog, chunk, place, size, False)
    backlog.row.tail_room = <uint32_t>(capacity - size)
    return place


cdef int append_segment(
    Backlog* backlog, object owner, const uint8_t* data, size_t size, bint continues
) except -1:
    cdef Segment* last
    provide_segments(backlog, 1)
    last = &backlog.row.segments[backlog.first + backlog.count]
    Py_INCREF(owner)
    last.owner = <PyObject*>owner
    last.data = data
    last.size = size
    last.continues = continues
    last.is_expendable = False
    backlog.count += 1
    backlog.size += size
    backlog.row.tail_room = 0
    return 0


cdef int provide_segments(Backlog* backlog, uint32_t count) except -1:
    """Make room for `count` more segments: one or two."""
    cdef Row* row = backlog.row
    cdef uint32_t capacity = 0 if row is NULL else row.capacity
    # Move the segments only if that frees half of the row: a queue that stays long would be moved
    # again and again.
    if backlog.first > backlog.count and backlog.first + backlog.count + count > capacity:
        memmove(row.segments, row.segments + backlog.first, backlog.count * sizeof(Segment))
        backlog.first = 0
    if backlog.first + backlog.count + count > capacity:
        capacity = 2 * capacity if capacity else 2
        row = <Row*>PyMem_Realloc(backlog.row, sizeof(Row) + (capacity - 1) * sizeof(Segment))
        if row is NULL:
            raise MemoryError
        if backlog.row is NULL:
            row.passed_count = row.lead_size = row.tail_room = 0
            row.places = NULL
        row.capacity = capacity
        backlog.row = row
    return 0


cdef dict places_of(Backlog* backlog):
    """Return the dict of the keys' positions, and make it if there is none yet."""
    cdef dict places
    if backlog.row.places is not NULL:
        return <dict>backlog.row.places
    places = {}
    Py_INCREF(places)
    backlog.row.places = <PyObject*>places
    return places


cdef int append_backlog(Backlog* backlog, const Backlog* other) except -1:
    """Append all segments of another queue, which keeps them too."""
    cdef uint64_t offset = 0 if backlog.row is NULL else backlog.row.passed_count + backlog.count
    cdef uint64_t passed_count, place
    cdef const Segment* segment
    cdef dict places, other_places
    cdef uint32_t i
    if other.row is NULL:
        return 0
    for i in range(other.first, other.first + other.count):
        segment = &other.row.segments[i]
        append_segment(
            backlog, <object>segment.owner, segment.data, segment.size, segment.continues
        )
        last_segment(backlog).is_expendable = segment.is_expendable
    if other.row.places is NULL:
        return 0
    passed_count = other.row.passed_count
    places = places_of(backlog)
    other_places = <dict>other.row.places
    for key, place in other_places.items():
        if place >= passed_count:
            places[key] = place - passed_count + offset
    return 0


cdef int remove_front(Backlog* backlog, size_t taken) noexcept:
    """Remove the first `taken` bytes."""
    cdef Segment* segment
    backlog.size -= taken
    while backlog.count:
        segment = &backlog.row.segments[backlog.first]
        if taken < segment.size:
            segment.data += taken
            segment.size -= taken
            return 0
        taken -= segment.size
        backlog.first += 1
        backlog.count -= 1
        backlog.row.passed_count += 1
        backlog.row.lead_size = 0
        Py_DECREF(<object>segment.owner)
    return free_row(backlog)


cdef int free_row(Backlog* backlog) noexcept:
    """Free the memory of an empty queue."""
    cdef PyObject* places = NULL
    if backlog.row is not NULL:
        places = backlog.row.places
        PyMem_Free(backlog.row)
    backlog.row = NULL
    backlog.first = 0
    Py_XDECREF(places)          # last: to free a key may run any code of the application
    return 0


cdef int remove_unsent(Backlog* backlog, bint keep_started) noexcept:
    """Remove everything. With `keep_started`, the first segment stays, and those that continue it:
    some of its bytes may have been sent."""
    cdef uint32_t kept = 0
    cdef uint32_t i
    cdef PyObject* places
    if keep_started and backlog.count:
        kept = 1
        while kept < backlog.count and backlog.row.segments[backlog.first + kept].continues:
            kept += 1
    for i in range(backlog.first + kept, backlog.first + backlog.count):
        backlog.size -= backlog.row.segments[i].size
        Py_DECREF(<object>backlog.row.segments[i].owner)
    backlog.count = kept
    if not kept:
        return free_row(backlog)
    backlog.row.tail_room = 0
    places = backlog.row.places
    backlog.row.places = NULL
    Py_XDECREF(places)
    return 0


cdef size_t count_messages(const Backlog* backlog, bint is_draft) noexcept:
    """Count the messages that have not been sent completely, in a queue that holds frames."""
    cdef const Segment* segment
    cdef const uint8_t* start
    cdef size_t count = 0
    cdef uint32_t i
    for i in range(backlog.count):
        segment = &backlog.row.segments[backlog.first + i]
        if is_draft:
            count += count_draft_ends(segment.data, segment.size)
            continue
        if segment.continues:
            # The payload of a frame whose header is in the segment before, or has been sent.
            count += i == 0
            continue
        start = segment.data
        if i == 0:
            start = <const uint8_t*>PyBytes_AS_STRING(<object>segment.owner)
            if start + backlog.row.lead_size > segment.data:
                count += 1
            start += backlog.row.lead_size
        count += count_frame_ends(start, segment.data, segment.data + segment.size)
    return count

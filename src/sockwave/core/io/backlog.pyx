"""What waits to be sent to one peer: a queue of segments."""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from cpython.mem cimport PyMem_Free, PyMem_Realloc
from cpython.ref cimport Py_DECREF, Py_INCREF
from libc.string cimport memmove

from sockwave.core.protocol.frames cimport Header, is_control, parse_header

cdef enum:
    # With the header of a bytes object 512: the largest block that CPython's own allocator serves.
    CHUNK_SIZE = 479
    MAX_CHUNK_SIZE = 65503      # chunks double up to here
    FRAME_END = 0xFF            # of the drafts 75 and 76


cdef size_t count_draft_ends(const uint8_t* data, size_t size) noexcept:
    """Count the frames of a draft that end in `data`: UTF-8 has no such byte as their last."""
    cdef size_t count = 0
    cdef size_t i
    for i in range(size):
        count += data[i] == FRAME_END
    # Draft 76, 4.2: FF 00 is no message, but the close, behind which there is nothing.
    if size >= 2 and data[size - 2] == FRAME_END and data[size - 1] == 0:
        count -= 1
    return count


cdef size_t count_frame_ends(
    const uint8_t* frame, const uint8_t* begin, const uint8_t* end
) noexcept:
    """Count the messages that end behind `begin`, in frames from `frame` on up to `end`."""
    cdef Header header
    cdef size_t count = 0
    while frame < end and parse_header(frame, end - frame, &header) and header.complete:
        # A payload that does not fit stands in the next segment: the frame is the last one here.
        if <size_t>(end - frame) - header.size < header.length:
            return count + (header.fin and not is_control(header.opcode))
        frame += header.size + header.length
        count += frame > begin and header.fin and not is_control(header.opcode)
    return count


cdef size_t cut_size(const uint8_t* frame, const uint8_t* end, size_t taken) noexcept:
    """Give how much is left of the frame that `taken` bytes from its row's begin on cut in two."""
    cdef Header header
    cdef const uint8_t* cut = frame + taken
    while frame < cut:
        if not (parse_header(frame, end - frame, &header) and header.complete):
            return 0
        if header.length > <size_t>(end - frame):
            return end - cut
        frame += header.size + header.length
    return frame - cut


cdef class Backlog:
    """What waits for one peer, in order. It takes memory while there is something in it only."""

    def __dealloc__(self):
        cdef uint32_t i
        for i in range(self.first, self.first + self.count):
            Py_DECREF(<object>self.row.segments[i].owner)
        PyMem_Free(self.row)

    cdef uint8_t* room(self, size_t size) except NULL:
        """Add `size` bytes to the end of the queue and give the place to write them to, at once."""
        cdef Segment* last
        cdef size_t capacity = CHUNK_SIZE
        cdef uint8_t* place
        if self.count:
            last = &self.row.segments[self.first + self.count - 1]
            if size <= self.row.tail_room:
                place = <uint8_t*>last.data + last.size
                last.size += size
                self.backlog_size += size
                self.row.tail_room -= <uint32_t>size
                return place
            capacity = min(max(2 * last.size, CHUNK_SIZE), MAX_CHUNK_SIZE)
        capacity = max(capacity, size)
        chunk = PyBytes_FromStringAndSize(NULL, capacity)
        place = <uint8_t*>PyBytes_AS_STRING(chunk)
        self.append(chunk, place, size, False)
        self.row.tail_room = <uint32_t>(capacity - size)
        return place

    cdef int append(self, object owner, const uint8_t* data, size_t size, bint continues) except -1:
        cdef Segment* last
        self.provide(1)
        last = &self.row.segments[self.first + self.count]
        Py_INCREF(owner)
        last.owner = <PyObject*>owner
        last.data = data
        last.size = size
        last.continues = continues
        last.is_expendable = False
        self.count += 1
        self.backlog_size += size
        self.row.tail_room = 0
        return 0

    cdef int provide(self, uint32_t count) except -1:
        """Have room for `count` more segments: one or two."""
        cdef Row* row = self.row
        cdef uint32_t capacity = 0 if row is NULL else row.capacity
        # Only where it frees half of it: a queue that stays long would be moved again and again.
        if self.first > self.count and self.first + self.count + count > capacity:
            memmove(row.segments, row.segments + self.first, self.count * sizeof(Segment))
            self.first = 0
        if self.first + self.count + count > capacity:
            capacity = 2 * capacity if capacity else 2
            row = <Row*>PyMem_Realloc(self.row, sizeof(Row) + (capacity - 1) * sizeof(Segment))
            if row is NULL:
                raise MemoryError
            if self.row is NULL:
                row.passed_count = row.lead_size = row.tail_room = 0
            row.capacity = capacity
            self.row = row
        return 0

    cdef int advance(self, size_t taken) noexcept:
        """Forget the first `taken` bytes."""
        cdef Segment* segment
        self.backlog_size -= taken
        while self.count:
            segment = &self.row.segments[self.first]
            if taken < segment.size:
                segment.data += taken
                segment.size -= taken
                return 0
            taken -= segment.size
            self.first += 1
            self.count -= 1
            self.row.passed_count += 1
            self.row.lead_size = 0
            Py_DECREF(<object>segment.owner)
        PyMem_Free(self.row)
        self.row = NULL
        self.first = 0
        self.places = None
        return 0

    cdef size_t count_messages(self, bint is_draft) noexcept:
        """Count the messages of which not every byte has left, where it is frames that wait."""
        cdef Segment* segment
        cdef const uint8_t* start
        cdef size_t count = 0
        cdef uint32_t i
        for i in range(self.count):
            segment = &self.row.segments[self.first + i]
            if is_draft:
                count += count_draft_ends(segment.data, segment.size)
                continue
            if segment.continues:
                # The payload of a frame whose header stands in the segment before, or has left.
                count += i == 0
                continue
            start = segment.data
            if i == 0:
                start = <const uint8_t*>PyBytes_AS_STRING(<object>segment.owner)
                if start + self.row.lead_size > segment.data:
                    count += 1
                start += self.row.lead_size
            count += count_frame_ends(start, segment.data, segment.data + segment.size)
        return count

    cdef int forget(self, bint keep_started) except -1:
        """Forget everything, or what is behind the segment whose first bytes may be on the wire
        already."""
        cdef uint32_t kept = 0
        cdef uint32_t i
        if keep_started and self.count:
            kept = 1
            while kept < self.count and self.row.segments[self.first + kept].continues:
                kept += 1
        for i in range(self.first + kept, self.first + self.count):
            self.backlog_size -= self.row.segments[i].size
            Py_DECREF(<object>self.row.segments[i].owner)
        self.count = kept
        if not kept:
            return self.advance(0)
        self.row.tail_room = 0
        self.places = None
        return 0

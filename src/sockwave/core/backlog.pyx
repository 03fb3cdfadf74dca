"""What waits to be sent to one peer: a queue of segments."""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from cpython.ref cimport Py_DECREF, Py_INCREF
from libc.stdlib cimport free, realloc
from libc.string cimport memmove

cdef enum:
    # With the header of a bytes object 512: the largest block that CPython's own allocator serves.
    CHUNK_SIZE = 479
    MAX_CHUNK_SIZE = 65503      # chunks double up to here


cdef class Backlog:
    """What waits for one peer, in order. It takes memory while there is something in it only."""

    def __dealloc__(self):
        cdef uint32_t i
        for i in range(self.first, self.first + self.count):
            Py_DECREF(<object>self.segments[i].owner)
        free(self.segments)

    cdef uint8_t* room(self, size_t size) except NULL:
        """Add `size` bytes to the end of the queue and give the place to write them to, at once."""
        cdef Segment* last
        cdef size_t capacity = CHUNK_SIZE
        cdef uint8_t* place
        if self.count:
            last = &self.segments[self.first + self.count - 1]
            if size <= self.tail_room:
                place = <uint8_t*>last.data + last.size
                last.size += size
                self.backlog_size += size
                self.tail_room -= <uint32_t>size
                return place
            capacity = min(max(2 * last.size, CHUNK_SIZE), MAX_CHUNK_SIZE)
        capacity = max(capacity, size)
        chunk = PyBytes_FromStringAndSize(NULL, capacity)
        place = <uint8_t*>PyBytes_AS_STRING(chunk)
        self.append(chunk, place, size, False)
        self.tail_room = <uint32_t>(capacity - size)
        return place

    cdef int append(self, object owner, const uint8_t* data, size_t size, bint continues) except -1:
        cdef Segment* last
        self.provide(1)
        last = &self.segments[self.first + self.count]
        Py_INCREF(owner)
        last.owner = <PyObject*>owner
        last.data = data
        last.size = size
        last.continues = continues
        last.is_expendable = False
        self.count += 1
        self.backlog_size += size
        self.tail_room = 0
        return 0

    cdef int provide(self, uint32_t count) except -1:
        """Have room for `count` more segments: one or two."""
        cdef Segment* grown
        cdef uint32_t capacity
        # Only where it frees half of it: a queue that stays long would be moved again and again.
        if self.first > self.count and self.first + self.count + count > self.capacity:
            memmove(self.segments, self.segments + self.first, self.count * sizeof(Segment))
            self.first = 0
        if self.first + self.count + count > self.capacity:
            capacity = 2 * self.capacity if self.capacity else 2
            grown = <Segment*>realloc(self.segments, capacity * sizeof(Segment))
            if grown is NULL:
                raise MemoryError
            self.segments = grown
            self.capacity = capacity
        return 0

    cdef int advance(self, size_t taken) noexcept:
        """Forget the first `taken` bytes."""
        cdef Segment* segment
        self.backlog_size -= taken
        while self.count:
            segment = &self.segments[self.first]
            if taken < segment.size:
                segment.data += taken
                segment.size -= taken
                return 0
            taken -= segment.size
            self.first += 1
            self.count -= 1
            self.passed_count += 1
            Py_DECREF(<object>segment.owner)
        free(self.segments)
        self.segments = NULL
        self.places = None
        self.first = self.capacity = self.tail_room = 0
        return 0

    cdef int forget(self, bint keep_started) except -1:
        """Forget everything, or what is behind the segment whose first bytes may be on the wire
        already."""
        cdef uint32_t kept = 0
        cdef uint32_t i
        if keep_started and self.count:
            kept = 1
            while kept < self.count and self.segments[self.first + kept].continues:
                kept += 1
        for i in range(self.first + kept, self.first + self.count):
            self.backlog_size -= self.segments[i].size
            Py_DECREF(<object>self.segments[i].owner)
        self.count = kept
        self.tail_room = 0
        self.places = None
        return 0 if kept else self.advance(0)

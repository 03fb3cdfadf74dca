"""The log of messages in memory that outlives the process: a new sequencer goes on from it.

The supervisor holds the memory file. Entries are written behind the end, and one store makes them
part of the log: a process that dies in between has written nothing. When an area is full, what is
left of all topics is written to the other one, and the same store changes over to it.
"""

from libc.string cimport memcpy

cdef extern from "log_memory.h" nogil:
    void* log_map(int fd, size_t size)
    void log_unmap(void* data, size_t size)
    void log_free(void* data, size_t size)
    void log_commit(uint64_t* place, uint64_t value)

cdef enum:
    HEADER_SIZE = 4096          # a page: the areas begin at pages, to be given back
    KEPT_SIZE = 32 << 20        # of an area that is not in use: new memory costs more than to copy
    LEAST_LIMIT = 16 << 20      # less is not worth to be written anew
    SECOND_AREA = 1             # the lowest bit of what is committed; entries end at multiples of 8


cdef class Log:
    """Two areas of one mapping: one is in use, the other takes what is left when it is full."""

    def __cinit__(self, int fd, size_t area_size):
        """Map the memory file `fd`, which may be empty, or an earlier log of the same size.

        Raises MemoryError where that cannot be done.
        """
        cdef uint64_t committed
        self.area_size = (area_size + HEADER_SIZE - 1) // HEADER_SIZE * HEADER_SIZE
        self.mapped_size = HEADER_SIZE + 2 * self.area_size
        self.data = <uint8_t*>log_map(fd, self.mapped_size)
        if self.data is NULL:
            raise MemoryError
        committed = (<uint64_t*>self.data)[0]
        self.area = committed & SECOND_AREA
        self.end = min(committed & ~<uint64_t>SECOND_AREA, self.area_size)
        self.limit = min(<size_t>LEAST_LIMIT, self.area_size)

    def __dealloc__(self):
        if self.data is not NULL:
            log_unmap(self.data, self.mapped_size)

    cdef bint write(
        self, LogKind kind, const Head* head, uint64_t incarnation, double time_s,
        const uint8_t* payload, size_t size
    ) noexcept:
        """Write an entry behind the end, which is not part of the log yet; False: there is no
        room."""
        cdef size_t entry_size = (sizeof(Entry) + size + 7) & ~<size_t>7
        cdef Entry* entry
        if entry_size > self.area_size - self.end:
            return False
        entry = <Entry*>(self.data + HEADER_SIZE + self.area * self.area_size + self.end)
        entry.size = <uint32_t>entry_size
        entry.kind = kind
        entry.payload_size = <uint32_t>size
        entry.time_s = time_s
        entry.incarnation = incarnation
        entry.head = head[0]
        if size:
            memcpy(entry + 1, payload, size)
        self.end += entry_size
        return True

    cdef int commit(self) noexcept:
        """Make all that was written part of the log, at once."""
        log_commit(<uint64_t*>self.data, self.end | self.area)
        return 0

    cdef int begin_other(self) noexcept:
        """Write to the other area from now on: what is committed stays until the next commit."""
        self.area = 1 - self.area
        self.end = 0
        return 0

    cdef int end_other(self) noexcept:
        """Give back most of the area that was used before; go on until twice as much is written."""
        if self.area_size > KEPT_SIZE:
            log_free(
                self.data + HEADER_SIZE + (1 - self.area) * self.area_size + KEPT_SIZE,
                self.area_size - KEPT_SIZE,
            )
        self.limit = min(max(2 * self.end, LEAST_LIMIT), self.area_size)
        return 0

    cdef const Entry* read(self, size_t* place) except? NULL:
        """Return the entry at `place`, and move that behind it; NULL: there are no more."""
        cdef const Entry* entry
        if place[0] + sizeof(Entry) > self.end:
            return NULL
        entry = <const Entry*>(
            self.data + HEADER_SIZE + self.area * self.area_size + place[0]
        )
        if (
            entry.size < sizeof(Entry) or entry.size > self.end - place[0]
            or entry.payload_size > entry.size - sizeof(Entry)
        ):
            raise ValueError("the log: expected an entry")
        place[0] += entry.size
        return entry

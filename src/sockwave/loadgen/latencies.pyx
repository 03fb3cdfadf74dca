"""How long replies took: a histogram with the slots of HdrHistogram, of three digits.

Those of HdrHistogram with the unit of a nanosecond: a step for each, and from 2048 on 1024 steps
for each power of two.
"""

from cpython.bytes cimport PyBytes_FromStringAndSize
from libc.stdint cimport int64_t, uint8_t
from libc.stdlib cimport free, malloc
from libc.string cimport memset

cdef enum:
    STEP_COUNT = 1 << STEP_BITS


cdef inline uint8_t* write_number(uint8_t* out, int64_t number) noexcept nogil:
    """Write a number as HdrHistogram does, ZigZag and LEB128 of at most nine bytes; returns the
    place behind it."""
    cdef uint64_t rest = (<uint64_t>number << 1) ^ <uint64_t>(number >> 63)
    cdef int size = 1
    while rest >= 0x80 and size < MAX_NUMBER_SIZE:
        out[0] = <uint8_t>(rest & 0x7F) | 0x80
        out += 1
        rest >>= 7
        size += 1
    out[0] = <uint8_t>rest
    return out + 1


cdef class Latencies:
    """Counts of latencies, added in nanoseconds and read in microseconds."""

    cdef int add(self, uint64_t ns, uint64_t count) noexcept:
        """Count `count` replies that took `ns` each."""
        cdef uint64_t rest = ns
        cdef int power = 0
        while rest >= 2 * STEP_COUNT:
            rest >>= 1
            power += 1
        # Below 2 * STEP_COUNT, each nanosecond has a slot of its own.
        self.slots[min((<uint64_t>power << STEP_BITS) + rest, <uint64_t>SLOT_COUNT - 1)] += count
        self.count += count
        if ns > self.greatest_ns:
            self.greatest_ns = ns
        return 0

    def clear(self):
        """Set all counts to zero."""
        memset(self.slots, 0, sizeof(self.slots))
        self.count = self.greatest_ns = 0

    def merge(self, Latencies other):
        """Add all that another one has."""
        cdef int slot
        for slot in range(SLOT_COUNT):
            self.slots[slot] += other.slots[slot]
        self.count += other.count
        self.greatest_ns = max(self.greatest_ns, other.greatest_ns)

    def encode(self):
        """Return the counts as HdrHistogram's encoding V2 has them behind its header: those of all
        slots up to the last that is used, with a negative number for a run of empty ones."""
        cdef uint8_t* data
        cdef uint8_t* end
        cdef int64_t empty = 0
        cdef int slot
        data = end = <uint8_t*>malloc(SLOT_COUNT * MAX_NUMBER_SIZE)
        if data is NULL:
            raise MemoryError
        for slot in range(SLOT_COUNT):
            if self.slots[slot] == 0:
                empty += 1
                continue
            if empty:
                end = write_number(end, -empty)
                empty = 0
            end = write_number(end, <int64_t>self.slots[slot])
        try:
            return PyBytes_FromStringAndSize(<char*>data, end - data)
        finally:
            free(data)

    @property
    def greatest_us(self):
        """The longest latency."""
        return self.greatest_ns * 1e-3

    def percentile_us(self, double share):
        """Return the latency that this share of the replies did not exceed, to the width of a step;
        0 when there are none."""
        cdef uint64_t wanted = <uint64_t>(share * self.count)
        cdef uint64_t seen = 0
        cdef int slot, power
        for slot in range(SLOT_COUNT):
            seen += self.slots[slot]
            if seen > wanted:
                power = max((slot >> STEP_BITS) - 1, 0)
                middle = (<uint64_t>(slot - (power << STEP_BITS)) << power) + (1 << power) / 2.0
                return min(middle * 1e-3, self.greatest_us)
        return self.greatest_us

"""How long replies took: a histogram with steps of equal ratio."""

from libc.stdint cimport uint64_t

cdef enum:
    NANOSECOND_BITS = 40        # latencies up to 18 minutes
    STEP_BITS = 6               # 64 steps for each power of two: at most 1.6 % wide
    SLOT_COUNT = NANOSECOND_BITS << STEP_BITS

cdef class Latencies:
    """Counts of latencies, added in nanoseconds and read in microseconds."""
    cdef uint64_t slots[SLOT_COUNT]
    cdef readonly uint64_t count
    cdef uint64_t greatest_ns

    cdef int add(self, uint64_t ns, uint64_t count) noexcept

"""How long replies took: a histogram with the slots of HdrHistogram, of three digits."""

from libc.stdint cimport uint64_t

cdef enum:
    STEP_BITS = 10              # 1024 steps for each power of two: at most 0.1 % wide
    SLOT_COUNT = 33 << STEP_BITS    # latencies up to 73 minutes
    # The most that a slot takes as HdrHistogram writes it: LEB128 of 64 bits.
    MAX_NUMBER_SIZE = 9

cdef class Latencies:
    """Counts of latencies, added in nanoseconds and read in microseconds."""
    cdef uint64_t slots[SLOT_COUNT]
    cdef readonly uint64_t count
    cdef readonly uint64_t greatest_ns

    cdef int add(self, uint64_t ns, uint64_t count) noexcept

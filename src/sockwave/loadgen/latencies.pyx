"""How long replies took: a histogram with steps of equal ratio."""

from libc.string cimport memset

cdef enum:
    STEP_COUNT = 1 << STEP_BITS


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

"""How much a peer may do in a second: what things cost, and what one peer has spent.

It is a token bucket, kept as one time instead of a number of tokens and the time at which they were
counted: what was bought pushes it on, the clock catches up, and who is too far ahead has to go.
"""

from sockwave.limits import BURST_S


cdef int set_rate(Rate* rate, object per_second, object burst) except -1:
    """Make the rate for `per_second` things a second, of which `burst` may come at once."""
    if per_second is None:
        rate.one_s = rate.ahead_s = 0
    else:
        rate.one_s = 1 / <double>per_second
        # Half a thing more, as sums of prices are not exact.
        rate.ahead_s = (<double>burst + 0.5) * rate.one_s
    return 0


cdef class RateLimits:
    """The prices of one server."""

    def __cinit__(self, limits):
        set_rate(&self.message, limits.message_rate, max(BURST_S * (limits.message_rate or 0), 1))
        set_rate(&self.byte, limits.byte_rate, BURST_S * (limits.byte_rate or 0))
        set_rate(&self.control, limits.control_rate, limits.control_burst)
        self.free_fragment_count = min(limits.fragment_count, 0x7FFFFFFF)


cdef bint take(
    const Rate* rate, double* used_until_s, double now_s, size_t count
) noexcept nogil:
    """Let a peer have `count` things; False when it has had too many."""
    cdef double until_s = max(used_until_s[0], now_s) + count * rate.one_s
    if until_s > now_s + rate.ahead_s and rate.one_s > 0:
        return False
    used_until_s[0] = until_s
    return True

"""How much a client may send in a second, and how much one client has sent.

It is a token bucket, but one time is stored instead of a number of tokens and the time at which
they were counted. Each message moves that time forward by its cost, and the clock catches up with
it. A client whose time would be too far ahead of the clock is over the limit.
"""

from sockwave.limits import BURST_S


cdef int set_rate(Rate* rate, object per_second, object burst) except -1:
    """Set a limit of `per_second` messages, bytes or control frames a second, of which `burst` may
    come at once; `per_second` None: no limit."""
    if per_second is None:
        rate.cost_s = rate.burst_s = 0
    else:
        rate.cost_s = 1 / <double>per_second
        # Half of one more, as sums of floating-point costs are not exact.
        rate.burst_s = (<double>burst + 0.5) * rate.cost_s
    return 0


cdef class RateLimits:
    """The rate limits of one server."""

    def __cinit__(self, limits):
        set_rate(&self.message, limits.message_rate, max(BURST_S * (limits.message_rate or 0), 1))
        set_rate(&self.byte, limits.byte_rate, BURST_S * (limits.byte_rate or 0))
        set_rate(&self.control, limits.control_rate, limits.control_burst)
        self.free_fragment_count = min(limits.fragment_count, 0x7FFFFFFF)


cdef bint take(
    const Rate* rate, double* used_until_s, double now_s, size_t count
) noexcept nogil:
    """Count `count` messages, bytes or control frames of a client; False: they exceed the rate,
    and nothing is counted."""
    cdef double until_s = max(used_until_s[0], now_s) + count * rate.cost_s
    if until_s > now_s + rate.burst_s and rate.cost_s > 0:
        return False
    used_until_s[0] = until_s
    return True

"""How much a peer may do in a second: what things cost, and what one peer has spent.

It is a token bucket, kept as one time instead of a number of tokens and the time at which they were
counted: what was bought pushes it on, the clock catches up, and who is too far ahead has to go.
"""

from sockwave.limits import BURST_S


cdef int set_price(Price* price, object rate, object burst) except -1:
    """Make the price for `rate` things a second, of which `burst` may come at once."""
    if rate is None:
        price.one_s = price.ahead_s = 0
    else:
        price.one_s = 1 / <double>rate
        # Half a thing more, as sums of prices are not exact.
        price.ahead_s = (<double>burst + 0.5) * price.one_s
    return 0


cdef class Tariff:
    """The prices of one server."""

    def __cinit__(self, limits):
        set_price(&self.message, limits.message_rate, max(BURST_S * (limits.message_rate or 0), 1))
        set_price(&self.byte, limits.byte_rate, BURST_S * (limits.byte_rate or 0))
        set_price(&self.control, limits.control_rate, limits.control_burst)
        self.free_fragment_count = min(limits.fragment_count, 0x7FFFFFFF)


cdef bint spend(
    const Price* price, double* spent_until_s, double now_s, size_t count
) noexcept nogil:
    """Let a peer have `count` things; False when it has had too many."""
    cdef double until_s = max(spent_until_s[0], now_s) + count * price.one_s
    if until_s > now_s + price.ahead_s and price.one_s > 0:
        return False
    spent_until_s[0] = until_s
    return True

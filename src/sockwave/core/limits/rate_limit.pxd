"""How much a client may send in a second, and how much one client has sent."""

from libc.stdint cimport uint32_t

# A rate limit in seconds: a client may use one second in each second.
cdef struct Rate:
    double cost_s               # seconds that one message, byte or control frame uses; 0: no limit
    double burst_s              # the most seconds that a client may use at once, ahead of the clock

# One client's usage: the time, on the loop's clock, up to which it has used each rate.
cdef struct Usage:
    double message_s
    double byte_s
    double control_s

cdef class RateLimits:
    """The rate limits of one server."""
    cdef Rate message, byte, control
    cdef uint32_t free_fragment_count   # of one message: see FRAGMENT_PRICE_SIZE in `reader`

cdef bint take(
    const Rate* rate, double* used_until_s, double now_s, size_t count
) noexcept nogil

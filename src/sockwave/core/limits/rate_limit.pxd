"""How much a peer may do in a second: what things cost, and what one peer has spent."""

from libc.stdint cimport uint32_t

# A peer pays in seconds of its time, of which it has one in each second.
cdef struct Rate:
    double one_s                # of one message, byte or control frame; 0: free
    double ahead_s              # how far ahead of the clock it may take: all at once, at most

# Until when one peer's time is spent, for each.
cdef struct Usage:
    double message_s
    double byte_s
    double control_s

cdef class RateLimits:
    """The prices of one server."""
    cdef Rate message, byte, control
    cdef uint32_t free_fragment_count   # of one message

cdef bint take(
    const Rate* rate, double* used_until_s, double now_s, size_t count
) noexcept nogil

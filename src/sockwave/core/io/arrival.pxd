"""When the bytes that a transport delivers have come."""

cdef class Arrival:
    """When the bytes that a transport delivers have come, as the kernel says."""
    cdef double at_s            # seconds since 1970; 0: the kernel has not said

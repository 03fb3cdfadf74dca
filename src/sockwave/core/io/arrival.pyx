"""When the bytes that a transport delivers have come."""


cdef class Arrival:
    """When the bytes that a transport delivers have come, as the kernel says.

    A transport that can tell sets it before it delivers, and who wants to know refers to it.
    """

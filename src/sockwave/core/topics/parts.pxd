"""Messages that are too large for a broker: how they are taken apart and put together."""

cdef class Part:
    """What has come of one message."""
    cdef bytes name
    cdef long long next, count      # of the parts: which one is due, how many there are
    cdef bytearray data

cdef class PartialMessages:
    cdef object messages            # an OrderedDict of (host, number) → Part, the oldest first
    cdef size_t size                # bytes of all of them
    cdef size_t most_size

    cdef bytes take(self, bytes name, bytes data)
    cdef int drop(self, object key) except -1

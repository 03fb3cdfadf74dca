"""What this host knows of one log that the broker keeps for all hosts."""

from cpython.bytes cimport PyBytes_FromStringAndSize

cdef enum:
    # What comes while we read is kept up to here; beyond it, it is read as well.
    MAX_AHEAD_SIZE = 1 << 20
    MAX_AHEAD_COUNT = 1024


cdef class SharedLog:
    """What this host knows of one log."""

    def __cinit__(self):
        self.waiting = []
        self.ahead = []
        self.unheard = []

    cdef int put_ahead(
        self, uint64_t epoch, uint64_t offset, const uint8_t* data, size_t size
    ) except -1:
        """Keep what has come until what is before it has been read."""
        if len(self.ahead) >= MAX_AHEAD_COUNT or self.ahead_size + size > MAX_AHEAD_SIZE:
            self.is_behind = True
            return 0
        self.ahead_size += size
        self.ahead.append((
            epoch, offset, None if data is NULL
            else PyBytes_FromStringAndSize(<const char*>data, size),
        ))
        return 0

    cdef bint awaits(self, Link link) noexcept:
        """Tell whether a link is answered later."""
        for one in self.waiting:
            if one[0] is link:
                return True
        return False

    cdef int forget_link(self, Link link) except -1:
        """Answer a link no more: it does not want the topic any longer."""
        if self.waiting:
            self.waiting = [one for one in self.waiting if one[0] is not link]
        return 0

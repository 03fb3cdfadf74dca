"""What this host knows of one log that the broker keeps for all hosts."""

from libc.stdint cimport uint8_t, uint64_t

from sockwave.core.topics.links cimport Link

# One topic whose places the broker gives. Its OrderedTopic has the replica: epoch, top, history.
cdef class SharedLog:
    cdef bint is_live           # each message that follows `top` comes by the channel
    cdef bint is_whole          # the history has all that the broker has
    cdef bint is_reading
    cdef bint is_refused        # the broker does not tell what is in it
    cdef bint is_lost           # links have to be told that messages are missing for good
    cdef bint is_behind         # more has come while we read than is kept
    cdef uint64_t read_number   # of the last page that was asked for
    cdef uint64_t place         # up to where we have read
    cdef uint64_t silent_until  # up to here, what is read is no news for any link
    cdef list waiting           # (link, SUB) that are answered once it is live and whole
    cdef list ahead             # (epoch, offset, parcel or None) that have come while we read
    cdef size_t ahead_size
    cdef uint64_t placed_epoch, placed  # the newest place of a message of ours
    cdef list unheard           # keys of submissions that have a place, and have not come yet

    cdef int put_ahead(
        self, uint64_t epoch, uint64_t offset, const uint8_t* data, size_t size
    ) except -1
    cdef bint awaits(self, Link link) noexcept
    cdef int forget_link(self, Link link) except -1

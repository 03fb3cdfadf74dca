"""What waits to be sent to one peer: a queue of segments."""

from cpython.object cimport PyObject
from libc.stdint cimport uint8_t, uint32_t, uint64_t

# A stretch of bytes that waits for the peer.
# A broadcast to a thousand connections is a thousand segments and one owner.
cdef struct Segment:
    PyObject* owner             # keeps `data` alive: a bytes or a str
    const uint8_t* data
    size_t size
    bint continues              # belongs to the same frame as the segment before
    bint is_expendable          # a whole message, which may be dropped while it waits

cdef class Backlog:
    """What waits for one peer, in order."""
    cdef Segment* segments
    cdef uint32_t first, count, capacity
    cdef uint32_t tail_room     # how many bytes can still be added to the last segment's owner
    cdef uint64_t passed_count  # segments that have left by the front, ever
    # Key → where its newest message lies, in segments since the first ever: see policy.pyx.
    cdef dict places
    cdef readonly size_t backlog_size

    cdef uint8_t* room(self, size_t size) except NULL
    cdef int provide(self, uint32_t count) except -1
    cdef int append(self, object owner, const uint8_t* data, size_t size, bint continues) except -1
    cdef int advance(self, size_t taken) noexcept
    cdef int forget(self, bint keep_started) except -1

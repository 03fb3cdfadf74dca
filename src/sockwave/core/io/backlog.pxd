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

# For who moves a row of frames here of which the first `taken` bytes have left.
cdef size_t cut_size(const uint8_t* frame, const uint8_t* end, size_t taken) noexcept

# The segments that wait, and what there is to know of them: one block of memory.
cdef struct Row:
    uint64_t passed_count       # segments that have left by the front
    uint32_t capacity
    uint32_t tail_room          # how many bytes can still be added to the last segment's owner
    # How far the first segment's owner begins before the end of a frame, whose begin has left.
    uint32_t lead_size
    Segment segments[1]         # in fact `capacity`

cdef class Backlog:
    """What waits for one peer, in order."""
    cdef Row* row               # NULL: nothing waits
    # Key → where its newest message lies, in segments since the row's first: see policy.pyx.
    cdef dict places
    cdef readonly size_t backlog_size
    cdef uint32_t first, count  # of the segments in the row

    cdef uint8_t* room(self, size_t size) except NULL
    cdef int provide(self, uint32_t count) except -1
    cdef int append(self, object owner, const uint8_t* data, size_t size, bint continues) except -1
    cdef int advance(self, size_t taken) noexcept
    cdef size_t count_messages(self, bint is_draft) noexcept
    cdef int forget(self, bint keep_started) except -1

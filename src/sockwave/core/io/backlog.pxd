"""What waits to be sent to one peer: a queue of segments, as a part of its writer."""

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

# The segments that wait, and what there is to know of them: one block of memory.
cdef struct Row:
    uint64_t passed_count       # segments that have left by the front
    # A dict: key → where its newest message lies, in segments since the row's first. NULL: no keys.
    PyObject* places
    uint32_t capacity
    uint32_t tail_room          # how many bytes can still be added to the last segment's owner
    # How far the first segment's owner begins before the end of a frame, whose begin has left.
    uint32_t lead_size
    Segment segments[1]         # in fact `capacity`

# What waits for one peer, in order. It takes memory while there is something in it only.
# Who holds one begins with zeros, and ends with `remove_unsent`.
cdef struct Backlog:
    Row* row                    # NULL: nothing waits
    size_t size                 # of all that waits, in bytes
    uint32_t first, count       # of the segments in the row

# The marks of the options, in bytes: where the peer is waited for, and what is too much.
cdef struct Marks:
    size_t high_water, low_water, max_backlog

# How much is left of the frame that `taken` bytes from its row's begin on cut in two.
cdef size_t cut_size(const uint8_t* frame, const uint8_t* end, size_t taken) noexcept

cdef uint8_t* append_room(Backlog* backlog, size_t size) except NULL
cdef int provide_segments(Backlog* backlog, uint32_t count) except -1
cdef int append_segment(
    Backlog* backlog, object owner, const uint8_t* data, size_t size, bint continues
) except -1
cdef int append_backlog(Backlog* backlog, const Backlog* other) except -1
cdef int remove_front(Backlog* backlog, size_t taken) noexcept
cdef int remove_unsent(Backlog* backlog, bint keep_started) noexcept
cdef size_t count_messages(const Backlog* backlog, bint is_draft) noexcept

# For `expendable`:
cdef int free_row(Backlog* backlog) noexcept
cdef dict places_of(Backlog* backlog)
cdef inline Segment* last_segment(const Backlog* backlog) noexcept:
    return &backlog.row.segments[backlog.first + backlog.count - 1]

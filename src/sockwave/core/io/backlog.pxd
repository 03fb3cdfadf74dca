"""The backlog: a queue of segments that wait to be sent to one peer, as a part of its writer."""

from cpython.object cimport PyObject
from libc.stdint cimport uint8_t, uint32_t, uint64_t

# Bytes in one piece of memory that wait to be sent to the peer.
# A broadcast to a thousand connections is a thousand segments and one owner.
cdef struct Segment:
    PyObject* owner             # keeps `data` alive: a bytes or a str
    const uint8_t* data
    size_t size
    bint continues              # belongs to the same frame as the segment before
    bint is_expendable          # a whole message, which may be dropped while it waits

# The array of segments and its bookkeeping, in one block of memory.
cdef struct Row:
    uint64_t passed_count       # segments that were removed from the front
    # A dict: key → position of its newest message, counted in segments from the first that was
    # ever in this row. NULL: no keys.
    PyObject* places
    uint32_t capacity
    uint32_t tail_room          # bytes that can still be added to the last segment's owner
    # The first segment's owner may begin with the rest of a frame whose beginning has been sent:
    # the size of that rest, in bytes.
    uint32_t lead_size
    Segment segments[1]         # in fact `capacity`

# What waits for one peer, in order. It takes memory only while it is not empty.
# Its owner initializes it with zeros and frees it by `remove_unsent`.
cdef struct Backlog:
    Row* row                    # NULL: nothing waits
    size_t size                 # bytes in all segments together
    uint32_t first, count       # of the segments in the row

# Limits from the options, in bytes. Above `high_water` senders wait until at most `low_water` is
# left; a message that would pass `max_backlog` is too much.
cdef struct Marks:
    size_t high_water, low_water, max_backlog

# Bytes left of the frame that is cut in two when `taken` bytes, counted from `frame`, have been
# sent.
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

"""Messages that may be dropped while they wait in a backlog."""

from libc.stdint cimport uint32_t

from sockwave.core.io.backlog cimport Backlog, Segment

cdef int append_expendable(Backlog* backlog, bytes frame) except -1
cdef int note_key(Backlog* backlog, object key) except -1
cdef Segment* find_message(Backlog* backlog, object key, uint32_t begun_count) except? NULL
cdef int replace_message(Backlog* backlog, Segment* old, bytes frame) noexcept
cdef uint32_t drop_oldest(Backlog* backlog, size_t* excess, uint32_t begun_count) noexcept

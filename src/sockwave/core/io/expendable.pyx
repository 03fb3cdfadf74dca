"""Messages that may be dropped while they wait in a backlog.

Each has a segment of its own. A message with a key is found by it: only the newest message of a key
waits. Keys are the application's objects: to hash or compare one may run code that closes the
connection and empties the queue, so what was read of the backlog before is not valid afterwards.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from cpython.object cimport PyObject
from cpython.ref cimport Py_DECREF, Py_INCREF
from libc.stdint cimport uint8_t, uint64_t

from sockwave.core.io.backlog cimport append_segment, free_row, last_segment, places_of

cdef enum:
    # Keys whose messages have been sent are removed when there are so many more keys than segments.
    SPARE_KEY_COUNT = 64


cdef int append_expendable(Backlog* backlog, bytes frame) except -1:
    """Add a message in a segment of its own, so that it can be dropped alone."""
    append_segment(
        backlog, frame, <const uint8_t*>PyBytes_AS_STRING(frame), PyBytes_GET_SIZE(frame), False
    )
    last_segment(backlog).is_expendable = True
    return 0


cdef int note_key(Backlog* backlog, object key) except -1:
    """Note that the last segment holds the newest message of `key`."""
    cdef uint64_t passed_count = backlog.row.passed_count
    cdef uint64_t last_place = passed_count + backlog.count - 1
    cdef dict places = places_of(backlog)
    if <size_t>len(places) > backlog.count + SPARE_KEY_COUNT:
        for old in [old for old, place in places.items() if place < passed_count]:
            places.pop(old, None)
    places[key] = last_place
    return 0


cdef Segment* find_message(Backlog* backlog, object key, uint32_t begun_count) except? NULL:
    """Find the message of `key` that waits after the first `begun_count` segments; NULL if there is
    none."""
    cdef Segment* segment
    cdef uint64_t place, passed_count
    cdef dict places
    if backlog.row is NULL or backlog.row.places is NULL:
        return NULL
    places = <dict>backlog.row.places
    found = places.get(key)
    if found is None or backlog.row is NULL:
        return NULL
    place = found
    passed_count = backlog.row.passed_count
    if place < passed_count + begun_count or place >= passed_count + backlog.count:
        return NULL
    segment = &backlog.row.segments[backlog.first + <uint32_t>(place - passed_count)]
    # If the message was dropped, a segment that was kept has its position: see `drop_oldest`.
    return segment if segment.is_expendable else NULL


cdef int replace_message(Backlog* backlog, Segment* old, bytes frame) noexcept:
    """Replace a message that waits by a newer one, in the same place of the queue."""
    cdef PyObject* owner = old.owner
    backlog.size += PyBytes_GET_SIZE(frame) - old.size
    Py_INCREF(frame)
    old.owner = <PyObject*>frame
    old.data = <const uint8_t*>PyBytes_AS_STRING(frame)
    old.size = PyBytes_GET_SIZE(frame)
    Py_DECREF(<object>owner)
    return 0


cdef uint32_t drop_oldest(Backlog* backlog, size_t* excess, uint32_t begun_count) noexcept:
    """Drop the oldest expendable messages until `excess` bytes are dropped, and return how many.

    The first `begun_count` segments are kept: some of their bytes may have been sent. The segments
    that are kept in front of a dropped one move up to those behind it, so that the longer part of
    the queue is not moved. Of those in front, only the first `begun_count` can be expendable.
    """
    cdef uint32_t begin = backlog.first
    cdef uint32_t end = begin + backlog.count
    cdef uint32_t kept, i
    cdef uint32_t dropped_count = 0
    cdef Segment* segment
    i = begin + begun_count
    while i < end and backlog.row.segments[i].continues:
        i += 1
    while i < end and excess[0]:
        segment = &backlog.row.segments[i]
        i += 1
        if segment.is_expendable:
            excess[0] -= min(excess[0], segment.size)
            backlog.size -= segment.size
            Py_DECREF(<object>segment.owner)
            segment.owner = NULL
            dropped_count += 1
    if dropped_count:
        kept = i
        while i > begin:
            i -= 1
            if backlog.row.segments[i].owner is not NULL:
                kept -= 1
                backlog.row.segments[kept] = backlog.row.segments[i]
        backlog.first = kept
        backlog.count = end - kept
        backlog.row.passed_count += dropped_count
        if not backlog.count:
            free_row(backlog)
    return dropped_count

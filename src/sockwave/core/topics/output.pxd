"""What a worker writes to the sequencer, and what it calls things there."""

from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t

from sockwave.core.topics.records cimport Buffer
from sockwave.core.topics.subscribers cimport Subscribers

cdef class LinkOutput:
    """What a worker writes to the sequencer."""
    cdef Buffer out
    cdef object schedule        # called when there is something to send
    cdef bint is_scheduled      # it was called, and `read` not yet
    cdef readonly bint is_open  # the sequencer has said WELCOME
    cdef readonly uint16_t worker       # what the sequencer calls this link
    cdef uint32_t last_number, last_request
    cdef dict own_numbers       # this worker's -> Subscribers
    cdef dict requests          # -> who waits for an answer: Subscribers, Replay, or a callable

    cdef int forget(self) except -1
    cdef int pump(self) except -1
    cdef int write(
        self, int type, int flags, Subscribers topic, uint32_t request, uint64_t epoch,
        uint64_t offset, uint64_t sequence, const uint8_t* payload, size_t size,
    ) except -1
    cdef int write_bytes(
        self, int type, int flags, Subscribers topic, uint32_t request, bytes payload
    ) except -1
    cdef int name(self, Subscribers topic) except -1
    cdef uint32_t new_request(self, object who) except 0

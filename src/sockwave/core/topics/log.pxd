"""The log of messages in memory that outlives the process: a new sequencer goes on from it."""

from libc.stdint cimport uint8_t, uint32_t, uint64_t

from sockwave.core.topics.records cimport Head

cdef enum LogKind:
    LOG_TOPIC = 1           # a topic's number, name, epoch and top: before its messages
    LOG_MESSAGE = 2         # a message that is kept
    LOG_ID = 3              # an id of a message that is kept no more
    LOG_ORIGIN = 4          # what a worker has published

# What an entry begins with; its payload follows, and zeros up to a multiple of 8.
cdef struct Entry:
    uint32_t size           # of all of it
    uint32_t kind
    uint32_t payload_size
    double time_s           # of a clock that all processes of the machine share
    uint64_t incarnation    # of the publisher
    Head head

cdef class Log:
    """Two areas of one mapping: one is in use, the other takes what is left when it is full."""
    cdef uint8_t* data
    cdef size_t mapped_size, area_size
    cdef int area               # the one that is written to
    cdef size_t end             # in it
    cdef size_t limit           # from there on, what has gone is left behind

    cdef bint write(
        self, LogKind kind, const Head* head, uint64_t incarnation, double time_s,
        const uint8_t* payload, size_t size
    ) noexcept
    cdef int commit(self) noexcept
    cdef int begin_other(self) noexcept
    cdef int end_other(self) noexcept
    cdef const Entry* read(self, size_t* place) except? NULL


cdef inline const uint8_t* entry_payload(const Entry* entry) noexcept:
    return <const uint8_t*>(entry + 1)

"""A topic as the sequencer knows it: its order, its history, and which links want it."""

from cpython.object cimport PyObject
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t

from sockwave.core.flag cimport flag
from sockwave.core.topics.history cimport History
from sockwave.core.topics.links cimport Link

# What one link has to do with one topic.
cdef struct Interest:
    PyObject* link              # a Link, which removes its interests before it goes
    uint32_t name_count         # numbers that it has for the topic
    uint32_t dropped_count      # messages since the last GAP
    flag by_name, by_pattern    # the two ways to want a topic
    flag is_known               # it was told the sequencer's number
    flag is_watching            # presence
    flag is_gapped              # stands in its link's `gapped`

cdef class OrderedTopic:
    cdef readonly bytes name
    cdef readonly uint32_t number
    cdef uint64_t serial        # no two topics have the same; their numbers are used again
    cdef uint64_t epoch, top
    # Those that want the topic stand first.
    cdef Interest* interests
    cdef uint32_t interest_count, want_count, capacity
    cdef uint32_t name_count    # numbers that links have for it
    cdef uint32_t id_count      # of its messages that are known
    cdef uint64_t generation    # of the wanted patterns, when those that match were looked up
    # The settings.
    cdef flag has_history, has_presence
    cdef double grace_s
    cdef flag is_logged         # its name and its epoch stand in the log
    cdef flag has_messages      # it cannot become a stream
    cdef History history
    cdef object members         # Members; None: there are none
    cdef object stream          # Stream; None: it is none
    cdef object shared          # SharedLog: the broker gives it its places; None: we do
    cdef uint32_t pending       # a bit for each kind of deadline that waits
    cdef double unwanted_since_s

    cdef Interest* find(self, Link link) noexcept
    cdef Interest* provide(self, Link link) except NULL
    cdef Interest* set_wants(self, Interest* interest, bint by_name, bint by_pattern) noexcept
    cdef int remove_unneeded(self, Link link) noexcept
    cdef int remove_at(self, uint32_t place) noexcept


cdef inline bint wants(const Interest* interest) noexcept nogil:
    return interest.by_name or interest.by_pattern


cdef inline bint is_wanted_by_name(OrderedTopic topic) noexcept:
    """Tell whether a link wants it, and not by a pattern alone."""
    cdef uint32_t i
    for i in range(topic.want_count):
        if topic.interests[i].by_name:
            return True
    return False


cdef inline bint is_kept_whole(OrderedTopic topic) noexcept:
    """Tell whether all that there is of it is kept for those who come late."""
    return topic.has_history or topic.stream is not None


cdef inline bint is_sequenced(OrderedTopic topic) noexcept:
    """Tell whether its messages have places in one order, for all workers."""
    return topic.has_history or topic.has_presence or topic.stream is not None

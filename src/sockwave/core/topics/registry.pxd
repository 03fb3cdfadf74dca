"""What the sequencer knows: links, topics, settings, and what is due."""

from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t

from sockwave.core.flag cimport flag
from sockwave.core.topics.deadlines cimport Deadlines
from sockwave.core.topics.history cimport Store
from sockwave.core.topics.known_ids cimport KnownIds
from sockwave.core.topics.links cimport Link, Origin
from sockwave.core.topics.log cimport Log
from sockwave.core.topics.ordered_topic cimport Interest, OrderedTopic
from sockwave.core.topics.outside cimport Outside
from sockwave.core.topics.wildcards cimport Patterns

# Kinds of deadlines; those of topics come first, and each topic has at most one of each that waits.
cdef enum DeadlineKind:
    TTL_DUE, DIFF_DUE, GRACE_DUE, UNWATCHED_DUE, STREAM_DUE, PING_DUE, COUNT_DUE

cdef class TopicSettings:
    """What the application has declared for one topic, or for all that match a pattern."""
    cdef flag has_history, has_presence
    cdef uint32_t max_count
    cdef size_t max_size
    cdef double ttl_s, grace_s

cdef class Registry:
    cdef object clock
    cdef double now_s
    cdef readonly uint64_t epoch    # of this incarnation of the sequencer
    cdef dict links                 # id → Link
    cdef uint16_t last_link_id
    cdef dict origins               # incarnation → Origin
    cdef object gone_origins        # a deque of (when, incarnation) of those whose link has ended
    cdef dict names                 # name → OrderedTopic
    cdef list topics                # number → OrderedTopic, or None
    cdef list free_numbers
    cdef uint64_t last_serial
    cdef Patterns settings          # pattern or name → TopicSettings
    cdef dict declared              # the same as they came, to see what has changed
    cdef Patterns wanted            # pattern → the set of links that want it
    cdef dict pattern_links         # the same, to be found by the pattern itself
    cdef dict counts                # of subscribers: request → SubscriberCount
    cdef uint32_t last_request
    cdef Store store
    cdef Outside outside            # the way to other hosts; None: there is no broker
    cdef Log log                    # None: what is kept ends with the process
    cdef KnownIds ids
    cdef Deadlines deadlines
    cdef size_t topic_limit, append_size, stream_size
    cdef uint64_t message_count, duplicate_count, member_count

    cdef int look_at_clock(self) except -1
    cdef OrderedTopic topic_at(self, uint32_t number)
    cdef OrderedTopic intern(self, bytes name)
    cdef int declare(self, str pattern, TopicSettings settings) except -1
    cdef int configure(self, OrderedTopic topic) except -1
    cdef int look_up_patterns(self, OrderedTopic topic) except -1
    cdef int want(self, OrderedTopic topic, Link link, bint by_name, bint by_pattern) except -1
    cdef int want_pattern(self, Link link, str pattern) except -1
    cdef int unwant_pattern(self, Link link, str pattern) except -1
    cdef int begin_log(self, OrderedTopic topic) except -1
    cdef int forget_if_unused(self, OrderedTopic topic) except -1
    cdef int forget_emptied(self) except -1
    cdef int note_id(
        self, OrderedTopic topic, const uint8_t* id, size_t size, uint64_t epoch, uint64_t offset
    ) except -1
    cdef int forget_ids(self, size_t new_count) except -1
    cdef int arm(self, OrderedTopic topic, DeadlineKind kind, double due_s) except -1
    cdef int arm_alone(self, DeadlineKind kind, uint32_t number, double due_s) except -1

cdef uint64_t draw_epoch() except 0
cdef TopicSettings read_settings(object fields)


cdef inline int want_current(Registry registry, OrderedTopic topic) except -1:
    """Have the topic's interests tell which links want it by a pattern."""
    if topic.generation != registry.wanted.generation:
        registry.look_up_patterns(topic)
    return 0

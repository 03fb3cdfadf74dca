"""Other hosts, as the sequencer sees them: what it tells them, and asks of them."""

from libc.stdint cimport uint8_t

from sockwave.core.topics.links cimport Link
from sockwave.core.topics.ordered_topic cimport OrderedTopic
from sockwave.core.topics.records cimport Head

cdef class Outside:
    """What connects the sequencer to those of other hosts: a bridge."""
    cdef int use(self, object registry, object connect) except -1
    cdef int topic_wanted(self, OrderedTopic topic, bint is_wanted) except -1
    cdef int pattern_wanted(self, str pattern, bint is_wanted) except -1
    cdef bint keeps_end(self, Link link, object name, const Head* end) except -1
    cdef int publish(
        self, bytes name, const Head* head, const uint8_t* payload, size_t size
    ) except -1
    cdef int share_log(self, OrderedTopic topic) except -1
    cdef int drop_log(self, OrderedTopic topic, object log) except -1
    cdef bint keeps_subscription(
        self, OrderedTopic topic, Link link, const Head* head
    ) except -1
    cdef int stop_keeping(self, OrderedTopic topic, Link link) except -1
    cdef int submit(
        self, Link link, OrderedTopic topic, const Head* head, const uint8_t* payload, size_t size
    ) except -1
    cdef int abort_stream(self, OrderedTopic topic) except -1
    cdef int check_watched(self, OrderedTopic topic) except -1
    cdef int know_producer(self, OrderedTopic topic, bytes host) except -1
    cdef int settings_changed(self) except -1
    cdef int use_presence(self) except -1
    cdef int member_joined(self, OrderedTopic topic, bytes key, bytes data) except -1
    cdef int member_left(self, OrderedTopic topic, bytes key, object member) except -1
    cdef int welcome(self, Link link) except -1

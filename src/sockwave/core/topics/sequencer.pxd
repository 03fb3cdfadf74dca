"""The sequencer: it orders the topics of one host's workers, without any socket or thread."""

from libc.stdint cimport uint8_t, uint32_t

from sockwave.core.topics.links cimport Link, Switch
from sockwave.core.topics.ordered_topic cimport OrderedTopic
from sockwave.core.topics.records cimport Head
from sockwave.core.topics.registry cimport Registry

cdef class Sequencer(Switch):
    cdef Registry registry
    cdef readonly object broker     # what workers have said of the broker; None: nothing
    cdef bint is_pinging            # the next ping is due at a time: there are links, or were

    cdef int take_other(
        self, Link link, const Head* head, const uint8_t* payload, size_t size
    ) except -1
    cdef int refuse_unknown(self, Link link, const Head* head) except -1
    cdef int greet(self, Link link, const Head* head, const uint8_t* payload, size_t size) except -1
    cdef int act(
        self, Link link, OrderedTopic topic, const Head* head, const uint8_t* payload, size_t size
    ) except -1
    cdef int declare(self, const uint8_t* payload, size_t size) except -1
    cdef int name(self, Link link, const Head* head, bytes name) except -1
    cdef int forget(self, Link link, uint32_t number) except -1
    cdef int act_on_pattern(self, Link link, str pattern, const Head* head) except -1
    cdef int broadcast(
        self, Link link, const Head* head, const uint8_t* payload, size_t size
    ) except -1
    cdef int leave_topic(self, Link link, OrderedTopic topic) except -1
    cdef list topics_of(self, Link link)
    cdef int forget_origin(self) except -1
    cdef int handle_due(self, uint32_t kind, uint32_t number, OrderedTopic topic) except -1
    cdef int ping(self) except -1

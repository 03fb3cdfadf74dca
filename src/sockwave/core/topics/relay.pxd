"""What is written to links: answers, which are never dropped, and messages, which may be."""

from libc.stdint cimport uint8_t, uint32_t, uint64_t

from sockwave.core.topics.links cimport Link
from sockwave.core.topics.ordered_topic cimport Interest, OrderedTopic
from sockwave.core.topics.records cimport Head

cdef int write_answer(Link link, const Head* head, const uint8_t* payload, size_t size) except -1
cdef int tell_name(Link link, OrderedTopic topic, uint32_t request) except -1
cdef int acknowledge(
    Link link, uint32_t topic, uint64_t epoch, uint64_t offset, uint64_t sequence, int flags
) except -1
cdef int refuse(
    Link link, const Head* cause, OrderedTopic topic, bytes reason
) except -1
cdef bint write_message(
    OrderedTopic topic, Interest* interest, const Head* head, const uint8_t* payload, size_t size
) except -1
cdef int relay(
    OrderedTopic topic, const Head* head, const uint8_t* payload, size_t size, Link besides
) except -1
cdef bint relay_to_all(
    OrderedTopic topic, const Head* head, const uint8_t* payload, size_t size, Link publisher
) except -1
cdef bint write_broadcast(
    Link link, const Head* head, const uint8_t* payload, size_t size
) except -1

"""PUB: a message gets its place in the order, and goes to the links that want it."""

from libc.stdint cimport uint8_t

from sockwave.core.topics.links cimport Link
from sockwave.core.topics.ordered_topic cimport OrderedTopic
from sockwave.core.topics.records cimport Head
from sockwave.core.topics.registry cimport Registry

cdef int publish(
    Registry registry, Link link, OrderedTopic topic, const Head* head, const uint8_t* payload,
    size_t size,
) except -1
cdef int expire_history(Registry registry, OrderedTopic topic) except -1

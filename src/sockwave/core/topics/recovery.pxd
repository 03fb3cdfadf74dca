"""What goes into the log, and what a new sequencer makes of it."""

from libc.stdint cimport uint8_t, uint64_t

from sockwave.core.topics.ordered_topic cimport OrderedTopic
from sockwave.core.topics.records cimport Head
from sockwave.core.topics.registry cimport Registry

cdef int log_message(
    Registry registry, OrderedTopic topic, uint64_t incarnation, const Head* message,
    const uint8_t* payload, size_t size,
) except -1
cdef int recover(Registry registry) except -1

"""COUNT: how many subscribers a topic has, of all links together."""

from libc.stdint cimport uint32_t, uint64_t

from sockwave.core.topics.links cimport Link
from sockwave.core.topics.ordered_topic cimport OrderedTopic
from sockwave.core.topics.records cimport Head
from sockwave.core.topics.registry cimport Registry

cdef class SubscriberCount:
    """A count that was asked for, while links still have to answer."""
    cdef Link asker
    cdef uint32_t topic, request    # as the asker knows them
    cdef set awaited                # the links that have not answered yet
    cdef uint64_t sum

cdef int ask_links(Registry registry, Link link, OrderedTopic topic, const Head* head) except -1
cdef int take_count(Registry registry, Link link, uint32_t request, uint64_t count) except -1
cdef int stop_waiting(Registry registry, uint32_t request) except -1
cdef int stop_waiting_for(Registry registry, Link link) except -1

"""Presence: who is in a topic, from the first link that has joined to the last one that leaves."""

from libc.stdint cimport uint8_t, uint16_t, uint64_t

from sockwave.core.topics.links cimport Link
from sockwave.core.topics.ordered_topic cimport OrderedTopic
from sockwave.core.topics.records cimport Head
from sockwave.core.topics.registry cimport Registry

cdef class Member:
    """One member of one topic."""
    cdef bytes data             # JSON
    cdef uint16_t link          # one link that has joined with it; 0: none has any more
    cdef set other_links        # None: there is no other one

    cdef int add(self, uint16_t link) except -1
    cdef int discard(self, uint16_t link) except -1

cdef class Members:
    """The members of one topic."""
    cdef dict by_key            # key → Member
    cdef dict told              # key → data, or None, that watchers know of, where that has changed
    cdef dict leaving           # key → when, of those that no link has any more, the earliest first
    cdef double told_s          # when the last difference was told

cdef int join(
    Registry registry, Link link, OrderedTopic topic, const Head* head, bytes key, bytes data
) except -1
cdef int leave(Registry registry, Link link, OrderedTopic topic, bytes key) except -1
cdef int leave_all(Registry registry, Link link, OrderedTopic topic) except -1
cdef int let_go(Registry registry, OrderedTopic topic) except -1
cdef int tell_difference(Registry registry, OrderedTopic topic) except -1
cdef int write_members(OrderedTopic topic, Link link, const Head* request) except -1

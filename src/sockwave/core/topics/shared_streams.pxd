"""Streams that the broker keeps for all hosts: who begins, watches and ends them."""

from libc.stdint cimport uint8_t, uint64_t

from sockwave.core.topics.links cimport Link
from sockwave.core.topics.ordered_topic cimport OrderedTopic
from sockwave.core.topics.placements cimport Placements, Submission
from sockwave.core.topics.records cimport Head
from sockwave.core.topics.registry cimport Registry
from sockwave.core.topics.shared_logs cimport SharedLogs
from sockwave.core.topics.shared_presence cimport SharedPresence

cdef class SharedStreams:
    cdef Registry registry
    cdef object note            # called when there is something for the broker's client
    cdef Placements placements
    cdef SharedLogs logs
    cdef SharedPresence presence
    cdef bytes host             # the name of this one
    cdef bint is_used           # there is a stream, or was
    cdef set looked             # topics of which the broker has told whether they are streams
    cdef dict looks             # name → whether it has been asked; those it has not told of
    cdef dict waiting           # name → [(link, SUB)] that are answered once it has
    cdef list asked             # names of our streams: other hosts are asked who watches them
    cdef dict watched           # name → seconds since it had a subscriber here, to be told
    cdef list gone_hosts        # whose streams are to be aborted
    cdef dict refusals          # key of a stream's end → how often the broker has refused it
    cdef list refused_ends      # the keys of those that are to be sent again
    cdef int beat_count
    cdef readonly uint64_t bad_count

    cdef int begin(self, OrderedTopic topic) except -1
    cdef bint heard_first(self, OrderedTopic topic, uint64_t epoch, uint64_t offset) except -1
    cdef int submit(
        self, Link link, OrderedTopic topic, const Head* head, const uint8_t* payload, size_t size
    ) except -1
    cdef OrderedTopic find_topic(self, Submission submission, bint is_producer)
    cdef int take_over(self, OrderedTopic topic, Link link) except -1
    cdef bint keeps_end(self, tuple key, Submission submission, bytes code) except -1
    cdef int abort(self, OrderedTopic topic) except -1
    cdef int dissolve(self, OrderedTopic topic) except -1
    cdef bint keeps_subscription(
        self, OrderedTopic topic, Link link, const Head* head, bint is_confirmed, bint is_expected
    ) except -1
    cdef int look(self, bytes name) except -1
    cdef int forget_link(self, bytes name, Link link) except -1
    cdef int answer_waiting(self, bytes name) except -1
    cdef int unwanted(self, bytes name) except -1
    cdef int lose(self) except -1
    cdef int lose_shard(self, object is_lost) except -1
    cdef int know_producer(self, OrderedTopic topic, bytes host) except -1
    cdef int check_watched(self, OrderedTopic topic) except -1
    cdef int answer_asked(self, bytes said) except -1
    cdef int take_watched(self, bytes said) except -1

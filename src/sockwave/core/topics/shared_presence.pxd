"""The members that topics have on all hosts: each host tells the others of its own."""

from libc.stdint cimport uint64_t

from sockwave.core.topics.links cimport Link
from sockwave.core.topics.ordered_topic cimport OrderedTopic
from sockwave.core.topics.presence cimport Member
from sockwave.core.topics.registry cimport Registry

# One other host: its members are those of a link that no process holds.
cdef class OtherHost:
    cdef Link link
    cdef uint64_t number        # of its last message about members that has come
    cdef bint is_known          # all of its members have come
    cdef bint is_asked
    cdef int silent_count       # beats of ours since we have heard it
    cdef dict staged            # (topic, key) → data: what has come of all its members
    cdef uint64_t staged_count  # parts of that

cdef class SharedPresence:
    cdef Registry registry
    cdef object note            # called when there is something for the broker's client
    cdef object connect         # returns a new link of the sequencer
    cdef object gone            # called with the name of a host that has gone; None: nobody asks
    cdef object beaten          # called at each beat; None: nobody asks
    cdef bytes host
    cdef dict own               # (topic, key) → data, of the members that are here
    cdef dict changes           # the same, of those to be told of; None: it has left
    cdef dict others            # name of a host → OtherHost
    cdef uint64_t number        # of our last message about members
    cdef bint is_connected
    cdef readonly bint is_used  # some topic has presence
    cdef bint is_to_ask         # all hosts
    cdef bint is_to_show        # all of our members
    cdef bint was_shown         # since our last beat
    cdef list asked             # the names of hosts that are to show theirs
    cdef readonly uint64_t bad_count

    cdef int use(self) except -1
    cdef int joined(self, bytes topic, bytes key, bytes data) except -1
    cdef int note_change(self, bytes topic, bytes key, bytes data) except -1
    cdef int left(self, OrderedTopic topic, bytes key, Member member) except -1
    cdef int take(self, bytes message) except -1
    cdef OtherHost provide(self, bytes name)
    cdef int take_beat(self, bytes name, OtherHost other, uint64_t number) except -1
    cdef int take_changes(
        self, bytes name, OtherHost other, uint64_t number, bytes said
    ) except -1
    cdef int take_part(self, OtherHost other, list words, bytes said) except -1
    cdef int ask(self, bytes name, OtherHost other) except -1
    cdef int apply(self, OtherHost other, dict found) except -1
    cdef int forget(self, bytes name) except -1

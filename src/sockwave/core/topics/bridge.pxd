"""The sequencer's end of the way to other hosts: what leaves, what comes, which topics come."""

from libc.stdint cimport uint8_t, uint64_t

from sockwave.core.topics.ordered_topic cimport OrderedTopic
from sockwave.core.topics.outside cimport Outside
from sockwave.core.topics.parcels cimport Parcel
from sockwave.core.topics.parts cimport PartialMessages
from sockwave.core.topics.placements cimport Placements
from sockwave.core.topics.records cimport Buffer, Head
from sockwave.core.topics.registry cimport Registry
from sockwave.core.topics.shared_logs cimport SharedLogs
from sockwave.core.topics.shared_presence cimport SharedPresence
from sockwave.core.topics.shared_streams cimport SharedStreams

cdef class Bridge(Outside):
    cdef Registry registry
    cdef readonly Placements placements
    cdef readonly SharedLogs logs   # of the topics that have a history, or presence
    cdef readonly SharedPresence presence
    cdef readonly SharedStreams streams
    cdef readonly str host      # of this host, and of this run of its sequencer: 16 hex digits
    cdef bytes host_name
    cdef object schedule        # called when there is something to take, once until it is taken
    cdef bint is_scheduled
    cdef list messages          # (name, bytes) that leave; the empty name: a broadcast
    cdef size_t message_size    # of these
    cdef size_t queue_size      # beyond it, messages are dropped
    cdef dict changes           # name (bytes) or pattern (str) → whether it is wanted now
    cdef set confirmed          # the names and patterns whose messages come from other hosts
    cdef dict kept_ends         # name or pattern → [(link, END)]
    cdef bint is_to_declare     # what the application has declared is to be told
    cdef bint is_expected       # the broker is there, or has not yet been found not to be
    cdef object is_away         # of a name or pattern, whether its shard is; None: there is one
    cdef bytes told             # the state of the way, as links were told of it
    cdef PartialMessages partial    # of other hosts, of which parts have come
    cdef Buffer scratch         # of a message that is put together
    cdef readonly uint64_t published_count, heard_count, echo_count, bad_count, dropped_count

    cdef int use(self, object registry, object connect) except -1
    cdef int note(self) except -1
    cdef size_t room(self) noexcept
    cdef bint expects(self, object name) except -1
    cdef OrderedTopic find_topic(self, bytes name, bint has_log, bint is_stream=*)
    cdef bint take_placed(
        self, const uint8_t* name, size_t name_size, const uint8_t* data, size_t size
    ) except -1
    cdef int release(self, object name) except -1
    cdef bint take_message(
        self, const uint8_t* name, size_t name_size, const uint8_t* data, size_t size
    ) except -1
    cdef bytes join(self, bytes name, const uint8_t* data, size_t size)
    cdef int take_broadcast(self, const uint8_t* data, size_t size) except -1
    cdef bint open_parcel(self, const uint8_t* data, size_t size, Parcel* parcel) except -1
    cdef int unpack(self, const Parcel* parcel, Head* head) except -1

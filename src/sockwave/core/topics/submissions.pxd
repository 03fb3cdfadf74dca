"""The messages that a worker hands to the sequencer, kept until they are acknowledged."""

from libc.stdint cimport uint64_t

from sockwave.core.session.session cimport Session
from sockwave.core.topics.output cimport LinkOutput
from sockwave.core.topics.publication cimport Publication
from sockwave.core.topics.subscribers cimport Subscribers

cdef class Submissions:
    """The messages that a worker hands to the sequencer."""
    cdef LinkOutput output
    cdef uint64_t sequence      # of the last publish
    cdef dict pending           # sequence -> Publication that has not been acknowledged
    cdef list held              # what was to be relayed while the link was down
    cdef size_t queued_size     # bytes of `pending` and `held`
    cdef readonly size_t dropped_count  # messages of plain topics that were relayed to nobody

    cpdef Publication append(self, Subscribers topic, object delta, str id=*)
    cdef Publication hand_over(
        self, Subscribers topic, int flags, object message, str id, dict meta, Session besides
    )
    cdef int admit(self, size_t size) except -1
    cdef int send_publication(self, Publication publication, uint64_t sequence) except -1
    cdef Publication take(self, uint64_t sequence)
    cdef int resend(self) except -1
    cdef int give_up(self, object error) except -1

cdef int fill_payload(Publication publication, object message, str id, dict meta) except -1

"""The way from a worker's topics to the sequencer, as the topics see it."""

from sockwave.core.topics.subscribers cimport Subscribers

cdef class Uplink:
    """The way to the sequencer: in this process, or over a socket."""
    cdef public bint is_remote      # there are, or may be, other workers, or other hosts
    cdef public bint is_refusing    # nothing is to be published, as the broker is away

    cdef int unwant(self, Subscribers topic) except -1

"""The way from a worker's topics to the sequencer, as the topics see it."""


cdef class Uplink:
    """The way to the sequencer: in this process, or over a socket."""

    cdef int unwant(self, Subscribers topic) except -1:
        """Have the messages of a topic, or of a pattern, sent to this worker no more."""
        return 0

"""The link of a server that is alone: to a sequencer in the same process."""

from sockwave.core.topics.link cimport SequencerLink
from sockwave.core.topics.links cimport Link
from sockwave.core.topics.records cimport Buffer
from sockwave.core.topics.sequencer cimport Sequencer

cdef class LocalLink(SequencerLink):
    """A link to a sequencer in the same process: what is written is carried over at once."""
    cdef readonly Sequencer sequencer
    cdef Link other             # the sequencer's end
    cdef double due_s           # when `tick` is called, by the sequencer's clock; 0: it is not

    cdef int look_at_clock(self) except -1
    cdef int carry_out(self) except -1
    cdef int carry_in(self) except -1
    cdef int give_back(self, Buffer* place, Buffer* buffer) noexcept

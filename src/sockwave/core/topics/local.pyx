"""The link of a server that is alone: to a sequencer in the same process."""

from libc.string cimport memset

from sockwave.core.topics.output cimport LinkOutput
from sockwave.core.topics.records cimport free_buffer


cdef class LocalLink(SequencerLink):
    """A link to a sequencer in the same process: what is written is carried over at once."""

    def __cinit__(self, table, host, *, Sequencer sequencer):
        self.sequencer = sequencer
        self.other = sequencer.connect()
        self.output.schedule = self.pump

    def pump(self):
        """Carry records over, both ways, until none is left. What a listener adds meanwhile is
        carried over by the call that is under way."""
        cdef LinkOutput output = self.output
        output.is_scheduled = True
        try:
            while output.out.size or self.other.output.size:
                if output.out.size:
                    self.carry_out()
                if self.other.output.size:
                    self.carry_in()
        finally:
            output.is_scheduled = False
        self.look_at_clock()

    cdef int look_at_clock(self) except -1:
        """Have `tick` called when something is due at the sequencer."""
        due_s = self.sequencer.next_due()
        if due_s is not None and (not self.due_s or <double>due_s < self.due_s):
            self.due_s = due_s
            self.host.call_at(due_s, self.tick)
        return 0

    cdef int carry_out(self) except -1:
        """Hand what was written to the sequencer; more may be written meanwhile."""
        cdef Buffer buffer = self.output.out
        memset(&self.output.out, 0, sizeof(Buffer))
        try:
            self.other.take_bytes(buffer.data + buffer.begin, buffer.size)
        finally:
            self.give_back(&self.output.out, &buffer)
        return 0

    cdef int carry_in(self) except -1:
        """Take what the sequencer has written; more may be written meanwhile."""
        cdef Buffer buffer = self.other.output
        memset(&self.other.output, 0, sizeof(self.other.output))
        try:
            self.take_bytes(buffer.data + buffer.begin, buffer.size)
        finally:
            self.give_back(&self.other.output, &buffer)
        return self.other.note_sent(0)

    cdef int give_back(self, Buffer* place, Buffer* buffer) noexcept:
        """Keep the memory of a buffer that has been read, unless there is another one now."""
        if place.data is NULL:
            buffer.begin = buffer.size = 0
            place[0] = buffer[0]
        else:
            free_buffer(buffer)
        return 0

    def tick(self):
        """Do what is due at the sequencer."""
        self.due_s = 0
        self.sequencer.tick()
        self.sequencer.take_dirty()
        self.pump()

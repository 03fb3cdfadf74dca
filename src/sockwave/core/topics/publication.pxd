"""What `publish` returns: an awaitable of where the message stands, and for how many it is."""

from libc.stdint cimport uint64_t

from sockwave.core.session.session cimport Session
from sockwave.core.topics.subscribers cimport Subscribers

cdef class Publication:
    """A message that was published; awaited, it gives a `Published`."""
    cdef uint64_t epoch, offset     # where it stands; 0: its topic has no positions
    cdef Py_ssize_t local_count
    cdef object error           # what it has failed of; None: it has not
    cdef object report          # gets the error, if no task ever waits
    cdef object future          # of the task that waits; None: none does
    cdef tuple callbacks        # what is called with the outcome, and with an error; None: nothing
    cdef bint is_done
    cdef readonly Session besides   # the connection that is left out; None: none is
    # What is sent to the sequencer, and again if that is lost. None: it is not sequenced.
    cdef Subscribers topic
    cdef bytes payload
    cdef int flags

    cdef int finish(self, uint64_t epoch, uint64_t offset, Py_ssize_t local_count) except -1
    cdef object outcome(self)
    cdef int fail(self, object error, object report) except -1
    cdef int tell(self) except -1

cdef class Subscribing:
    """An awaitable that is done: what `subscribe` returns in the usual case."""
    cdef object result          # a Subscribed

"""A transport whose every read lies in a block of memory of its own.

The loop's shared buffer is so large that a step behind what was read goes unnoticed. Here
AddressSanitizer sees it.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from libc.stdint cimport uint8_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy

from sockwave.core.protocol.message_memory cimport size_of
from sockwave.core.io.engine cimport HEADROOM_SIZE
from sockwave.core.io.turn_budget cimport refill_messages
from sockwave.core.io.receiver cimport Receiver
from sockwave.core.session.session cimport Session
from sockwave.core.io.asyncio.transport cimport AsyncioTransport


cdef class ExactTransport(AsyncioTransport):
    """A peer behind a transport in memory."""

    def take(self, bytes data):
        """Deliver what was read, or as much of it as the receiver has reserved; give its size."""
        cdef Receiver receiver = self.receiver
        cdef size_t size = PyBytes_GET_SIZE(data)
        cdef size_t reserved_size = 0
        cdef uint8_t* block = NULL
        cdef uint8_t* place = NULL
        if receiver is not None and not self.is_closing:
            place = receiver.reserve(&reserved_size)
        if place is not NULL:
            size = min(size, reserved_size)
        else:
            block = <uint8_t*>malloc(HEADROOM_SIZE + size)
            if block is NULL:
                raise MemoryError
            place = block + HEADROOM_SIZE
        memcpy(place, PyBytes_AS_STRING(data), size)
        refill_messages(&self.engine.budget)
        try:
            self.deliver(place, size)
        finally:
            free(block)
        return size

    def held_size(self):
        """Tell how many bytes of input, and of a message in the making, the session holds."""
        cdef Session session
        cdef size_t size
        if not isinstance(self.receiver, Session):
            return 0
        session = self.receiver
        if session.reader is None:      # nothing is under way
            return 0
        size = session.reader.kept_size
        if session.reader.message is not NULL:
            size += size_of(session.reader.message)
        return size


def step_behind_the_end(size_t size):
    """Do what AddressSanitizer is there for, to show that it looks."""
    cdef uint8_t* block = <uint8_t*>malloc(size)
    cdef uint8_t seen = block[size]
    free(block)
    return seen


def overflow(int number):
    """Do what UndefinedBehaviorSanitizer is there for."""
    return number + 1

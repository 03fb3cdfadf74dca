"""What stands behind a transport: whoever takes the bytes of a peer, and tells what they mean."""

from libc.stdint cimport uint8_t

from sockwave.core.events.emitter cimport Emitter

cdef class Receiver(Emitter):
    """What stands behind a transport, takes its bytes and tells what they mean."""
    cdef int take_bytes(self, uint8_t* data, size_t size) except -1
    cdef uint8_t* reserve(self, size_t* size) except? NULL
    cdef int go_on(self) except -1
    cdef int backlog_rose(self) except -1
    cdef int backlog_fell(self) except -1
    cdef int backlog_emptied(self) except -1
    cpdef object data_received(self, bytes data)
    cpdef object eof_received(self)
    cpdef object connection_lost(self, object error)
    cpdef object deadline_passed(self)

"""What stands behind a transport: whoever takes the bytes of a peer, and tells what they mean."""

from libc.stdint cimport uint8_t

cdef class Receiver:
    """What stands behind a transport, takes its bytes and tells what they mean."""
    cdef int take_bytes(self, uint8_t* data, size_t size) except -1
    cdef uint8_t* reserve(self, size_t* size) except? NULL
    cdef int go_on(self) except -1
    cdef int backlog_rose(self) except -1
    cdef int backlog_fell(self) except -1
    cdef int backlog_emptied(self) except -1
    cdef int notify_eof(self) except -1         # the peer sends nothing more
    cdef int notify_deadline(self) except -1    # the time that it had asked for has come
    # Last and once: the transport is gone. An OSError, or None after an orderly end.
    cdef int notify_closed(self, object error) except -1

cdef class PyReceiver(Receiver):
    """A receiver that is written in Python: what it hears goes to methods of asyncio's names."""

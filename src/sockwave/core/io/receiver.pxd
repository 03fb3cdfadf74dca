"""The receiver of a transport: takes the bytes of a peer, and knows their protocol."""

from libc.stdint cimport uint8_t

cdef class Receiver:
    """Takes the bytes of a transport, and knows their protocol."""
    cdef int take_bytes(self, uint8_t* data, size_t size) except -1
    cdef uint8_t* reserve(self, size_t* size) except? NULL
    cdef int go_on(self) except -1
    cdef int backlog_rose(self) except -1
    cdef int backlog_fell(self) except -1
    cdef int backlog_emptied(self) except -1
    cdef int notify_eof(self) except -1         # the peer sends nothing more
    cdef int notify_deadline(self) except -1    # the deadline that it has set has passed
    # Called last, and once: the transport is closed. An OSError, or None after an orderly end.
    cdef int notify_closed(self, object error) except -1

cdef class PyReceiver(Receiver):
    """A receiver written in Python: calls are forwarded to methods with asyncio's names."""

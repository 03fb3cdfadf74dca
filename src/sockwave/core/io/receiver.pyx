"""What stands behind a transport: whoever takes the bytes of a peer, and tells what they mean."""

from cpython.bytes cimport PyBytes_FromStringAndSize


cdef class Receiver:
    """What stands behind a transport, takes its bytes and tells what they mean."""

    cdef int take_bytes(self, uint8_t* data, size_t size) except -1:
        return 0

    cdef uint8_t* reserve(self, size_t* size) except? NULL:
        """Give the place where the next bytes are best put, and its size;
        NULL for the loop's own buffer."""
        return NULL

    cdef int go_on(self) except -1:
        """Go on with the bytes that were left when the wake-up had delivered its fill."""
        return 0

    cdef int backlog_rose(self) except -1:
        return 0

    cdef int backlog_fell(self) except -1:
        return 0

    cdef int backlog_emptied(self) except -1:
        return 0

    cdef int notify_eof(self) except -1:
        return 0

    cdef int notify_deadline(self) except -1:
        return 0

    cdef int notify_closed(self, object error) except -1:
        return 0


cdef class PyReceiver(Receiver):
    """A receiver that is written in Python: what it hears goes to methods of asyncio's names."""

    cdef int take_bytes(self, uint8_t* data, size_t size) except -1:
        self.data_received(PyBytes_FromStringAndSize(<char*>data, size))
        return 0

    cdef int notify_eof(self) except -1:
        self.eof_received()
        return 0

    cdef int notify_deadline(self) except -1:
        self.deadline_passed()
        return 0

    cdef int notify_closed(self, object error) except -1:
        self.connection_lost(error)
        return 0

    def data_received(self, data):
        """Take the next bytes of the peer."""

    def eof_received(self):
        """Hear that the peer sends nothing more."""

    def connection_lost(self, error):
        """Hear, last and once, that the transport is gone; `error` is an OSError,
        or None after an orderly end."""

    def deadline_passed(self):
        """Hear that the time given by `set_deadline` is up."""

"""What stands behind a transport: whoever takes the bytes of a peer, and tells what they mean."""

from cpython.bytes cimport PyBytes_FromStringAndSize


cdef class Receiver(Emitter):
    """What stands behind a transport, takes its bytes and tells what they mean.

    A compiled receiver takes them where they lie (`take_bytes`), one written in Python as bytes
    objects (`data_received`).
    """

    cdef int take_bytes(self, uint8_t* data, size_t size) except -1:
        self.data_received(PyBytes_FromStringAndSize(<char*>data, size))
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

    cpdef object data_received(self, bytes data):
        """Take the next bytes of the peer."""

    cpdef object eof_received(self):
        """Hear that the peer sends nothing more."""

    cpdef object connection_lost(self, object error):
        """Hear, last and once, that the transport is gone; `error` is an OSError,
        or None after an orderly end."""

    cpdef object deadline_passed(self):
        """Hear that the time given by `set_deadline` is up."""

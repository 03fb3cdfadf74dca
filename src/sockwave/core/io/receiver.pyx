"""The receiver of a transport: takes the bytes of a peer, and knows their protocol."""

from cpython.bytes cimport PyBytes_FromStringAndSize


cdef class Receiver:
    """Takes the bytes of a transport, and knows their protocol."""

    cdef int take_bytes(self, uint8_t* data, size_t size) except -1:
        return 0

    cdef uint8_t* reserve(self, size_t* size) except? NULL:
        """Return where the next bytes are best read to, and the size of that place;
        NULL: the loop's own buffer."""
        return NULL

    cdef int go_on(self) except -1:
        """Continue with bytes that were left when the turn had used up its budget."""
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
    """A receiver written in Python: calls are forwarded to methods with asyncio's names."""

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
        """Take the next bytes of the peer, `data`."""

    def eof_received(self):
        """Called when the peer sends nothing more."""

    def connection_lost(self, error):
        """Called last, and once, when the transport is closed; `error` is an OSError,
        or None after an orderly end."""

    def deadline_passed(self):
        """Called when the deadline given to `set_deadline` has passed."""

"""TLS between a transport and its bytes: RFC 8446 and RFC 5246.

What is sealed and unsealed here is read and written by the transport.
"""

import ssl

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE

from sockwave.core.io.engine cimport HEADROOM_SIZE, READ_SIZE
from sockwave.core.io.receiver cimport Receiver

from sockwave.log import peers

# What OpenSSL calls the first bytes of a plain request, and of one to a proxy.
PLAIN_HTTP = ("HTTP_REQUEST", "HTTPS_PROXY_REQUEST")


cdef class Tls(TlsSession):
    """One connection's TLS."""

    cdef int forward(self, Transport transport, size_t mark) except -1:
        """Send what has been sealed; `mark` is where it begins in the wire."""
        cdef bytes sealed
        if self.outgoing is not None and self.outgoing.pending:
            sealed = self.outgoing.read()
            self.send(transport, <const uint8_t*>PyBytes_AS_STRING(sealed), PyBytes_GET_SIZE(sealed))
        return 0

    # ---- bytes in

    cdef int receive(self, Transport transport, const uint8_t* data, size_t size) except -1:
        """Take what has come from the peer's socket."""
        cdef size_t mark = self.records.wire.output_size
        try:
            if self.ssl_object is None:
                if transport.awaits_proxy_header:
                    return self.receive_proxy_header(transport, data, size)
                self.begin()
            self.feed(data, size)
            if self.is_established or self.open(transport):
                self.read_records(transport)
        except Exception as error:
            self.fail(transport, error, mark)
        finally:
            self.records.wire.input_size = 0
        return 0

    cdef int receive_proxy_header(self, Transport transport, const uint8_t* data, size_t size) except -1:
        """Let the receiver read what comes before TLS; None says that it is not all there yet."""
        cdef bytes rest = transport.receiver.take(PyBytes_FromStringAndSize(<const char*>data, size))
        if rest and not transport.is_closing:
            self.receive(
                transport, <const uint8_t*>PyBytes_AS_STRING(rest), PyBytes_GET_SIZE(rest)
            )
        return 0

    cdef bint open(self, Transport transport) except -1:
        """Go on with the handshake, and say whether it is over."""
        cdef size_t mark = self.records.wire.output_size
        cdef bint is_over = False
        try:
            self.shake_hands()
            is_over = True
        except ssl.SSLWantReadError:
            pass
        finally:
            self.forward(transport, mark)
        if not is_over:
            return False
        self.is_established = True
        if transport.is_blocked:
            transport.run_ready()
        return not transport.is_lost

    cdef int read_records(self, Transport transport) except -1:
        """Unseal what has come, into the place where the receiver wants it."""
        cdef object _held = self.ssl_object      # a receiver may end the connection
        cdef size_t mark = self.records.wire.output_size
        cdef Receiver receiver
        cdef uint8_t* place
        cdef size_t size, filled
        cdef Py_ssize_t last = 1
        while last > 0 and not transport.is_lost:
            receiver = transport.receiver
            place = NULL
            size = filled = 0
            if receiver is not None and not transport.is_closing:
                place = receiver.reserve(&size)
            if place is NULL:
                place = transport.engine.read_buffer + HEADROOM_SIZE
                size = READ_SIZE
            last = self.read_into(place, size, &filled)
            self.forward(transport, mark)        # what the TLS layer itself has to answer
            if self.awaits_peer:
                self.awaits_peer = False
                transport.run_ready()
            if filled:
                transport.deliver(place, filled)
        if last < 0 and not transport.is_lost:
            transport.end_reading()
        return 0

    cdef int end_of_stream(self, Transport transport) except -1:
        """Take the FIN of the peer's socket."""
        if not self.is_established:
            return transport.lose(None)
        if transport.is_finished:
            return transport.end_reading()
        # RFC 8446, 6.1: close_notify is there because otherwise "a truncation attack" is possible:
        # anybody on the way can send a FIN.
        return transport.lose(ConnectionResetError("the peer's stream ended without a close_notify"))

    cdef int fail(self, Transport transport, object error, size_t mark) except -1:
        """End this connection, for what the peer has sent."""
        try:
            self.forward(transport, mark)        # the alert that says what is wrong
        except OSError:
            pass        # it is gone, and hears nothing
        if not self.is_established and not transport.is_lost:
            if getattr(error, "reason", None) in PLAIN_HTTP:
                peers.warning("%s speaks plain HTTP to a TLS port", transport)
            else:
                peers.debug("no TLS with %s: %s", transport, error)
        transport.lose(error if isinstance(error, OSError) else OSError(str(error)))
        return 0

    # ---- bytes out

    cdef Py_ssize_t put(self, Transport transport, const Vector* vectors, int count) noexcept:
        """Seal and send; gives how much has been sealed, -1 when the peer is gone."""
        cdef size_t mark = self.records.wire.output_size
        cdef object _held = self.ssl_object      # as in read_records
        cdef Py_ssize_t taken = 0
        cdef Py_ssize_t sealed
        cdef int at = 0
        cdef size_t offset = 0
        if not self.is_established or self.is_notified:
            return 0
        try:
            while at < count and self.send_unsent(transport) and not self.awaits_peer:
                sealed = self.seal_chunk(vectors, count, &at, &offset)
                self.forward(transport, mark)
                taken += sealed
        except Exception as error:
            taken = -1
            peers.debug("no more TLS with %s: %s", transport, error)
        return taken

    cdef int send(self, Transport transport, const uint8_t* data, size_t size) except -1:
        """Put sealed bytes on the wire, behind those that wait already."""
        cdef Py_ssize_t taken = 0
        if self.unsent is not None:
            if PyBytes_GET_SIZE(self.unsent) - self.unsent_start + size > MAX_UNSENT_SIZE:
                raise ConnectionAbortedError("the peer does not read what TLS has to say")
            self.unsent = self.unsent[self.unsent_start:] + (<char*>data)[:size]
            self.unsent_start = 0
            return 0
        taken = transport.transmit(data, size)
        if taken < 0:
            raise ConnectionResetError("the peer is gone")
        if <size_t>taken < size:
            self.unsent = PyBytes_FromStringAndSize(<const char*>data + taken, size - taken)
            self.unsent_start = 0
            transport.await_writable()
        return 0

    cdef bint send_unsent(self, Transport transport) except -1:
        """Send what the transport has not taken so far; true when nothing of it is left."""
        cdef Py_ssize_t taken
        if self.unsent is None:
            return True
        taken = transport.transmit(
            <const uint8_t*>PyBytes_AS_STRING(self.unsent) + self.unsent_start,
            PyBytes_GET_SIZE(self.unsent) - self.unsent_start,
        )
        if taken < 0:
            raise ConnectionResetError("the peer is gone")
        self.unsent_start += taken
        if self.unsent_start == <size_t>PyBytes_GET_SIZE(self.unsent):
            self.unsent = None
            return True
        transport.await_writable()
        return False

    cdef bint is_clear(self, Transport transport) except -1:
        """Send what waits here; true when the transport may go on with what waits behind it."""
        cdef bint is_clear = False
        try:
            is_clear = self.send_unsent(transport)
        except OSError as error:
            transport.lose(error)
        return is_clear

    # ---- the end

    cdef int finish(self, Transport transport, bint linger) except -1:
        """End in order, where anything has been said, or can be."""
        return Transport.finish(transport, linger) if self.is_established else transport.lose(None)

    cdef bint notify(self, Transport transport) except -1:
        """Say that nothing follows, and tell whether that has left.

        RFC 8446, 6.1: "Each party MUST send a "close_notify" alert before closing its write side of
        the connection".
        """
        cdef size_t mark = self.records.wire.output_size
        if self.is_established and not self.is_notified:
            self.is_notified = True
            self.unwrap()
            try:
                self.forward(transport, mark)
            except OSError:
                pass        # it is gone, and hears nothing
        return self.unsent is None

    cdef int release(self) except -1:
        self.unsent = None
        return TlsSession.release(self)

"""TLS between a transport and the protocol's bytes: RFC 8446 and RFC 5246.

The transport reads and writes the encrypted bytes; the receiver behind it sees the decrypted ones.
"""

import ssl

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE

from sockwave.core.io.engine cimport HEADROOM_SIZE, READ_SIZE
from sockwave.core.io.receiver cimport Receiver

from sockwave.log import peers

# OpenSSL's reasons when a client sends a plain HTTP request, or one to a proxy, to a TLS port.
PLAIN_HTTP = ("HTTP_REQUEST", "HTTPS_PROXY_REQUEST")


cdef class Tls(TlsSession):
    """One connection's TLS."""

    cdef int forward(self, Transport transport, size_t mark) except -1:
        """Send what has been encrypted; here, all that OpenSSL has written to its MemoryBIO."""
        cdef bytes data
        if self.outgoing is not None and self.outgoing.pending:
            data = self.outgoing.read()
            self.send(transport, <const uint8_t*>PyBytes_AS_STRING(data), PyBytes_GET_SIZE(data))
        return 0

    # ---- bytes in

    cdef int receive(self, Transport transport, const uint8_t* data, size_t size) except -1:
        """Take bytes that the transport has received."""
        cdef size_t mark = self.records.wire.output_size
        try:
            if self.ssl_object is None:
                if transport.awaits_proxy_header:
                    return self.receive_proxy_header(transport, data, size)
                self.begin()
            self.feed(data, size)
            if self.is_established or self.advance_handshake(transport):
                self.read_records(transport)
        except Exception as error:
            self.fail(transport, error, mark)
        finally:
            self.records.wire.input_size = 0
        return 0

    cdef int receive_proxy_header(
        self, Transport transport, const uint8_t* data, size_t size
    ) except -1:
        """Let the receiver read the proxy's header, which comes before TLS. It returns the bytes
        behind the header, or None while the header is not whole."""
        cdef bytes received = PyBytes_FromStringAndSize(<const char*>data, size)
        cdef bytes rest = transport.receiver.take(received)
        if rest and not transport.is_closing:
            self.receive(
                transport, <const uint8_t*>PyBytes_AS_STRING(rest), PyBytes_GET_SIZE(rest)
            )
        return 0

    cdef bint advance_handshake(self, Transport transport) except -1:
        """Go on with the handshake; true: it is over, and the transport still there."""
        cdef size_t mark = self.records.wire.output_size
        cdef bint is_over = False
        try:
            self.do_handshake()
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
        """Decrypt what has come, into the place that the receiver chooses, and deliver it."""
        cdef object _kept = self.ssl_object     # a receiver may end the connection, and free it
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
            self.forward(transport, mark)       # answers that TLS itself makes, as to a key update
            if self.awaits_peer:
                self.awaits_peer = False
                transport.run_ready()
            if filled:
                transport.deliver(place, filled)
        if last < 0 and not transport.is_lost:
            transport.end_reading()
        return 0

    cdef int end_of_stream(self, Transport transport) except -1:
        """Called when the client's FIN has come."""
        if not self.is_established:
            return transport.close_with(None)
        if transport.is_finished:
            return transport.end_reading()
        # RFC 8446, 6.1: without a close_notify, "a truncation attack" is possible: an attacker on
        # the network can send a FIN.
        return transport.close_with(
            ConnectionResetError("the peer's stream ended without a close_notify")
        )

    cdef int fail(self, Transport transport, object error, size_t mark) except -1:
        """End the connection, because of what the client has sent."""
        try:
            self.forward(transport, mark)       # the alert that tells the client what is wrong
        except OSError:
            pass        # the client is gone
        if not self.is_established and not transport.is_lost:
            if getattr(error, "reason", None) in PLAIN_HTTP:
                peers.warning("%s speaks plain HTTP to a TLS port", transport)
            else:
                peers.debug("no TLS with %s: %s", transport, error)
        transport.close_with(error if isinstance(error, OSError) else OSError(str(error)))
        return 0

    # ---- bytes out

    cdef Py_ssize_t put(self, Transport transport, const Vector* vectors, int count) noexcept:
        """Encrypt and send. Returns how many bytes have been encrypted, -1 when the client is
        gone."""
        cdef size_t mark = self.records.wire.output_size
        cdef object _kept = self.ssl_object     # as in read_records
        cdef Py_ssize_t taken = 0
        cdef Py_ssize_t size
        cdef int at = 0
        cdef size_t offset = 0
        if not self.is_established or self.sent_close_notify:
            return 0
        try:
            while at < count and self.send_unsent(transport) and not self.awaits_peer:
                size = self.encrypt_chunk(vectors, count, &at, &offset)
                self.forward(transport, mark)
                taken += size
        except Exception as error:
            taken = -1
            peers.debug("no more TLS with %s: %s", transport, error)
        return taken

    cdef int send(self, Transport transport, const uint8_t* data, size_t size) except -1:
        """Send encrypted bytes, behind those that wait already. What the transport does not take
        is kept in `unsent`."""
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
        """Send the bytes in `unsent`; true when none are left."""
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

    cdef bint flush(self, Transport transport) except -1:
        """Send the bytes in `unsent`; true when the transport may go on with its backlog."""
        cdef bint is_flushed = False
        try:
            is_flushed = self.send_unsent(transport)
        except OSError as error:
            transport.close_with(error)
        return is_flushed

    # ---- the end

    cdef int shut_down(self, Transport transport, Lingering lingering) except -1:
        """End the connection in order; before the end of the handshake there is nothing to end."""
        return (
            Transport.shut_down(transport, lingering) if self.is_established
            else transport.close_with(None)
        )

    cdef bint send_close_notify(self, Transport transport) except -1:
        """Send a close_notify, once; true when it, and all before it, has left.

        RFC 8446, 6.1: "Each party MUST send a "close_notify" alert before closing its write side of
        the connection".
        """
        cdef size_t mark = self.records.wire.output_size
        if self.is_established and not self.sent_close_notify:
            self.sent_close_notify = True
            self.unwrap()
            try:
                self.forward(transport, mark)
            except OSError:
                pass        # the client is gone
        return self.unsent is None

    cdef int release(self) except -1:
        self.unsent = None
        return TlsSession.release(self)

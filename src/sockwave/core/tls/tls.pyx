"""TLS between a carrier and its bytes: RFC 8446 and RFC 5246.

What is sealed and unsealed here is read and written by the carrier.
"""

import ssl

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE

from sockwave.core.io.engine cimport HEADROOM_SIZE, READ_SIZE
from sockwave.core.io.receiver cimport Receiver

from sockwave.log import peers

# What OpenSSL calls the first bytes of a plain request, and of one to a proxy.
PLAIN_HTTP = ("HTTP_REQUEST", "HTTPS_PROXY_REQUEST")


cdef class Tls(Sealer):
    """One connection's TLS."""

    cdef int forward(self, Carrier line, size_t mark) except -1:
        """Send what has been sealed; `mark` is where it begins in the wire."""
        cdef bytes sealed
        if self.outgoing is not None and self.outgoing.pending:
            sealed = self.outgoing.read()
            self.send(line, <const uint8_t*>PyBytes_AS_STRING(sealed), PyBytes_GET_SIZE(sealed))
        return 0

    # ---- bytes in

    cdef int receive(self, Carrier line, const uint8_t* data, size_t size) except -1:
        """Take what has come from the peer's socket."""
        cdef size_t mark = self.records.wire.output_size
        try:
            if self.guard is None:
                if line.awaits_preamble:
                    return self.receive_preamble(line, data, size)
                self.begin()
            self.feed(data, size)
            if self.is_established or self.open(line):
                self.read_records(line)
        except Exception as error:
            self.fail(line, error, mark)
        finally:
            self.records.wire.input_size = 0
        return 0

    cdef int receive_preamble(self, Carrier line, const uint8_t* data, size_t size) except -1:
        """Let the receiver read what comes before TLS; None says that it is not all there yet."""
        cdef bytes rest = line.receiver.take(PyBytes_FromStringAndSize(<const char*>data, size))
        if rest and not line.is_closing:
            self.receive(
                line, <const uint8_t*>PyBytes_AS_STRING(rest), PyBytes_GET_SIZE(rest)
            )
        return 0

    cdef bint open(self, Carrier line) except -1:
        """Go on with the handshake, and say whether it is over."""
        cdef size_t mark = self.records.wire.output_size
        cdef bint is_over = False
        try:
            self.shake_hands()
            is_over = True
        except ssl.SSLWantReadError:
            pass
        finally:
            self.forward(line, mark)
        if not is_over:
            return False
        self.is_established = True
        if line.is_blocked:
            line.run_ready()
        return not line.is_lost

    cdef int read_records(self, Carrier line) except -1:
        """Unseal what has come, into the place where the receiver wants it."""
        cdef object _held = self.guard      # a receiver may end the connection
        cdef size_t mark = self.records.wire.output_size
        cdef Receiver receiver
        cdef uint8_t* place
        cdef size_t size, filled
        cdef Py_ssize_t last = 1
        while last > 0 and not line.is_lost:
            receiver = line.receiver
            place = NULL
            size = filled = 0
            if receiver is not None and not line.is_closing:
                place = receiver.reserve(&size)
            if place is NULL:
                place = line.engine.read_buffer + HEADROOM_SIZE
                size = READ_SIZE
            last = self.read_into(place, size, &filled)
            self.forward(line, mark)        # what the TLS layer itself has to answer
            if self.awaits_peer:
                self.awaits_peer = False
                line.run_ready()
            if filled:
                line.deliver(place, filled)
        if last < 0 and not line.is_lost:
            line.end_reading()
        return 0

    cdef int end_of_stream(self, Carrier line) except -1:
        """Take the FIN of the peer's socket."""
        if not self.is_established:
            return line.lose(None)
        if line.is_finished:
            return line.end_reading()
        # RFC 8446, 6.1: close_notify is there because otherwise "a truncation attack" is possible:
        # anybody on the way can send a FIN.
        return line.lose(ConnectionResetError("the peer's stream ended without a close_notify"))

    cdef int fail(self, Carrier line, object error, size_t mark) except -1:
        """End this connection, for what the peer has sent."""
        try:
            self.forward(line, mark)        # the alert that says what is wrong
        except OSError:
            pass        # it is gone, and hears nothing
        if not self.is_established and not line.is_lost:
            if getattr(error, "reason", None) in PLAIN_HTTP:
                peers.warning("%s speaks plain HTTP to a TLS port", line)
            else:
                peers.debug("no TLS with %s: %s", line, error)
        line.lose(error if isinstance(error, OSError) else OSError(str(error)))
        return 0

    # ---- bytes out

    cdef Py_ssize_t put(self, Carrier line, const Vector* vectors, int count) noexcept:
        """Seal and send; gives how much has been sealed, -1 when the peer is gone."""
        cdef size_t mark = self.records.wire.output_size
        cdef object _held = self.guard      # as in read_records
        cdef Py_ssize_t taken = 0
        cdef Py_ssize_t sealed
        cdef int at = 0
        cdef size_t offset = 0
        if not self.is_established or self.is_notified:
            return 0
        try:
            while at < count and self.send_unsent(line) and not self.awaits_peer:
                sealed = self.seal_chunk(vectors, count, &at, &offset)
                self.forward(line, mark)
                taken += sealed
        except Exception as error:
            taken = -1
            peers.debug("no more TLS with %s: %s", line, error)
        return taken

    cdef int send(self, Carrier line, const uint8_t* data, size_t size) except -1:
        """Put sealed bytes on the wire, behind those that wait already."""
        cdef Py_ssize_t taken = 0
        if self.unsent is not None:
            if PyBytes_GET_SIZE(self.unsent) - self.unsent_start + size > MAX_UNSENT_SIZE:
                raise ConnectionAbortedError("the peer does not read what TLS has to say")
            self.unsent = self.unsent[self.unsent_start:] + (<char*>data)[:size]
            self.unsent_start = 0
            return 0
        taken = line.transmit(data, size)
        if taken < 0:
            raise ConnectionResetError("the peer is gone")
        if <size_t>taken < size:
            self.unsent = PyBytes_FromStringAndSize(<const char*>data + taken, size - taken)
            self.unsent_start = 0
            line.await_writable()
        return 0

    cdef bint send_unsent(self, Carrier line) except -1:
        """Send what the carrier has not taken so far; true when nothing of it is left."""
        cdef Py_ssize_t taken
        if self.unsent is None:
            return True
        taken = line.transmit(
            <const uint8_t*>PyBytes_AS_STRING(self.unsent) + self.unsent_start,
            PyBytes_GET_SIZE(self.unsent) - self.unsent_start,
        )
        if taken < 0:
            raise ConnectionResetError("the peer is gone")
        self.unsent_start += taken
        if self.unsent_start == <size_t>PyBytes_GET_SIZE(self.unsent):
            self.unsent = None
            return True
        line.await_writable()
        return False

    cdef bint is_clear(self, Carrier line) except -1:
        """Send what waits here; true when the carrier may go on with what waits behind it."""
        cdef bint is_clear = False
        try:
            is_clear = self.send_unsent(line)
        except OSError as error:
            line.lose(error)
        return is_clear

    # ---- the end

    cdef int finish(self, Carrier line, bint linger) except -1:
        """End in order, where anything has been said, or can be."""
        return Carrier.finish(line, linger) if self.is_established else line.lose(None)

    cdef bint notify(self, Carrier line) except -1:
        """Say that nothing follows, and tell whether that has left.

        RFC 8446, 6.1: "Each party MUST send a "close_notify" alert before closing its write side of
        the connection".
        """
        cdef size_t mark = self.records.wire.output_size
        if self.is_established and not self.is_notified:
            self.is_notified = True
            self.unwrap()
            try:
                self.forward(line, mark)
            except OSError:
                pass        # it is gone, and hears nothing
        return self.unsent is None

    cdef int release(self) except -1:
        self.unsent = None
        return Sealer.release(self)

"""One WebSocket connection as a client holds it: socket, TLS, opening handshake.

RFC 6455, section 4.1. Its request is the same for all connections, and so is the right answer.
"""

import os
import socket
import ssl
import struct

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from libc.errno cimport EAGAIN, EINTR, errno

from sockwave.core.io.engine cimport READ_SIZE
from sockwave.core.io.epoll.system cimport MSG_DONTWAIT, MSG_NOSIGNAL, recv, send_bytes

from sockwave.errors import SockwaveError

cdef enum:
    MAX_ANSWER_SIZE = 65536
    SEALED_SIZE = 65536         # sealed before the kernel is asked whether it takes any

# The example of section 1.3: its answer is known, and a server cannot tell it from another.
cdef str KEY = "dGhlIHNhbXBsZSBub25jZQ=="
cdef bytes ACCEPT = b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
# A struct linger: what has not been sent is dropped, and RST tells of it.
cdef bytes LINGER_NOT = struct.pack("ii", 1, 0)

# <linux/in.h>: a port is chosen at `connect`, where the whole address has to be unique.
IP_BIND_ADDRESS_NO_PORT = 24


class LoadError(SockwaveError):
    """Raised when a server does not answer as it has to, or ends a connection."""


cdef class Target:
    """What the clients of one load connect to, and what they ask of it."""

    def __cinit__(self, str host, int port, context=None, str offer=None):
        self.address = (host, port)
        self.context = context
        self.records = Records()
        self.offers = offer is not None
        lines = [
            "GET / HTTP/1.1", f"Host: {host}:{port}", "Upgrade: websocket", "Connection: Upgrade",
            f"Sec-WebSocket-Key: {KEY}", "Sec-WebSocket-Version: 13",
        ]
        if offer is not None:
            lines.append(f"Sec-WebSocket-Extensions: {offer}")
        self.request = "\r\n".join([*lines, "", ""]).encode()


cdef class Client:
    """One connection to a target."""

    def __cinit__(self):
        self.fd = -1

    # ---- opening

    cdef int dial(self, Target target, str source) except -1:
        """Connect, from this address if there is one, and ask."""
        self.target = target
        # Without what socket.socket adds, and blocking: a load opens thousands in a second.
        self.socket = made = socket.SocketType(
            socket.AF_INET6 if ":" in target.address[0] else socket.AF_INET, socket.SOCK_STREAM
        )
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if source is not None:
            made.setsockopt(socket.IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, 1)
            made.bind((source, 0))
        made.connect(target.address)
        self.fd = made.fileno()
        self.answer = b""
        if target.context is None:
            return self.send_request()
        self.tls = DirectTls(target.context, target.records, True)
        self.tls.begin()
        if self.tls.ssl is NULL:
            raise LoadError("TLS needs the OpenSSL that Python's ssl module has loaded")
        return self.do_handshake()

    cdef int do_handshake(self) except -1:
        try:
            self.tls.do_handshake()
            self.tls.is_established = True
        except ssl.SSLWantReadError:
            pass
        self.send_sealed()
        if self.tls.is_established:
            self.send_request()
        return 0

    cdef int send_request(self) except -1:
        cdef bytes request = self.target.request
        cdef size_t size = PyBytes_GET_SIZE(request)
        if self.put(<const uint8_t*>PyBytes_AS_STRING(request), size) < size:
            raise LoadError("the opening request was not taken")
        return 0

    cdef bint advance(self, uint8_t* place, size_t size) except -1:
        """Take what has come of the answer; true when it is whole, and right."""
        cdef Py_ssize_t count = self.receive(place, size)
        while count > 0:
            self.answer += (<char*>place)[:count]
            count = self.receive_more(place, size)
        if b"\r\n\r\n" in self.answer:
            self.judge_answer()
            self.is_open = True
        elif count < 0:
            raise LoadError(f"closed before the opening was answered; so far: {self.answer}")
        elif len(self.answer) > MAX_ANSWER_SIZE:
            raise LoadError(f"the opening answer is longer than {MAX_ANSWER_SIZE} bytes")
        return self.is_open

    cdef int judge_answer(self) except -1:
        """Raise unless the server has accepted; what was right once need not be read again."""
        if self.answer != self.target.right_answer:
            self.read_answer()
            self.target.right_answer = self.answer
            self.target.agreement = self.agreement
        self.agreement = self.target.agreement
        self.answer = None
        return 0

    cdef int read_answer(self) except -1:
        """Check what section 4.1 has checked."""
        head, _, behind = self.answer.partition(b"\r\n\r\n")
        status, *lines = head.decode("latin-1").split("\r\n")
        fields = {}
        for line in lines:
            name, _, value = line.partition(":")
            fields[name.lower()] = value.strip()
        if not status.startswith("HTTP/1.1 101 ") or behind:
            raise LoadError(f"expected 101 and nothing behind it, got {self.answer!r}")
        if fields.get("sec-websocket-accept") != ACCEPT.decode():
            raise LoadError(f"expected Sec-WebSocket-Accept {ACCEPT!r}, got {head!r}")
        self.agreement = fields.get("sec-websocket-extensions")
        if (self.agreement is not None) is not self.target.offers:
            raise LoadError(f"the server's answer to the offer is {self.agreement!r}")
        return 0

    # ---- bytes in

    cdef Py_ssize_t receive(self, uint8_t* place, size_t size) except -2:
        """Take what the socket has; with TLS, go on with `receive_more` while there is some."""
        cdef Py_ssize_t count
        if self.tls is None:
            return self.receive_bytes(place, size)
        count = self.receive_bytes(self.target.records.received, READ_SIZE)
        if count <= 0:
            return count
        self.tls.feed(self.target.records.received, count)
        if not self.tls.is_established:
            self.do_handshake()
            if not self.tls.is_established:
                return 0
        return self.tls.decrypt(place, size)

    cdef Py_ssize_t receive_more(self, uint8_t* place, size_t size) except -2:
        """Take what has come with the last bytes, without another call of the kernel."""
        return 0 if self.tls is None else self.tls.decrypt(place, size)

    cdef Py_ssize_t receive_bytes(self, uint8_t* place, size_t size) except -2:
        cdef ssize_t count = recv(self.fd, place, size, MSG_DONTWAIT)
        if count > 0:
            return count
        if count == 0:
            return -1
        if errno == EAGAIN or errno == EINTR:
            return 0
        raise OSError(errno, os.strerror(errno))

    # ---- bytes out

    cdef size_t put(self, const uint8_t* data, size_t size) except? 0:
        """Send; gives how much of it has been taken, if only to be sent later (`unsent`)."""
        cdef size_t taken = 0
        cdef Py_ssize_t sealed
        if self.tls is None:
            return self.send_plain(data, size)
        self.send_sealed()
        while self.unsent is None and taken < size:
            sealed = self.tls.encrypt(data + taken, min(size - taken, <size_t>SEALED_SIZE))
            if sealed == 0:
                break
            taken += sealed
            self.send_sealed()
        return taken

    cdef int send_sealed(self) except -1:
        """Send what TLS has made; what is not taken stays here, and nothing is sealed behind it."""
        cdef size_t size = self.target.records.wire.output_size
        cdef const uint8_t* data = self.target.records.wire.output
        cdef bytes sealed = self.unsent
        cdef size_t taken
        self.target.records.wire.output_size = 0
        if sealed is not None:
            if size:
                sealed += (<char*>data)[:size]
            data = <const uint8_t*>PyBytes_AS_STRING(sealed)
            size = PyBytes_GET_SIZE(sealed)
        if size:
            taken = self.send_plain(data, size)
            self.unsent = (<char*>data)[taken:size] if taken < size else None
        return 0

    cdef size_t send_plain(self, const uint8_t* data, size_t size) except? 0:
        cdef ssize_t taken = send_bytes(self.fd, data, size, MSG_DONTWAIT | MSG_NOSIGNAL)
        if taken >= 0:
            return taken
        if errno == EAGAIN or errno == EINTR:
            return 0
        raise OSError(errno, os.strerror(errno))

    # ---- the end

    cdef int hang_up(self, bint abruptly) except -1:
        """Close the socket; abruptly, the port is free again at once."""
        if self.fd >= 0:
            self.fd = -1
            if abruptly:
                self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, LINGER_NOT)
            self.socket.close()
        return 0

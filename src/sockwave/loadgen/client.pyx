"""The client's end of a connection: socket, TLS, and the opening handshake of a WebSocket.

RFC 6455, section 4.1. All clients send the same request, so the right answer is the same for all.
"""

import os
import socket
import ssl
import struct

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from libc.errno cimport EAGAIN, EINTR, errno
from libc.string cimport memcpy

from sockwave.core.io.engine cimport READ_SIZE
from sockwave.core.io.epoll.system cimport MSG_DONTWAIT, MSG_NOSIGNAL, recv, send_bytes

from sockwave.errors import SockwaveError

cdef enum:
    MAX_ANSWER_SIZE = 65536
    ENCRYPT_SIZE = 65536        # the most that is encrypted before it is sent

# The example of section 1.3, whose answer is known. A server cannot tell it from a random key.
cdef str KEY = "dGhlIHNhbXBsZSBub25jZQ=="
cdef bytes ACCEPT = b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
# A struct linger with no time: `close` drops what has not been sent, and sends RST.
cdef bytes RESET_LINGER = struct.pack("ii", 1, 0)

# <linux/in.h>: the kernel chooses the port at `connect` instead of at `bind`. Then only the pair of
# both addresses must be unique.
IP_BIND_ADDRESS_NO_PORT = 24


class LoadError(SockwaveError):
    """Raised when the server does not answer as it must, or ends a connection."""


cdef class Target:
    """The server that the clients of one load connect to, and their opening request.

    `host` is an address, and `authority` the value of Host where it is another; `fields` are
    further ones of the request. With a `context` that checks names, `server_name` is the
    certificate's.
    """

    def __cinit__(
        self, str host, int port, context=None, str offer=None, bint upgrades=True, *,
        str path="/", str authority=None, fields=(), str server_name=None,
    ):
        self.address = (host, port)
        self.family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self.server_name = server_name
        self.context = context
        self.records = Records()
        self.offers = offer is not None
        if not upgrades:
            self.request = b""
            return
        lines = [
            f"GET {path} HTTP/1.1", f"Host: {authority or f'{host}:{port}'}",
            "Upgrade: websocket", "Connection: Upgrade",
            f"Sec-WebSocket-Key: {KEY}", "Sec-WebSocket-Version: 13",
        ]
        if offer is not None:
            lines.append(f"Sec-WebSocket-Extensions: {offer}")
        lines += [f"{name}: {value}" for name, value in fields]
        self.request = "\r\n".join([*lines, "", ""]).encode()


cdef class Client:
    """One connection to a target."""

    def __cinit__(self):
        self.fd = -1

    # ---- opening

    cdef int connect(self, Target target, str source) except -1:
        """Connect, from the address `source` unless it is None, and send the opening request; where
        there is none, the client is open once it is connected and TLS is established."""
        self.target = target
        # The C class and a blocking connect are fastest: a load opens thousands in a second.
        self.socket = made = socket.SocketType(target.family, socket.SOCK_STREAM)
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if source is not None:
            made.setsockopt(socket.IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, 1)
            made.bind((source, 0))
        made.connect(target.address)
        self.fd = made.fileno()
        self.answer = b""
        if target.context is None:
            return self.send_request()
        self.tls = DirectClientTls(target.context, target.records)
        self.tls.aim(target.server_name, None)
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
        self.send_encrypted()
        if self.tls.is_established:
            self.send_request()
        return 0

    cdef int send_request(self) except -1:
        cdef bytes request = self.target.request
        cdef size_t size = PyBytes_GET_SIZE(request)
        if size == 0:
            self.is_open = True
        elif self.put(<const uint8_t*>PyBytes_AS_STRING(request), size) < size:
            raise LoadError("the opening request was not taken")
        return 0

    cdef bint advance(self, uint8_t* place, size_t size) except -1:
        """Read what has come of the answer; true when it is whole and right."""
        cdef Py_ssize_t count = self.receive(place, size)
        while count > 0:
            self.answer += (<char*>place)[:count]
            count = self.receive_more(place, size)
        if self.is_open and count >= 0:
            return True
        if b"\r\n\r\n" in self.answer:
            self.check_answer()
            self.is_open = True
        elif count < 0:
            raise LoadError(f"closed before the opening was answered; so far: {self.answer}")
        elif len(self.answer) > MAX_ANSWER_SIZE:
            raise LoadError(f"the opening answer is longer than {MAX_ANSWER_SIZE} bytes")
        return self.is_open

    cdef int check_answer(self) except -1:
        """Raise LoadError unless the answer is right. Only an answer that differs from the last
        right one is parsed."""
        if self.answer != self.target.accepted_answer:
            # A server may ping, or greet, at once.
            head, end, behind = self.answer.partition(b"\r\n\r\n")
            self.answer, self.behind = head + end, behind or None
        if self.answer != self.target.accepted_answer:
            self.parse_answer()
            self.target.accepted_answer = self.answer
            self.target.agreement = self.agreement
        self.agreement = self.target.agreement
        self.answer = None
        return 0

    cdef int parse_answer(self) except -1:
        """Check the answer as section 4.1 says."""
        status, *lines = self.answer.decode("latin-1").rstrip().split("\r\n")
        fields = {}
        for line in lines:
            name, _, value = line.partition(":")
            fields[name.lower()] = value.strip()
        if not status.startswith("HTTP/1.1 101 "):
            raise LoadError(f"expected 101, got {self.answer + (self.behind or b'')!r}")
        if fields.get("sec-websocket-accept") != ACCEPT.decode():
            raise LoadError(f"expected Sec-WebSocket-Accept {ACCEPT!r}, got {self.answer!r}")
        self.agreement = fields.get("sec-websocket-extensions")
        if (self.agreement is not None) is not self.target.offers:
            raise LoadError(f"the server's answer to the offer is {self.agreement!r}")
        return 0

    # ---- bytes in

    cdef Py_ssize_t receive(self, uint8_t* place, size_t size) except -2:
        """Read from the socket; with TLS, call `receive_more` until it returns 0 or less."""
        cdef Py_ssize_t count
        if self.behind is not None:
            return self.take_behind(place, size)
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

    cdef Py_ssize_t take_behind(self, uint8_t* place, size_t size) except -2:
        """Read what has come with the answer to the opening request."""
        cdef bytes data = self.behind[:size]
        self.behind = self.behind[size:] or None
        memcpy(place, PyBytes_AS_STRING(data), PyBytes_GET_SIZE(data))
        return PyBytes_GET_SIZE(data)

    cdef Py_ssize_t receive_more(self, uint8_t* place, size_t size) except -2:
        """Read what TLS has left of the bytes already received, without a system call."""
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
        """Send; returns how many bytes have been taken: sent, or encrypted and kept in `unsent`."""
        cdef size_t taken = 0
        cdef Py_ssize_t size_encrypted
        if self.tls is None:
            return self.send_plain(data, size)
        self.send_encrypted()
        while self.unsent is None and taken < size:
            size_encrypted = self.tls.encrypt(
                data + taken, min(size - taken, <size_t>ENCRYPT_SIZE)
            )
            if size_encrypted == 0:
                break
            taken += size_encrypted
            self.send_encrypted()
        return taken

    cdef int send_encrypted(self) except -1:
        """Send what TLS has encrypted. What the kernel does not take is kept in `unsent`, and until
        it has left, nothing more is encrypted."""
        cdef size_t size = self.target.records.wire.output_size
        cdef const uint8_t* data = self.target.records.wire.output
        cdef bytes waiting = self.unsent
        cdef size_t taken
        self.target.records.wire.output_size = 0
        if waiting is not None:
            if size:
                waiting += (<char*>data)[:size]
            data = <const uint8_t*>PyBytes_AS_STRING(waiting)
            size = PyBytes_GET_SIZE(waiting)
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

    cdef int close(self, bint reset) except -1:
        """Close the socket; with `reset` by RST, so that its port can be used again at once."""
        if self.fd >= 0:
            self.fd = -1
            if reset:
                self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_LINGER)
            self.socket.close()
        return 0

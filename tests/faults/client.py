"""A fast client for load: it sends any bytes, reads frames, and says how it ended."""

import asyncio
import contextlib
import os
import socket
import zlib
from collections.abc import Callable
from typing import Self

TEXT, BINARY, CLOSE, PING, PONG = 0x1, 0x2, 0x8, 0x9, 0xA
RSV1 = 0x40
TAIL = b"\x00\x00\xff\xff"
REQUEST = (
    "GET {target} HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n{more}\r\n"
)


def make_request(target: str = "/", more: str = "") -> bytes:
    """Give an opening handshake (RFC 6455, section 4.1)."""
    return REQUEST.format(target=target, more=more).encode()


def mask(payload: bytes, key: bytes) -> bytes:
    """Mask or unmask (RFC 6455, section 5.3), by one operation on a large number."""
    repeated = (key * (len(payload) // 4 + 1))[: len(payload)]
    mixed = int.from_bytes(payload, "little") ^ int.from_bytes(repeated, "little")
    return mixed.to_bytes(len(payload), "little")


def make_header(first_byte: int, size: int) -> bytes:
    """Give the header of a masked frame, without its key."""
    if size < 126:
        return bytes((first_byte, 0x80 | size))
    if size < 65536:
        return bytes((first_byte, 0xFE)) + size.to_bytes(2, "big")
    return bytes((first_byte, 0xFF)) + size.to_bytes(8, "big")


def make_frame(payload: bytes, opcode: int = BINARY, *, fin: bool = True) -> bytes:
    """Give a masked frame, with a key of its own."""
    key = os.urandom(4)
    first_byte = (0x80 if fin else 0) | opcode
    return make_header(first_byte, len(payload)) + key + mask(payload, key)


def make_close(code: int = 1000) -> bytes:
    """Give a close frame."""
    return make_frame(code.to_bytes(2, "big"), CLOSE)


def deflate(payload: bytes) -> bytes:
    """Compress a message (RFC 7692, section 7.2.1), without context takeover."""
    packer = zlib.compressobj(wbits=-15)
    return (packer.compress(payload) + packer.flush(zlib.Z_SYNC_FLUSH)).removesuffix(TAIL)


class Client(asyncio.Protocol):
    """One connection: messages and control frames go to `hear(opcode, payload)`.

    Pings and closes are answered.
    """

    def __init__(self, hear: Callable[[int, bytes], object] = lambda opcode, payload: None) -> None:
        loop = asyncio.get_running_loop()
        self.hear = hear
        self.input = bytearray()
        self.pieces = b""  # of a message that is not whole yet
        self.is_deflated = False
        self.inflater = zlib.decompressobj(wbits=-15)  # RFC 7692, section 7.2.2
        #: The status of the answer to the handshake; -1 when the server hung up instead.
        self.opened: asyncio.Future[int] = loop.create_future()
        #: What ended it: a close code, 1006 without one.
        self.ended: asyncio.Future[int] = loop.create_future()
        self.code = 1006
        self.has_closed = False
        self.answers_close = self.answers_ping = True

    @classmethod
    async def open(
        cls,
        port: int,
        target: str = "/",
        hear: Callable[[int, bytes], object] = lambda opcode, payload: None,
        *,
        more: str = "",
        behind: bytes = b"",
    ) -> Self:
        """Connect and send the handshake, with bytes behind it; see `opened` for the answer."""
        self = cls(hear)
        loop = asyncio.get_running_loop()
        await loop.create_connection(lambda: self, "127.0.0.1", port)
        self.open_with(target, more=more, behind=behind)
        return self

    def open_with(self, target: str, *, more: str = "", behind: bytes = b"") -> None:
        """Send the handshake."""
        self.write(make_request(target, more) + behind)

    # ---- what the transport calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self._can_write = asyncio.Event()
        self._can_write.set()

    def data_received(self, data: bytes) -> None:
        self.input += data
        if not self.opened.done():
            end = self.input.find(b"\r\n\r\n")
            if end < 0:
                return
            status = int(self.input[9:12])
            del self.input[: end + 4]
            self.opened.set_result(status)
        self.read_frames()

    def pause_writing(self) -> None:
        self._can_write.clear()

    def resume_writing(self) -> None:
        self._can_write.set()

    def connection_lost(self, error: Exception | None) -> None:
        self._can_write.set()
        if not self.opened.done():
            self.opened.set_result(-1)
        if not self.ended.done():
            self.ended.set_result(self.code)

    # ---- frames

    def read_frames(self) -> None:
        """Hand on every frame that is whole; the server's are not masked."""
        data, at = self.input, 0
        while len(data) - at >= 2:
            first_byte, size, start = data[at], data[at + 1], at + 2
            opcode = first_byte & 15
            if size == 126:
                start += 2
                size = int.from_bytes(data[at + 2 : start], "big")
            elif size == 127:
                start += 8
                size = int.from_bytes(data[at + 2 : start], "big")
            if len(data) < start + size:
                break
            at = start + size
            payload = bytes(data[start:at])
            if opcode == CLOSE:
                self.code = int.from_bytes(payload[:2], "big") if payload else 1005
                if not self.has_closed and self.answers_close:
                    self.close(self.code)
            elif opcode == PING and self.answers_ping:
                self.write(make_frame(payload, PONG))
            if opcode >= CLOSE:
                self.hear(opcode, payload)
                continue
            if opcode:
                self.opcode, self.is_deflated = opcode, bool(first_byte & RSV1)
            self.pieces += payload
            if first_byte & 0x80:
                message, self.pieces = self.pieces, b""
                if self.is_deflated:
                    message = self.inflater.decompress(message + TAIL)
                self.hear(self.opcode, message)
        del data[:at]

    def write(self, data: bytes) -> None:
        """Send bytes as they are."""
        if not self.transport.is_closing():
            self.transport.write(data)

    def send(self, payload: bytes, opcode: int = BINARY) -> None:
        """Send a frame."""
        self.write(make_frame(payload, opcode))

    async def drain(self) -> None:
        """Wait until the transport takes more."""
        await self._can_write.wait()

    def close(self, code: int = 1000) -> None:
        """Send a close frame; the server ends the connection behind its own."""
        self.has_closed = True
        self.write(make_close(code))

    def reset(self) -> None:
        """End with RST."""
        abort_transport(self.transport)


def abort_transport(transport: asyncio.WriteTransport) -> None:
    """End a connection with RST."""
    with contextlib.suppress(OSError):
        sock = transport.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    if not transport.is_closing():
        transport.abort()

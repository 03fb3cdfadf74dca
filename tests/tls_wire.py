"""A TLS client for the tests, whose records and ends can be sent as an attacker would.

The session is an `ssl.SSLObject` over memory; what goes on the wire is the caller's choice.
"""

import asyncio
import contextlib
import ssl
from typing import Any, Self

import reference
from certificates import client_context
from reference import BINARY, CLOSE, PING, PONG, TEXT, Frame
from wire import KEY, PATIENCE_S, Head, Reader, Wire, build_request, upgrade_headers


class TlsWire:
    """One TCP connection to a TLS port."""

    def __init__(
        self,
        wire: Wire,
        context: ssl.SSLContext | None = None,
        server_hostname: str = "localhost",
    ) -> None:
        self.wire = wire
        context = context or client_context()
        self.incoming = ssl.MemoryBIO()
        self.outgoing = ssl.MemoryBIO()
        self.session = context.wrap_bio(
            self.incoming, self.outgoing, server_hostname=server_hostname
        )
        self.is_notified = False  # the server's close_notify has come

    @classmethod
    async def begin(
        cls,
        address: Any,
        context: ssl.SSLContext | None = None,
        *,
        server_hostname: str = "localhost",
    ) -> Self:
        """Connect, and send nothing; without a context it is `client_context()`."""
        return cls(await Wire.open(address), context, server_hostname)

    @classmethod
    async def open(
        cls,
        address: Any,
        context: ssl.SSLContext | None = None,
        *,
        server_hostname: str = "localhost",
    ) -> Self:
        """Connect and shake hands."""
        made = await cls.begin(address, context, server_hostname=server_hostname)
        await made.shake_hands()
        return made

    @classmethod
    async def connect(
        cls, address: Any, context: ssl.SSLContext | None = None, *, target: str = "/"
    ) -> Self:
        """Connect, shake hands, and upgrade."""
        made = await cls.open(address, context)
        made.write(build_request(upgrade_headers(), target=target))
        head = await made.receive_head()
        assert head.status == 101, head.raw
        assert head.headers["sec-websocket-accept"] == reference.accept_value(KEY)
        return made

    @property
    def reader(self) -> Reader:
        return self.wire.reader

    # ---- the handshake ----

    def first_flight(self) -> bytes:
        """Give the ClientHello, unsent."""
        with contextlib.suppress(ssl.SSLWantReadError):
            self.session.do_handshake()
        return self.outgoing.read()

    async def shake_hands(self) -> None:
        """Shake hands; raises ssl.SSLError or ConnectionError where the server refuses."""
        while True:
            try:
                self.session.do_handshake()
            except ssl.SSLWantReadError:
                self.flush()
                await self.receive_records()
            else:
                self.flush()
                return

    # ---- bytes ----

    def flush(self) -> None:
        """Send what has been sealed."""
        if self.outgoing.pending:
            self.wire.write(self.outgoing.read())

    def seal(self, data: bytes, *, record_size: int = 16384) -> bytes:
        """Give the records that carry some bytes, unsent."""
        for start in range(0, len(data), record_size):
            self.session.write(data[start : start + record_size])
        return self.outgoing.read()

    def write(self, data: bytes, *, record_size: int = 16384) -> None:
        """Send bytes, in records of at most so many."""
        self.wire.write(self.seal(data, record_size=record_size))

    async def receive_records(self) -> None:
        """Read what the server has sent; ConnectionResetError at its FIN."""
        async with asyncio.timeout(PATIENCE_S):
            data = await self.reader.read(65536)
        if not data:
            raise ConnectionResetError("the server has hung up")
        self.incoming.write(data)

    async def receive_some(self) -> bytes:
        """Read bytes; none at the server's close_notify."""
        while True:
            try:
                return self.session.read(65536)
            except ssl.SSLZeroReturnError:
                return b""
            except ssl.SSLWantReadError:
                self.flush()
                await self.receive_records()

    async def receive(self, size: int) -> bytes:
        """Read exactly so many bytes."""
        data = b""
        while len(data) < size:
            try:
                data += self.session.read(size - len(data))
            except ssl.SSLWantReadError:
                await self.receive_records()
        return data

    async def receive_head(self) -> Head:
        """Read the head of a response."""
        raw = b""
        while not raw.endswith(b"\r\n\r\n"):
            try:
                raw += self.session.read(1)  # what comes behind it is not ours to take
            except ssl.SSLWantReadError:
                await self.receive_records()
        return Head(raw)

    # ---- messages ----

    def write_frame(self, opcode: int, payload: bytes = b"", *, record_size: int = 16384) -> None:
        self.write(reference.serialize(Frame(opcode, payload)), record_size=record_size)

    def send(self, message: str | bytes, *, record_size: int = 16384) -> None:
        """Send one message in one frame."""
        text = isinstance(message, str)
        payload = message.encode() if isinstance(message, str) else message
        self.write_frame(TEXT if text else BINARY, payload, record_size=record_size)

    async def receive_frame(self) -> Frame:
        """Read one frame of the server."""
        data = await self.receive(2)
        while (found := reference.parse_header(data, from_client=False)) is None:
            data += await self.receive(1)
        frame, length, _, _ = found
        return Frame(frame.opcode, await self.receive(length))

    async def receive_message(self) -> str | bytes:
        """Read one message, which must be the next frame; a ping may come before it at any time
        (5.5.2), as it does where the machine is slow, and is answered."""
        while (frame := await self.receive_frame()).opcode == PING:
            self.write_frame(PONG, frame.payload)
        assert frame.opcode in (TEXT, BINARY), f"a message expected, got {frame}"
        return frame.payload.decode() if frame.opcode == TEXT else frame.payload

    async def receive_close(self) -> int:
        """Read a close frame, which must be the next, and give its code."""
        frame = await self.receive_frame()
        assert frame.opcode == CLOSE, f"a close expected, got {frame}"
        return reference.parse_close(frame.payload)[1]

    # ---- the end ----

    def notify(self) -> None:
        """Send close_notify."""
        with contextlib.suppress(ssl.SSLError):
            self.session.unwrap()
        self.flush()

    async def receive_rest(self) -> bytes:
        """Read until the server's close_notify."""
        data = b""
        while some := await self.receive_some():
            data += some
        return data

    async def receive_notify(self) -> None:
        """Check that the server sends nothing but close_notify, and then its FIN."""
        assert await self.receive_some() == b""
        assert await self.wire.receive_rest() == b""

    async def receive_end(self) -> bytes:
        """Give the bytes up to the server's FIN; fails if a close_notify comes before it."""
        data = b""
        with contextlib.suppress(ConnectionError):
            while some := await self.receive_some():
                data += some
            raise AssertionError("a close_notify before the end")
        return data

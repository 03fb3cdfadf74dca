"""A raw WebSocket client for the tests: it sends any bytes, and lets no wrong frame of ours pass.

Frames are built and read by the reference codec (RFC 6455, section 5), the drafts' likewise.
"""

import asyncio
import contextlib
import itertools
import os
import re
import socket
import struct
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, ClassVar, Self

import reference
from reference import BINARY, CLOSE, CONTINUATION, PING, PONG, RSV1, TEXT, Frame

import sockwave

# Far above what a loaded machine needs: a test that waits this long has failed.
PATIENCE_S = 30.0

# The default of `ping_interval`, 10 % less.
LEAST_PING_S = 18.0

# How often something has to go round, through the kernel and the loop, until what has not come by
# then does not come: the server reads little more than 64 KiB in a turn of the loop.
ROUNDS = 32

# The example of RFC 6455, section 1.3.
KEY = "dGhlIHNhbXBsZSBub25jZQ=="
ACCEPT = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="

# The example of PROTOCOLS for draft 76.
KEY1, KEY2, KEY3 = "4 @1  46546xW%0l 1 5", "12998 5 Y3 1  .P00", b"^n:ds[4U"

Headers = Mapping[str, str] | Iterable[tuple[str, str]]


def build_request(headers: Headers, *, target: str = "/", method: str = "GET") -> bytes:
    """Give the head of a request with these headers and no others."""
    pairs = headers.items() if isinstance(headers, Mapping) else headers
    lines = [f"{method} {target} HTTP/1.1", *(f"{name}: {value}" for name, value in pairs)]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


def upgrade_headers(version: int = 13) -> dict[str, str]:
    """Give the headers of an ordinary opening handshake (RFC 6455, section 4.1; hybi-07, -08)."""
    return {
        "Host": "example.com",
        "Upgrade": "websocket",
        "Connection": "Upgrade",
        "Sec-WebSocket-Key": KEY,
        "Sec-WebSocket-Version": str(version),
    }


def hixie_headers(draft: int) -> dict[str, str]:
    """Give the headers of an opening handshake of draft 75 or 76."""
    headers = {
        "Upgrade": "WebSocket",
        "Connection": "Upgrade",
        "Host": "example.com",
        "Origin": "http://example.com",
    }
    if draft == 76:
        headers |= {"Sec-WebSocket-Key1": KEY1, "Sec-WebSocket-Key2": KEY2}
    return headers


class Head:
    """The head of a response: `status`, `reason`, `headers` (lower-case names), `raw`."""

    def __init__(self, raw: bytes) -> None:
        self.raw = raw
        first, *lines = raw.decode("latin-1").removesuffix("\r\n\r\n").split("\r\n")
        found = re.fullmatch(r"HTTP/1\.1 (\d{3}) ([^\r\n]*)", first)
        assert found, f"not a status line: {first!r}"
        self.status, self.reason = int(found[1]), found[2]
        self.headers = {
            name.lower(): value for name, _, value in (line.partition(": ") for line in lines)
        }


class Reader(asyncio.StreamReader):
    """A stream that tells whether the server's FIN has come, whatever is still to be read."""

    has_ended = False

    def feed_eof(self) -> None:
        self.has_ended = True
        super().feed_eof()


def are_pings(data: bytes) -> bool:
    """Tell whether a server's bytes are pings, at least one of them, and nothing else."""
    while data[:1] == b"\x89":
        data = data[2 + data[1] :]
        if not data:
            return True
    return False


class Wire:
    """One TCP connection to the server under test."""

    opened: ClassVar[list["Wire"]] = []

    def __init__(self, reader: Reader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer
        self.loop = asyncio.get_running_loop()
        self.begun = self.loop.time()
        self.head = Head(b"HTTP/1.1 100 Nothing Yet\r\n\r\n")
        self.opened.append(self)

    @classmethod
    async def open(cls, address: Any, *, receive_buffer_size: int | None = None) -> Self:
        """Connect to a (host, port), or to the path of a Unix socket, and send nothing."""
        if isinstance(address, str | Path):
            family = socket.AF_UNIX
        else:
            family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        sock = socket.socket(family, socket.SOCK_STREAM)
        sock.setblocking(False)
        if receive_buffer_size is not None:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer_size)
        target = str(address) if family == socket.AF_UNIX else tuple(address)
        loop = asyncio.get_running_loop()
        try:
            await loop.sock_connect(sock, target)
        except BaseException:
            sock.close()
            raise
        if family != socket.AF_UNIX:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        reader = Reader(limit=2**20)
        protocol = asyncio.StreamReaderProtocol(reader)
        transport, _ = await loop.create_connection(lambda: protocol, sock=sock)
        return cls(reader, asyncio.StreamWriter(transport, protocol, reader, loop))

    @classmethod
    async def connect(
        cls,
        address: Any,
        *,
        version: int = 13,
        target: str = "/",
        headers: Headers = (),
        behind: bytes = b"",
        receive_buffer_size: int | None = None,
    ) -> Self:
        """Connect and shake hands; `behind` leaves in one segment with the request."""
        wire = await cls.open(address, receive_buffer_size=receive_buffer_size)
        pairs = headers.items() if isinstance(headers, Mapping) else headers
        request = build_request([*upgrade_headers(version).items(), *pairs], target=target)
        wire.write(request + behind)
        head = await wire.receive_head()
        assert head.status == 101, head.raw
        assert head.headers["sec-websocket-accept"] == reference.accept_value(KEY)
        return wire

    @classmethod
    async def connect_hixie(
        cls, address: Any, draft: int, *, target: str = "/", behind: bytes = b""
    ) -> Self:
        """Connect and shake hands as a client of draft 75 or 76 would."""
        wire = await cls.open(address)
        request = build_request(hixie_headers(draft), target=target)
        wire.write(request + (KEY3 if draft == 76 else b"") + behind)
        head = await wire.receive_head()
        assert head.status == 101, head.raw
        if draft == 76:
            assert await wire.receive(16) == reference.answer_76(KEY1, KEY2, KEY3)
        return wire

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    # ---- sending ----

    def write(self, data: bytes) -> None:
        """Send bytes as they are."""
        self.writer.write(data)

    async def write_slowly(self, data: bytes) -> None:
        """Send bytes one by one, each in a segment of its own that the server has time to read."""
        await self.write_pieces(data, range(len(data)))

    async def write_pieces(self, data: bytes, cuts: Iterable[int]) -> None:
        """Send bytes cut at the given places; none after the server's FIN, which RST follows."""
        places = [0, *sorted(cut for cut in set(cuts) if 0 < cut < len(data)), len(data)]
        for start, end in itertools.pairwise(places):
            if self.reader.has_ended:
                break
            self.writer.write(data[start:end])
            for _ in range(3):
                await asyncio.sleep(0)

    def write_frame(
        self, opcode: int, payload: bytes | str = b"", *, fin: bool = True, rsv: int = 0
    ) -> None:
        """Send one masked frame."""
        data = payload.encode() if isinstance(payload, str) else payload
        self.write(reference.serialize(Frame(opcode, data, fin, rsv)))

    def send(self, message: str | bytes) -> None:
        """Send one message in one frame."""
        self.write_frame(TEXT if isinstance(message, str) else BINARY, message)

    def write_close(self, code: int | None = 1000, reason: str = "") -> None:
        """Send a close frame; `None` sends one without a body."""
        self.write_frame(CLOSE, b"" if code is None else reference.close_payload(code, reason))

    def write_eof(self) -> None:
        """Send FIN, and go on reading."""
        self.writer.write_eof()

    async def drain(self) -> None:
        """Wait until the kernel has taken nearly everything that was written."""
        await self.writer.drain()

    # ---- receiving ----

    def pause_reading(self) -> None:
        """Read nothing from the kernel, which will take no more from the server then."""
        self.writer.transport.pause_reading()  # type: ignore[attr-defined]

    def resume_reading(self) -> None:
        """Read again."""
        self.writer.transport.resume_reading()  # type: ignore[attr-defined]

    async def receive(self, size: int) -> bytes:
        """Read exactly so many bytes."""
        async with asyncio.timeout(PATIENCE_S):
            return await self.reader.readexactly(size)

    async def receive_head(self) -> Head:
        """Read the head of a response, and keep it as `head`."""
        async with asyncio.timeout(PATIENCE_S):
            self.head = Head(await self.reader.readuntil(b"\r\n\r\n"))
        return self.head

    async def receive_frame(self) -> Frame:
        """Read one frame of the server, which must not be a fragment."""
        frame = await self.receive_fragment()
        # What this server sends is fragmented by `stream_message` alone.
        assert frame.fin, f"a fragment: {frame}"
        assert frame.opcode != CONTINUATION, f"a continuation: {frame}"
        return frame

    async def receive_fragment(self) -> Frame:
        """Read one frame of the server, holding it to section 5: no mask, shortest length."""
        data = await self.receive(2)
        # RFC 7692, 6.1: where compression has been agreed on, RSV1 marks a compressed message.
        allowed = RSV1 if "sec-websocket-extensions" in self.head.headers else 0
        while (
            found := reference.parse_header(data, from_client=False, allowed_rsv=allowed)
        ) is None:
            data += await self.receive(1)
        frame, length, _, _ = found
        assert not frame.rsv or frame.opcode in (TEXT, BINARY), f"a compressed control: {frame}"
        return Frame(frame.opcode, await self.receive(length), fin=frame.fin, rsv=frame.rsv)

    async def receive_message(self) -> str | bytes:
        """Read one message, which must be the next frame; a ping may come before it at any time
        (5.5.2), as it does where the machine is slow, and is answered."""
        while (frame := await self.receive_frame()).opcode == PING:
            self.write_frame(PONG, frame.payload)
        assert frame.opcode in (TEXT, BINARY), f"a message expected, got {frame}"
        assert not frame.rsv, f"a message that is not compressed expected, got {frame}"
        return frame.payload.decode() if frame.opcode == TEXT else frame.payload

    async def receive_pong(self) -> bytes:
        """Read one pong, which must be the next frame."""
        frame = await self.receive_frame()
        assert frame.opcode == PONG, f"a pong expected, got {frame}"
        return frame.payload

    async def wait_until_read(self) -> None:
        """Wait until the server has read what has been sent so far: it answers a ping then."""
        self.write_frame(PING)
        assert await self.receive_pong() == b""

    async def receive_ping(self) -> bytes:
        """Read one ping, which must be the next frame."""
        frame = await self.receive_frame()
        assert frame.opcode == PING, f"a ping expected, got {frame}"
        return frame.payload

    async def receive_close(self) -> tuple[int, str]:
        """Read a close frame, which must be the next: its code (1005 without one) and reason."""
        frame = await self.receive_frame()
        assert frame.opcode == CLOSE, f"a close expected, got {frame}"
        _, code, reason = reference.parse_close(frame.payload)
        return code, reason

    async def receive_rest(self) -> bytes:
        """Read until the server's FIN; ConnectionError if it resets instead."""
        async with asyncio.timeout(PATIENCE_S):
            return await self.reader.read()

    async def receive_frames_until_close(self) -> list[Frame]:
        """Read frames up to and with the close frame."""
        frames = [await self.receive_frame()]
        while frames[-1].opcode != CLOSE:
            frames.append(await self.receive_frame())
        return frames

    async def receive_end(self) -> None:
        """Wait until the server drops the connection; whatever still comes is an error."""
        with contextlib.suppress(ConnectionError):
            rest = await self.receive_rest()
            assert rest == b"", f"the end expected, got {rest[:100]!r}"

    async def receive_nothing(self, seconds: float = 0) -> None:
        """Check that the server neither answers what was sent nor closes; with seconds, which only
        a test about the server's own times needs, not for so long either.

        Where a test takes so long that the server pings, as it does by default, that is silence.
        """
        reading = asyncio.ensure_future(self.reader.read(100))
        await asyncio.wait([reading], timeout=seconds)
        await let_arrive()
        reading.cancel()
        await asyncio.wait([reading])
        if reading.cancelled():
            return
        data = reading.result()
        if are_pings(data) and self.loop.time() - self.begun >= LEAST_PING_S:
            return
        raise AssertionError(f"silence expected, got {data!r}" if data else "the server hung up")

    # ---- the end ----

    async def expect_failure(self, *codes: int) -> None:
        """Check that the server fails the connection with one of these codes, and hangs up."""
        code, _ = await self.receive_close()
        assert code in codes, f"close code {codes} expected, got {code}"
        self.write_close(code)
        await self.receive_end()

    async def shake_close(self, code: int = 1000) -> None:
        """Close the connection as a well-behaved client does."""
        self.write_close(code)
        assert (await self.receive_close())[0] == code
        await self.receive_end()

    async def close(self) -> None:
        """Drop the connection without ado."""
        self.writer.close()
        with contextlib.suppress(ConnectionError):
            await self.writer.wait_closed()
        if self in self.opened:
            self.opened.remove(self)

    @classmethod
    async def close_all(cls) -> None:
        """Drop the connections that a test has left open."""
        left, cls.opened[:] = cls.opened[:], []
        for wire in left:
            if wire.loop is asyncio.get_running_loop():
                await wire.close()

    def reset(self) -> None:
        """Drop the connection with RST."""
        reset_at_close(self.writer.get_extra_info("socket"))
        self.writer.transport.abort()


def reset_at_close(sock: socket.socket) -> None:
    """Have a socket send RST when it is closed, and no FIN."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


async def connect_both(
    server: sockwave.Server, **options: object
) -> tuple[Wire, sockwave.Connection]:
    """Connect a client, and give both ends."""
    accepted: list[sockwave.Connection] = []
    server.once("connection", accepted.append)
    wire = await Wire.connect(server.addresses[0], **options)  # type: ignore[arg-type]
    await wait_until(lambda: accepted, "the connection event")
    return wire, accepted[0]


async def assert_echoes(server: sockwave.Server) -> None:
    """Check that a new client is served as ever."""
    wire, conn = await connect_both(server)
    conn.on("message", conn.send)
    wire.send("as ever")
    while (message := await wire.receive_message()) != "as ever":
        assert message == "from a listener"
    await wire.close()


async def connect_receiving(
    server: sockwave.Server,
) -> tuple[Wire, sockwave.Connection]:
    """Connect a client, and receive its first message: those that follow wait to be received."""
    wire, conn = await connect_both(server)
    first = asyncio.ensure_future(conn.receive())
    await asyncio.sleep(0)
    wire.send("first")
    assert await first == "first"
    return wire, conn


@contextlib.contextmanager
def case(name: object) -> Iterator[None]:
    """Name the case in whose block a test fails: one of many that share a server, or need none."""
    try:
        yield
    except BaseException as error:
        error.add_note(f"case: {name}")
        raise


async def wait_until(condition: Any, what: str = "") -> None:
    """Wait until the condition, a function, is true; AssertionError after `PATIENCE_S`."""
    end = time.monotonic() + PATIENCE_S
    # Most of it takes a few turns of the loop, and no timer's.
    for turn in itertools.count():
        if condition():
            return
        assert time.monotonic() < end, f"waited in vain: {what or condition}"
        await asyncio.sleep(0 if turn < ROUNDS else 0.002)


async def let_arrive(rounds: int = ROUNDS) -> None:
    """Let all that is under way arrive, and be dealt with as far as it will be.

    A byte goes to and fro behind it, through the kernel and through the loop, which the server
    shares with its clients: a slow machine has got as far as a fast one when this returns.
    """
    loop = asyncio.get_running_loop()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        near = socket.create_connection(listener.getsockname())
        far, _ = listener.accept()
    with near, far:
        near.setblocking(False)
        far.setblocking(False)
        for _ in range(rounds):
            for one, other in ((near, far), (far, near)):
                await loop.sock_sendall(one, b"x")
                await asyncio.sleep(0)
                await loop.sock_recv(other, 1)
                await asyncio.sleep(0)


async def settle(number: Callable[[], int]) -> int:
    """Wait until a number no longer changes, whatever arrives; give it."""
    last = None
    while last != number():
        last = number()
        await let_arrive()
    return last


@contextlib.contextmanager
def each_turn(loop: asyncio.AbstractEventLoop, call: Callable[[], object]) -> Iterator[None]:
    """Call a function before each turn of the loop, and cause none."""
    turn = loop._run_once  # type: ignore[attr-defined]

    def observed_turn() -> None:
        call()
        turn()

    loop._run_once = observed_turn  # type: ignore[attr-defined]
    try:
        yield
    finally:
        loop._run_once = turn  # type: ignore[attr-defined]


async def count_turns(loop: asyncio.AbstractEventLoop, seconds: float) -> int:
    """Count the turns that a loop takes in so long: one that rests takes a few, on any machine."""
    turns = itertools.count()
    with each_turn(loop, lambda: next(turns)):
        await asyncio.sleep(seconds)
    return next(turns)


def count_descriptors() -> int:
    """Count this process's open descriptors."""
    return len(os.listdir("/dev/fd"))


def measure_resident_size() -> int:
    """Give this process's resident memory, in bytes (Linux alone)."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")

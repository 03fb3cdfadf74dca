"""Answers that come before the end of a body: they reach a client that is still sending it.

RFC 9112, section 9.6: "If a server performs an immediate close of a TCP connection, there is a
significant risk that the client will not be able to read the last HTTP response. [...] To avoid the
TCP reset problem, servers typically close a connection in stages."
"""

import asyncio
import contextlib
import itertools
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
from certificates import server_context
from conftest import ErrorLog
from tls_wire import TlsWire
from wire import PATIENCE_S, Head, Wire, case, let_arrive

import sockwave

KIB, MIB = 2**10, 2**20
BLOCK = bytes(64 * KIB)
CHUNK = b"%x\r\n%b\r\n" % (len(BLOCK), BLOCK)

# What a client sends after its answer has come, and before it reads that.
LATE_SIZE = 4 * MIB

# What a server takes of a client that never stops, with what the kernel holds for both: far more
# than an honest client is likely to have under way, and far less than a flood.
MOST_SIZE = 32 * MIB


class Uploader:
    """A client that sends and does not read, plain or over TLS."""

    def __init__(self, wire: Wire, tls: TlsWire | None) -> None:
        self.wire = wire
        self.tls = tls
        wire.pause_reading()

    @classmethod
    async def open(cls, address: Any, *, is_tls: bool) -> "Uploader":
        """Connect, and send nothing."""
        tls = await TlsWire.open(address) if is_tls else None
        return cls(await Wire.open(address) if tls is None else tls.wire, tls)

    async def send(self, data: bytes) -> None:
        """Send bytes, and wait until the kernel has taken nearly all; ConnectionError after RST."""
        if self.tls is None:
            self.wire.write(data)
        else:
            # Of a size that divides nothing: the server stops reading amid a record, too.
            self.tls.write(data, record_size=9973)
        async with asyncio.timeout(PATIENCE_S):
            await self.wire.drain()
            for _ in range(3):  # the server shares the loop, and may read
                await asyncio.sleep(0)

    async def receive_all(self) -> tuple[Head, bytes]:
        """Read the one answer, and check that an end in order stands behind it, and no RST."""
        self.wire.resume_reading()
        if self.tls is None:
            head = await self.wire.receive_head()
            return head, await self.wire.receive_rest()
        head = await self.tls.receive_head()
        body = await self.tls.receive_rest()
        assert await self.wire.receive_rest() == b""
        return head, body


StartUpload = Callable[..., Awaitable[sockwave.Server]]


@pytest.fixture(params=["plain", "direct", "portable"])
def is_tls(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    """Whether the client comes by TLS; with TLS, both ways in which OpenSSL is called."""
    if request.param != "plain":
        monkeypatch.setenv("SOCKWAVE_TLS", request.param)
    if request.param == "direct":
        openssl = pytest.importorskip("sockwave.core.tls.openssl")
        if not openssl.is_available():
            pytest.skip("the ssl module's OpenSSL cannot be called directly")
    return bool(request.param != "plain")


@pytest.fixture
async def start(engine: str, is_tls: bool, error_log: ErrorLog) -> AsyncIterator[StartUpload]:
    """`server = await start(**options)`: it reads no body, and answers as the path says."""
    async with contextlib.AsyncExitStack() as stack:

        async def start(**options: Any) -> sockwave.Server:
            server = sockwave.create_server(engine=engine, **options)
            server.listen(0, "127.0.0.1", ssl=server_context() if is_tls else None)
            server.on("request", answer)
            await server.start()
            stack.push_async_callback(server.close, drain=1.0)
            return server

        yield start
        await Wire.close_all()


async def answer(request: sockwave.Request, response: sockwave.Response) -> None:
    """Answer before the body has come."""
    match request.path:
        case "/closes":
            response.write_head(200, {"Connection": "close"}).end("enough\n")
        case "/refuses":
            raise sockwave.Refused(401, "who are you?\n")
        case "/fails":
            response.write_head(500).end("enough\n")
        case "/reads":
            await request.body()


LENGTH = b"Content-Length: 67108864\r\n\r\n"
CHUNKS = b"Transfer-Encoding: chunked\r\n\r\n"
HOST = b" HTTP/1.1\r\nHost: a\r\n"
#: What a client asks, and what is sent behind it over and over; which answer it gets.
UPLOADS = {
    "413 for the length": (b"POST /reads" + HOST + LENGTH, BLOCK, 413),
    "413 amid the chunks": (b"POST /reads" + HOST + CHUNKS, CHUNK, 413),
    "400 for the head": (b"POST /reads HTTP/1.1\r\n" + LENGTH, BLOCK, 400),
    "414 for the line": (b"POST /" + b"a" * 9000, BLOCK, 414),
    "501 for the coding": (
        b"POST /" + HOST + b"Transfer-Encoding: gzip, chunked\r\n\r\n",
        CHUNK,
        501,
    ),
}
UNLIMITED = {
    "200 that closes, by length": (b"POST /closes" + HOST + LENGTH, BLOCK, 200),
    "200 that closes, by chunks": (b"POST /closes" + HOST + CHUNKS, CHUNK, 200),
    "401 by the application": (b"POST /refuses" + HOST + LENGTH, BLOCK, 401),
    "500 that leaves the body": (b"POST /fails" + HOST + LENGTH, BLOCK, 500),
}


@pytest.mark.parametrize("limit", [MIB, None])
async def test_early_answer_reaches_a_client_that_still_sends(
    start: StartUpload, *, is_tls: bool, limit: int | None
) -> None:
    server = await start(body_size=limit)
    for name, (request, block, status) in (UPLOADS if limit else UNLIMITED).items():
        with case(name):
            uploader = await Uploader.open(server.addresses[0], is_tls=is_tls)
            # More than the server's limit at once: it has unread bytes when it answers.
            await uploader.send(request + block * 32)
            await let_arrive()
            for _ in range(0, LATE_SIZE, len(BLOCK)):
                await uploader.send(block)
            head, body = await uploader.receive_all()
            assert head.status == status
            assert head.headers["connection"] == "close"
            assert len(body) == int(head.headers["content-length"]) > 0
            await uploader.wire.close()


@pytest.mark.parametrize("name", ["413 for the length", "413 amid the chunks"])
async def test_client_that_never_stops_is_reset_after_a_bounded_size(
    start: StartUpload, *, is_tls: bool, name: str
) -> None:
    server = await start(body_size=MIB)
    request, block, _ = UPLOADS[name]
    uploader = await Uploader.open(server.addresses[0], is_tls=is_tls)
    sent_size = 0
    with contextlib.suppress(ConnectionError):
        await uploader.send(request)
        while sent_size < 2 * MOST_SIZE:
            await uploader.send(block)
            sent_size += len(block)
    assert sent_size < MOST_SIZE


async def trickle(uploader: Uploader) -> None:
    """Send a byte now and then; TimeoutError where that goes on for ever."""
    async with asyncio.timeout(PATIENCE_S):
        for _ in itertools.count():
            await uploader.send(b"x")
            await asyncio.sleep(0.01)


@pytest.mark.slow
async def test_client_that_trickles_is_reset_after_a_bounded_time(
    start: StartUpload, *, is_tls: bool
) -> None:
    server = await start(body_size=MIB)
    uploader = await Uploader.open(server.addresses[0], is_tls=is_tls)
    await uploader.send(UPLOADS["413 for the length"][0])
    with pytest.raises(ConnectionError):
        await trickle(uploader)

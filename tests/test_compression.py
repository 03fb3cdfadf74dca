"""Compressed messages on the wire, both ways (RFC 7692, sections 6 and 7.2)."""

import asyncio
import dataclasses
import functools
import importlib
import itertools
import json
import os
import random
import struct
import weakref
import zlib
from types import SimpleNamespace
from typing import Any

import pytest
import reference
from conftest import ErrorLog, StartServer, echo
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from reference import (
    BINARY,
    CLOSE,
    CONTINUATION,
    INVALID_DATA,
    PING,
    PONG,
    PROTOCOL_ERROR,
    RSV1,
    RSV2,
    RSV3,
    TEXT,
    TOO_BIG,
    Frame,
)
from together import together
from wire import Wire, settle, wait_until

import sockwave
from sockwave import Deflate

MEBIBYTE = 2**20
TAIL = b"\x00\x00\xff\xff"

OFFER = "permessage-deflate; client_max_window_bits"
FULL = Deflate(
    server_max_window_bits=15,
    client_max_window_bits=15,
    server_context_takeover=True,
    server_history_size=32768,
    client_context_takeover=True,
    threshold=0,
)
# Compressed, whatever its size.
EVERYTHING = Deflate(threshold=0)


@pytest.fixture(params=["zlib", "zlib_ng.zlib_ng"])
def library(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Any:
    """What the servers of a test compress with: the standard library's module, and zlib-ng's."""
    module = pytest.importorskip(request.param)
    monkeypatch.setattr("sockwave.deflate.library", module)
    return module


class Client:
    """A client that compresses with the standard library, as the server's answer allows."""

    def __init__(self, wire: Wire) -> None:
        self.wire = wire
        self.answer = wire.head.headers["sec-websocket-extensions"]
        self.server_bits = self.bits_of("server")
        self.client_bits = self.bits_of("client")
        self.compressor: Any = None
        self.inflater: Any = None

    @classmethod
    async def connect(cls, server: sockwave.Server, offer: str = OFFER) -> "Client":
        headers = {"Sec-WebSocket-Extensions": offer}
        return cls(await Wire.connect(server.addresses[0], headers=headers))

    def bits_of(self, side: str) -> int:
        _, _, value = self.answer.partition(f"{side}_max_window_bits=")
        return int(value.partition(";")[0] or 15)

    def deflate(self, data: bytes) -> bytes:
        """Compress one message, without its tail."""
        if self.compressor is None or "client_no_context_takeover" in self.answer:
            self.compressor = zlib.compressobj(6, zlib.DEFLATED, -self.client_bits)
        if not data:
            return b"\x00"
        out: bytes = self.compressor.compress(data) + self.compressor.flush(zlib.Z_SYNC_FLUSH)
        assert out.endswith(TAIL)
        return out[:-4]

    def inflate(self, payload: bytes) -> bytes:
        """Inflate one message, with no larger a window than was agreed on."""
        if self.inflater is None or "server_no_context_takeover" in self.answer:
            self.inflater = zlib.decompressobj(-self.server_bits)
        out: bytes = self.inflater.decompress(payload + TAIL)
        assert not self.inflater.eof
        return out

    def send(self, message: str | bytes) -> None:
        data = message.encode() if isinstance(message, str) else message
        opcode = TEXT if isinstance(message, str) else BINARY
        self.wire.write_frame(opcode, self.deflate(data), rsv=RSV1)

    def read(self, frame: Frame) -> str | bytes:
        """Give the message of a frame, compressed or not."""
        assert frame.opcode in (TEXT, BINARY), f"a message expected, got {frame}"
        data = self.inflate(frame.payload) if frame.rsv else frame.payload
        return data.decode() if frame.opcode == TEXT else data

    async def receive(self) -> str | bytes:
        while (frame := await self.wire.receive_frame()).opcode == PING:
            self.wire.write_frame(PONG, frame.payload)  # on a slow machine, before any message
        return self.read(frame)

    async def receive_deflated(self) -> bytes:
        """Receive one message, which must be compressed, as it stands on the wire."""
        frame = await self.wire.receive_frame()
        assert frame.rsv == RSV1, f"a compressed message expected, got {frame}"
        return frame.payload


async def start_echo(
    start_server: StartServer, compression: bool | Deflate = EVERYTHING, **options: Any
) -> sockwave.Server:
    """Start a server that compresses and sends every message back."""
    server = await start_server(compression=compression, **options)
    echo(server)
    return server


async def accept(server: sockwave.Server, offer: str = OFFER) -> tuple[Client, sockwave.Connection]:
    """Connect a client, and give both ends."""
    accepted: list[sockwave.Connection] = []
    server.once("connection", accepted.append)
    client = await Client.connect(server, offer)
    await wait_until(lambda: accepted, "the connection event")
    return client, accepted[0]


@functools.cache
def some_json(size: int, seed: int = 0) -> str:
    """Make JSON text of just this size."""
    chance = random.Random(seed)
    rows = [{"id": i, "name": f"n{i % 7}", "price": chance.random()} for i in range(size // 20 + 1)]
    return json.dumps(rows)[:size]


# ---- the opening handshake -----------------------------------------------------------------------


async def test_without_the_option_nothing_is_agreed_on(echo_server: sockwave.Server) -> None:
    headers = {"Sec-WebSocket-Extensions": OFFER}
    wire = await Wire.connect(echo_server.addresses[0], headers=headers)
    assert "sec-websocket-extensions" not in wire.head.headers
    wire.send("x" * 5000)
    assert await wire.receive_message() == "x" * 5000


async def test_client_that_offers_nothing_gets_plain_messages(start_server: StartServer) -> None:
    server = await start_echo(start_server)
    wire = await Wire.connect(server.addresses[0])
    assert "sec-websocket-extensions" not in wire.head.headers
    wire.send("x" * 5000)
    assert await wire.receive_message() == "x" * 5000


async def test_answer_stands_in_the_response(start_server: StartServer) -> None:
    server = await start_echo(start_server, True)
    client = await Client.connect(server)
    assert client.answer == (
        "permessage-deflate; server_no_context_takeover; client_no_context_takeover; "
        "server_max_window_bits=12; client_max_window_bits=12"
    )


async def test_offer_that_cannot_be_met_opens_a_connection_without_compression(
    start_server: StartServer,
) -> None:
    server = await start_echo(start_server)
    for offer in ('permessage-deflate; x="y"', "permessage-deflate; server_max_window_bits=8", "a"):
        wire = await Wire.connect(server.addresses[0], headers={"Sec-WebSocket-Extensions": offer})
        assert "sec-websocket-extensions" not in wire.head.headers
        wire.send("hello")
        assert await wire.receive_message() == "hello"


@pytest.mark.parametrize("version", [7, 8])
async def test_drafts_do_not_know_it(start_server: StartServer, version: int) -> None:
    server = await start_echo(start_server)
    headers = {"Sec-WebSocket-Extensions": OFFER}
    wire = await Wire.connect(server.addresses[0], version=version, headers=headers)
    assert "sec-websocket-extensions" not in wire.head.headers
    wire.write_frame(TEXT, b"\x00", rsv=RSV1)
    await wire.expect_failure(PROTOCOL_ERROR)


async def test_first_frame_may_come_with_the_request(start_server: StartServer) -> None:
    server = await start_echo(start_server)
    first = reference.serialize(Frame(TEXT, bytes.fromhex("f248cdc9c90700"), rsv=RSV1))
    headers = {"Sec-WebSocket-Extensions": OFFER}
    wire = await Wire.connect(server.addresses[0], headers=headers, behind=first)
    assert await Client(wire).receive() == "Hello"


# ---- the examples of section 7.2.3, byte for byte ------------------------------------------------

HELLO = {
    "one block (7.2.3.1)": ["f248cdc9c90700"],
    "one block in two fragments (7.2.3.1)": ["f248cd", "c9c90700"],
    "a block without compression (7.2.3.3)": ["000500faff48656c6c6f00"],
    "a last block (7.2.3.4)": ["f348cdc9c9070000"],
    "two blocks (7.2.3.5)": ["f248050000 00ffff cac9c90700"],
}


@together
@pytest.mark.parametrize("fragments", HELLO.values(), ids=HELLO)
@pytest.mark.parametrize("compression", [EVERYTHING, FULL], ids=["forgets", "remembers"])
async def test_hello_is_read_however_it_is_compressed(
    start_server: StartServer, library: Any, compression: Deflate, fragments: list[str]
) -> None:
    server = await start_echo(start_server, compression)
    client = await Client.connect(server)
    for _ in range(3):
        for i, fragment in enumerate(fragments):
            client.wire.write_frame(
                CONTINUATION if i else TEXT,
                bytes.fromhex(fragment),
                fin=i == len(fragments) - 1,
                rsv=0 if i else RSV1,
            )
        assert await client.receive() == "Hello"


async def test_second_hello_refers_to_the_first(start_server: StartServer, library: Any) -> None:
    server = await start_echo(start_server, FULL)  # 7.2.3.2
    client = await Client.connect(server)
    for payload in ("f248cdc9c90700", "f200110000", "f200110000"):
        client.wire.write_frame(TEXT, bytes.fromhex(payload), rsv=RSV1)
        assert await client.receive() == "Hello"


async def test_empty_message_is_one_octet(start_server: StartServer, library: Any) -> None:
    for compression in (EVERYTHING, FULL):  # 7.2.3.6
        server = await start_echo(start_server, compression)
        client = await Client.connect(server)
        for _ in range(3):
            client.wire.write_frame(TEXT, b"\x00", rsv=RSV1)
            assert await client.receive_deflated() == b"\x00"
            client.wire.write_frame(BINARY, b"", fin=False, rsv=RSV1)
            client.wire.write_frame(CONTINUATION, b"\x00")
            assert await client.receive_deflated() == b"\x00"


async def test_server_writes_the_examples_itself(start_server: StartServer, library: Any) -> None:
    server = await start_echo(start_server, EVERYTHING)
    client, conn = await accept(server)
    conn.send("Hello", compress=True)
    conn.send("Hello", compress=True)
    assert await client.wire.receive(9) == bytes.fromhex("c107f248cdc9c90700")
    assert await client.wire.receive(9) == bytes.fromhex("c107f248cdc9c90700")

    server = await start_echo(start_server, FULL)
    client, conn = await accept(server)
    conn.send("Hello")
    conn.send("Hello")
    assert await client.wire.receive(9) == bytes.fromhex("c107f248cdc9c90700")
    assert await client.wire.receive(7) == bytes.fromhex("c105f200110000")


# ---- N messages in are N messages out ------------------------------------------------------------

WORDS = st.sampled_from(["alpha ", "beta ", '{"price": ', "0.125", "κόσμε ", "🌊", "a" * 300])
MESSAGES = st.one_of(
    st.text(max_size=50),
    st.binary(max_size=50),
    st.lists(WORDS, max_size=400).map("".join),
    st.integers(0, 100_000).map(bytes),
    st.integers(0, 40_000).map(lambda size: random.Random(size).randbytes(size)),
)


@st.composite
def compressions(draw: st.DrawFn) -> Deflate:
    """Draw settings that fit every client."""
    return Deflate(
        server_max_window_bits=draw(st.integers(9, 15)),
        client_max_window_bits=draw(st.integers(9, 15)),
        memory_level=draw(st.integers(1, 9)),
        level=draw(st.integers(0, 9)),
        server_context_takeover=draw(st.booleans()),
        server_history_size=draw(st.sampled_from([1, 3, 100, 1024, 32768])),
        client_context_takeover=draw(st.booleans()),
        threshold=draw(st.sampled_from([0, 100, 1024])),
    )


OFFERS = st.lists(
    st.sampled_from(
        [
            "server_no_context_takeover",
            "client_no_context_takeover",
            "server_max_window_bits=11",
            "client_max_window_bits",
        ]
    ),
    unique=True,
    max_size=4,
).map(lambda chosen: "; ".join(["permessage-deflate", *chosen]))


@pytest.mark.slow
@settings(
    max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    compression=compressions(),
    offer=OFFERS,
    messages=st.lists(MESSAGES, min_size=1, max_size=8),
    cuts=st.lists(st.integers(0, 200), max_size=5),
    is_plain=st.lists(st.booleans(), min_size=8, max_size=8),
)
async def test_every_message_comes_back_whatever_was_agreed_on(
    engine: str,
    error_log: ErrorLog,
    library: Any,
    compression: Deflate,
    offer: str,
    messages: list[str | bytes],
    cuts: list[int],
    is_plain: list[bool],
) -> None:
    server = sockwave.create_server(engine=engine, compression=compression)
    echo(server)
    server.listen(0, "127.0.0.1")
    async with server:
        client = await Client.connect(server, offer)
        for message, plain in zip(messages, is_plain, strict=False):
            data = message.encode() if isinstance(message, str) else message
            payload = data if plain else client.deflate(data)
            places = [0, *sorted(cut for cut in cuts if cut <= len(payload)), len(payload)]
            for i, (start, end) in enumerate(itertools.pairwise(places)):
                client.wire.write_frame(
                    CONTINUATION if i else TEXT if isinstance(message, str) else BINARY,
                    payload[start:end],
                    fin=i == len(places) - 2,
                    rsv=0 if i or plain else RSV1,
                )
        for message in messages:
            assert await client.receive() == message
        await client.wire.shake_close()
        await client.wire.close()


# ---- who remembers what --------------------------------------------------------------------------


@pytest.mark.slow
async def test_shared_compressor_refers_to_nothing_of_another_connection(
    start_server: StartServer, library: Any
) -> None:
    for level in range(1, 10):
        for bits in (9, 12, 15):
            shape = dataclasses.replace(EVERYTHING, server_max_window_bits=bits, level=level)
            server = await start_echo(start_server, shape)
            first, second = await Client.connect(server), await Client.connect(server)
            for size in (5, 300, 2000, 70_000):
                message = some_json(size, seed=size)
                first.send("before: " + message)
                assert await first.receive() == "before: " + message
                second.send(message)
                payload = await second.receive_deflated()
                # Bytes that a compressor makes which was never given anything else.
                fresh = library.compressobj(level, library.DEFLATED, -bits, shape.memory_level)
                alone = fresh.compress(message.encode()) + fresh.flush(library.Z_FULL_FLUSH)
                assert payload + TAIL == alone
                assert second.inflate(payload).decode() == message
            await first.wire.close()
            await second.wire.close()


async def test_inflater_shows_nothing_of_another_message(
    start_server: StartServer, library: Any
) -> None:
    server = await start_echo(start_server, EVERYTHING)
    secret = os.urandom(200)
    victim, thief = await Client.connect(server), await Client.connect(server)
    victim.send(secret)
    assert await victim.receive() == secret
    # "200 bytes, from 200 bytes back": what came last through the inflater, if there is such.
    compressor = zlib.compressobj(9, zlib.DEFLATED, -12, zdict=secret)
    asking = compressor.compress(secret) + compressor.flush(zlib.Z_SYNC_FLUSH)
    assert len(asking) < 50
    for client in (thief, victim):
        client.wire.write_frame(BINARY, asking[:-4], rsv=RSV1)
        await client.wire.expect_failure(INVALID_DATA)


async def test_client_that_remembers_may_refer_to_its_own_messages(
    start_server: StartServer, library: Any
) -> None:
    server = await start_echo(start_server, FULL)
    first, second = await Client.connect(server), await Client.connect(server)
    for i in range(40):  # more than the window holds
        data = os.urandom(1500)
        for client in (first, second):
            message = bytes([i]) + data
            client.send(message)
            assert await client.receive() == message
    assert len(first.deflate(message)) < 100


async def test_server_that_remembers_refers_to_its_own_messages(
    start_server: StartServer, library: Any
) -> None:
    server = await start_echo(start_server, FULL)
    client = await Client.connect(server)
    message = os.urandom(2000)
    client.send(message)
    assert client.inflate(await client.receive_deflated()) == message
    client.send(message)
    payload = await client.receive_deflated()
    assert len(payload) < 100
    assert client.inflate(payload) == message


async def test_reference_beyond_the_agreed_window_is_corrupt(
    start_server: StartServer, library: Any
) -> None:
    server = await start_echo(start_server, dataclasses.replace(FULL, client_max_window_bits=9))
    client = await Client.connect(server)
    assert client.client_bits == 9
    client.client_bits = 15
    message = os.urandom(2000)
    client.send(message)
    assert await client.receive() == message
    client.send(message)
    await client.wire.expect_failure(INVALID_DATA)


# ---- what is compressed --------------------------------------------------------------------------


async def test_messages_under_the_threshold_are_sent_as_they_are(
    start_server: StartServer, library: Any
) -> None:
    client, conn = await accept(await start_server(compression=True))
    for message in (some_json(1023), "é" * 511 + "x"):
        conn.send(message)
        frame = await client.wire.receive_frame()
        assert (frame.rsv, frame.payload) == (0, message.encode())
    for message in (some_json(1024), "é" * 512):
        conn.send(message)
        assert client.inflate(await client.receive_deflated()) == message.encode()


@pytest.mark.parametrize("compression", [True, FULL], ids=["forgets", "remembers"])
async def test_application_decides_for_one_message(
    start_server: StartServer, compression: bool | Deflate
) -> None:
    client, conn = await accept(await start_server(compression=compression))
    long = some_json(5000)
    conn.send(long, compress=False)
    conn.write(long.encode(), compress=False)
    conn.send("short", compress=True)
    conn.send(long, compress=None)
    for expected in (long, long.encode()):
        assert await client.wire.receive_message() == expected
    assert client.inflate(await client.receive_deflated()) == b"short"
    assert client.inflate(await client.receive_deflated()) == long.encode()


@together
@pytest.mark.parametrize("wrong", [1, 0, "yes", b""])
async def test_compress_of_another_type_raises_and_sends_nothing(
    start_server: StartServer, wrong: Any
) -> None:
    server = await start_server(compression=True)
    client, conn = await accept(server)
    for call in (conn.send, conn.broadcast, server.broadcast):
        with pytest.raises(TypeError, match=r"^compress: expected True, False or None, given "):
            call("hello", compress=wrong)
    conn.send("after")
    assert await client.receive() == "after"


async def test_nothing_is_compressed_where_it_was_not_agreed_on(start_server: StartServer) -> None:
    server = await start_server(compression=EVERYTHING)
    wires = [
        await Wire.connect(server.addresses[0]),
        await Wire.connect(server.addresses[0], version=8),
        await Wire.connect_hixie(server.addresses[0], 76),
    ]
    await wait_until(lambda: len(server.connections) == 3)
    for conn in server.connections:
        conn.send("hello", compress=True)
    assert server.broadcast("hello", compress=True) == 3
    for wire in wires[:2]:
        assert [await wire.receive_message() for _ in range(2)] == ["hello"] * 2
    assert await wires[2].receive(14) == b"\x00hello\xff" * 2


async def test_every_kind_of_message_can_be_compressed(
    start_server: StartServer, library: Any
) -> None:
    client, conn = await accept(await start_server(compression=EVERYTHING))
    zeros = bytes(3000)
    for message in (zeros, bytearray(zeros), memoryview(zeros)[::-1], "é" * 1500, "a" * 3000):
        conn.send(message)
        expected = message if isinstance(message, str) else zeros
        assert await client.receive() == expected


# ---- broadcasts ----------------------------------------------------------------------------------


class Ledger:
    """A library that counts what it compresses, and knows which compressors are alive."""

    def __init__(self, library: Any) -> None:
        self.compressed: list[int] = []
        self.alive: weakref.WeakSet[Any] = weakref.WeakSet()
        ledger = self

        class Compressor:
            def __init__(self, *shape: int) -> None:
                self.compressor = library.compressobj(*shape)
                ledger.alive.add(self)

            def compress(self, data: bytes) -> bytes:
                ledger.compressed.append(len(data))
                out: bytes = self.compressor.compress(data)
                return out

            def flush(self, mode: int) -> bytes:
                out: bytes = self.compressor.flush(mode)
                return out

        class Inflater:
            def __init__(self, *shape: Any) -> None:
                self.inflater = library.decompressobj(*shape)
                ledger.alive.add(self)

            def __getattr__(self, name: str) -> Any:
                return getattr(self.inflater, name)

        self.library = SimpleNamespace(**vars(library))
        self.library.compressobj, self.library.decompressobj = Compressor, Inflater


@pytest.fixture
def ledger(monkeypatch: pytest.MonkeyPatch) -> Ledger:
    found = Ledger(zlib)
    monkeypatch.setattr("sockwave.deflate.library", found.library)
    return found


async def test_broadcast_is_compressed_once_for_each_window(
    start_server: StartServer, ledger: Ledger
) -> None:
    server = await start_server(compression=True)
    narrow = "permessage-deflate; server_max_window_bits=9"
    clients = [await Client.connect(server, offer) for offer in [OFFER] * 5 + [narrow] * 5]
    plain = await Wire.connect(server.addresses[0])
    await wait_until(lambda: len(server.connections) == 11)
    message = some_json(6000)
    assert server.broadcast(message) == 11
    payloads = [await client.receive_deflated() for client in clients]
    assert len(set(payloads)) == 2
    for client, payload in zip(clients, payloads, strict=True):
        assert client.inflate(payload).decode() == message
    assert await plain.receive_message() == message
    assert ledger.compressed == [6000, 6000]


async def test_broadcast_obeys_the_threshold_and_the_application(
    start_server: StartServer, ledger: Ledger
) -> None:
    server = await start_server(compression=True)
    client, _ = await accept(server)
    other, conn = await accept(server)
    long = some_json(5000)
    server.broadcast("short")
    server.broadcast(long, compress=False)
    assert conn.broadcast(long, compress=False) == 1
    for expected in ("short", long, long):
        assert await client.wire.receive_message() == expected
    assert not ledger.compressed
    server.broadcast("short", compress=True)
    assert conn.broadcast(long) == 1
    assert client.inflate(await client.receive_deflated()) == b"short"
    assert client.inflate(await client.receive_deflated()) == long.encode()
    for expected in ("short", long, "short"):
        assert await other.receive() == expected


# ---- bombs ---------------------------------------------------------------------------------------


@functools.cache
def bomb(size: int) -> bytes:
    """Give a payload that inflates to so many zeros."""
    compressor = zlib.compressobj(9, zlib.DEFLATED, -15)
    return (compressor.compress(bytes(size)) + compressor.flush(zlib.Z_SYNC_FLUSH))[:-4]


@together
@pytest.mark.parametrize("size", [10, 100, 32_767, 32_768, 32_769, 100_000, MEBIBYTE])
async def test_inflated_message_at_the_limit_passes_and_one_byte_more_does_not(
    start_server: StartServer, library: Any, size: int
) -> None:
    # The compressed message is held to the limit too, so the smallest is one that can be smaller.
    payloads = [bomb(size), bomb(size + 1)]
    assert len(payloads[1]) <= size
    server = await start_server(compression=Deflate(client_context_takeover=True), max_size=size)
    sizes: list[int] = []
    server.on("connection", lambda conn: conn.on("message", lambda m: sizes.append(len(m))))
    client = await Client.connect(server, "permessage-deflate")
    client.wire.write_frame(BINARY, payloads[0], rsv=RSV1)
    client.wire.write_frame(BINARY, payloads[1], rsv=RSV1)
    await client.wire.expect_failure(TOO_BIG)
    assert sizes == [size]


async def test_compressed_message_over_the_limit_is_refused_at_its_header(
    start_server: StartServer,
) -> None:
    server = await start_echo(start_server, max_size=1000)
    client = await Client.connect(server)
    client.wire.write(reference.serialize_header(Frame(BINARY, rsv=RSV1), 1001))
    await client.wire.expect_failure(TOO_BIG)


async def test_unlimited_size_has_to_be_said(start_server: StartServer, library: Any) -> None:
    server = await start_echo(start_server, max_size=None, max_backlog=None)
    client = await Client.connect(server, "permessage-deflate")
    client.wire.write_frame(BINARY, bomb(3 * MEBIBYTE), rsv=RSV1)
    assert await client.receive() == bytes(3 * MEBIBYTE)


async def test_bombs_of_one_client_do_not_delay_the_others_for_long(
    start_server: StartServer,
) -> None:
    server = await start_server(compression=True)
    heard: list[str] = []

    @server.on("connection")
    def connected(conn: sockwave.Connection) -> None:
        conn.on("message", lambda message: heard.append(message[:1]))

    client, other = await Client.connect(server), await Client.connect(server)
    large, count = "z" * 1_000_000, 200
    frame = reference.serialize(Frame(TEXT, client.deflate(large.encode()), rsv=RSV1))
    client.wire.write(frame * count)
    other.wire.send("other")
    await wait_until(lambda: len(heard) == count + 1)
    assert heard.index("o") < count // 2


# ---- what is corrupt, and what only looks it -----------------------------------------------------

HELLO_BLOCK = bytes.fromhex("f248cdc9c90700")  # 7.2.3.1
LAST_BLOCK = bytes.fromhex("f348cdc9c9070000")  # 7.2.3.4

CORRUPT = {
    "no deflate": b"\xff" * 10,
    "nothing at all": b"",
    "a block cut off": HELLO_BLOCK[:3],
    "without its last byte": HELLO_BLOCK[:-1],
    "a stored block cut off": bytes.fromhex("000500faff4865"),
    "a stored block with a wrong length": bytes.fromhex("000500faf048656c6c6f00"),
    "a reference to before the beginning": bytes.fromhex("f200110000"),
    "zlib's header": zlib.compress(b"Hello"),
    "the tail left on": HELLO_BLOCK + TAIL,
    "a last block with junk behind it": LAST_BLOCK[:-1] + b"JUNK",
    "a last block with a message behind it": LAST_BLOCK[:-1] + HELLO_BLOCK,
    "a last block with the tail behind it": LAST_BLOCK + TAIL,
    "a last block with 20 KB behind it": LAST_BLOCK[:-1] + bytes(20_000),
}


@together
@pytest.mark.parametrize("payload", CORRUPT.values(), ids=CORRUPT)
@pytest.mark.parametrize("compression", [EVERYTHING, FULL], ids=["forgets", "remembers"])
async def test_corrupt_message_fails_the_connection_and_no_other(
    start_server: StartServer, library: Any, compression: Deflate, payload: bytes
) -> None:
    server = await start_echo(start_server, compression)
    client, other = await Client.connect(server), await Client.connect(server)
    client.wire.write_frame(TEXT, payload, rsv=RSV1)
    client.send("behind it")
    await client.wire.expect_failure(INVALID_DATA)
    other.send("hello")
    assert await other.receive() == "hello"


async def test_what_ends_a_message_is_never_taken_for_more_of_it(
    start_server: StartServer, library: Any
) -> None:
    server = await start_echo(start_server)
    client = await Client.connect(server)
    # Cut off inside a block, whose code reads whatever is put behind it as bytes of the message.
    client.wire.write_frame(BINARY, bytes.fromhex("4bcbcc4bcc4c4a1c85a370"), rsv=RSV1)
    await client.wire.expect_failure(INVALID_DATA)


async def test_last_block_may_be_the_empty_one_whose_tail_is_left_out(
    start_server: StartServer, library: Any
) -> None:
    server = await start_echo(start_server)
    client = await Client.connect(server)
    stored = b"\x00" + struct.pack("<HH", 5, 0xFFFF - 5) + b"Hello"
    client.wire.write_frame(TEXT, stored + b"\x01", rsv=RSV1)
    assert await client.receive() == "Hello"


async def test_large_message_cut_off_anywhere_is_corrupt(
    start_server: StartServer, library: Any
) -> None:
    server = await start_echo(start_server)
    whole = (await Client.connect(server)).deflate(some_json(200_000).encode())
    assert len(whole) > 40_000
    for cut in (1, 2, 100, 16_384, 20_000, len(whole) - 20, len(whole) - 1):
        client = await Client.connect(server)
        client.wire.write_frame(TEXT, whole[:cut], rsv=RSV1)
        await client.wire.expect_failure(INVALID_DATA)
        await client.wire.close()


@together
@pytest.mark.parametrize("end", ["00", ""], ids=["padded as in 7.2.3.4", "as it is"])
@pytest.mark.parametrize("compression", [EVERYTHING, FULL], ids=["forgets", "remembers"])
async def test_message_behind_one_that_ends_the_stream_is_read(
    start_server: StartServer, library: Any, compression: Deflate, end: str
) -> None:
    server = await start_echo(start_server, compression)
    client = await Client.connect(server)
    for _ in range(2):
        client.wire.write_frame(TEXT, LAST_BLOCK[:-1] + bytes.fromhex(end), rsv=RSV1)
        assert await client.receive() == "Hello"
        client.wire.write_frame(TEXT, HELLO_BLOCK, rsv=RSV1)
        assert await client.receive() == "Hello"


async def test_context_outlives_the_end_of_a_stream(start_server: StartServer) -> None:
    server = await start_echo(start_server, FULL)
    client = await Client.connect(server)
    for payload in (HELLO_BLOCK, LAST_BLOCK, bytes.fromhex("f200110000")):  # 7.2.3.2
        client.wire.write_frame(TEXT, payload, rsv=RSV1)
        assert await client.receive() == "Hello"


@together
@pytest.mark.parametrize("data", [b"\xff", b"\xc3", "\ud800".encode("utf-8", "surrogatepass")])
async def test_text_is_checked_when_it_has_been_inflated(
    start_server: StartServer, library: Any, data: bytes
) -> None:
    server = await start_echo(start_server)
    for cut in (5, None):
        client = await Client.connect(server)
        payload = client.deflate(b"x" * 2000 + data)
        client.wire.write_frame(TEXT, payload[:cut], rsv=RSV1, fin=cut is None)
        if cut is not None:
            client.wire.write_frame(CONTINUATION, payload[cut:])
        await client.wire.expect_failure(INVALID_DATA)


async def test_compressed_bytes_need_not_be_utf8(start_server: StartServer) -> None:
    server = await start_echo(start_server)
    client = await Client.connect(server)
    message = some_json(5000)
    payload = client.deflate(message.encode())
    with pytest.raises(UnicodeDecodeError):
        payload.decode()
    for place in range(0, len(payload), 100):
        piece = payload[place : place + 100]
        client.wire.write_frame(
            CONTINUATION if place else TEXT,
            piece,
            fin=place + 100 >= len(payload),
            rsv=0 if place else RSV1,
        )
        if place + 100 < len(payload):
            client.wire.write_frame(PING, b"between")
            assert await client.wire.receive_pong() == b"between"
    assert await client.receive() == message


# ---- reserved bits -------------------------------------------------------------------------------


@together
@pytest.mark.parametrize("rsv", [RSV1, RSV2, RSV3, RSV1 | RSV2, RSV1 | RSV3])
@pytest.mark.parametrize("opcode", [TEXT, BINARY, CONTINUATION, CLOSE, PING, PONG])
@pytest.mark.parametrize("agreed", [False, True])
async def test_reserved_bits_stand_only_where_they_have_a_meaning(
    start_server: StartServer, agreed: bool, opcode: int, rsv: int
) -> None:
    server = await start_echo(start_server)
    headers = {"Sec-WebSocket-Extensions": OFFER} if agreed else {}
    wire = await Wire.connect(server.addresses[0], headers=headers)
    if opcode == CONTINUATION:
        wire.write_frame(TEXT, b"", fin=False, rsv=RSV1 if agreed else 0)
        wire.write_frame(opcode, HELLO_BLOCK, rsv=rsv)
    else:
        wire.write_frame(opcode, HELLO_BLOCK if opcode < CLOSE else b"", rsv=rsv)
    if agreed and rsv == RSV1 and opcode in (TEXT, BINARY):
        assert await Client(wire).receive() == ("Hello" if opcode == TEXT else b"Hello")
    else:
        await wire.expect_failure(PROTOCOL_ERROR)


# ---- what is held, and for how long --------------------------------------------------------------


async def test_all_connections_with_the_same_window_share_a_compressor(
    start_server: StartServer, ledger: Ledger
) -> None:
    server = await start_echo(start_server)
    clients = [await Client.connect(server) for _ in range(30)]
    for client in clients:
        client.send("hello" * 100)
        assert await client.receive() == "hello" * 100
    assert len(ledger.alive) == 1


@pytest.mark.parametrize("compression", [EVERYTHING, FULL], ids=["forgets", "remembers"])
async def test_compressor_that_fails_leaves_nothing_for_the_next_message(
    start_server: StartServer, monkeypatch: pytest.MonkeyPatch, compression: Deflate
) -> None:
    class Failing:
        """Fails between its two calls, once."""

        def __init__(self, *shape: Any) -> None:
            self.compressor = zlib.compressobj(*shape)

        def compress(self, data: bytes) -> bytes:
            return self.compressor.compress(data)

        def flush(self, mode: int) -> bytes:
            if failures:
                raise failures.pop()
            return self.compressor.flush(mode)

    failures: list[BaseException] = []
    library = SimpleNamespace(**vars(zlib))
    library.compressobj = Failing
    monkeypatch.setattr("sockwave.deflate.library", library)
    client, conn = await accept(await start_server(compression=compression))
    secret = "a secret of somebody else's"
    for before in ("one", "two"):
        conn.send(before)
        failures.append(MemoryError())
        with pytest.raises(MemoryError):
            conn.send(secret)
        conn.send(secret + before)
        assert await client.receive() == before
        assert await client.receive() == secret + before


async def test_library_is_the_fastest_that_is_installed() -> None:
    fastest = pytest.importorskip("zlib_ng.zlib_ng")
    assert importlib.import_module("sockwave.deflate").library is fastest


async def test_slow_reader_gets_its_compressed_messages_in_order(
    start_server: StartServer,
) -> None:
    server = await start_server(compression=FULL)
    client, conn = await accept(server)
    messages = [os.urandom(30_000) for _ in range(100)]

    async def send() -> None:
        for message in messages:
            await conn.send(message)

    task = asyncio.create_task(send())
    await settle(lambda: conn.backlog_size)
    for message in messages:
        assert await client.receive() == message
    await task

"""What the server remembers of what it sent compressed, and where (RFC 7692, section 7.1.1.1)."""

import asyncio
import random
import sys
import tracemalloc
import zlib
from typing import Any

import pytest
from conftest import ErrorLog, StartServer
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from reference import CONTINUATION, INVALID_DATA, RSV1, TEXT, TOO_BIG
from test_compression import (
    HELLO_BLOCK,
    MEBIBYTE,
    MESSAGES,
    TAIL,
    Client,
    Ledger,
    accept,
    bomb,
    some_json,
)
from wire import wait_until

import sockwave
from sockwave import Deflate

HISTORY_SIZE = 1024


def remembering(history_size: int = HISTORY_SIZE, **others: Any) -> Deflate:
    """Give settings under which everything is compressed, behind so much of what was before."""
    return Deflate(
        threshold=0, server_context_takeover=True, server_history_size=history_size, **others
    )


@pytest.fixture(params=["zlib", "zlib_ng.zlib_ng"])
def library(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Any:
    """What the servers of a test compress with: the standard library's module, and zlib-ng's."""
    module = pytest.importorskip(request.param)
    monkeypatch.setattr("sockwave.deflate.library", module)
    return module


@pytest.fixture
def ledger(monkeypatch: pytest.MonkeyPatch) -> Ledger:
    found = Ledger(zlib)
    monkeypatch.setattr("sockwave.deflate.library", found.library)
    return found


def unlike(size: int, seed: int) -> bytes:
    """Make bytes that nothing but themselves makes smaller."""
    return random.Random(seed).randbytes(size)


def compress_behind(library: Any, settings: Deflate, history: bytes, message: bytes) -> bytes:
    """Compress a message, with its tail, by a compressor that knows just so much of what was
    before."""
    compressor = library.compressobj(
        settings.level,
        library.DEFLATED,
        -settings.server_max_window_bits,
        settings.memory_level,
        library.Z_DEFAULT_STRATEGY,
        *([history] if history else []),
    )
    out: bytes = compressor.compress(message) + compressor.flush(library.Z_SYNC_FLUSH)
    return out


async def receive_any(client: Client) -> str | bytes:
    """Receive a message, compressed or not, in one frame or in several."""
    frame = await client.wire.receive_fragment()
    if frame.fin:
        return client.read(frame)
    payload = frame.payload
    opcode, is_last = frame.opcode, False
    while not is_last:
        frame = await client.wire.receive_fragment()
        assert frame.opcode == CONTINUATION, f"a continuation expected, got {frame}"
        payload += frame.payload
        is_last = frame.fin
    return payload.decode() if opcode == TEXT else payload


# ---- what a message may refer to -----------------------------------------------------------------


@pytest.mark.parametrize("bits", range(9, 16))
async def test_messages_refer_to_those_before_within_each_window(
    start_server: StartServer, library: Any, bits: int
) -> None:
    for level in (0, 1, 2, 6, 9):
        for history_size in (3, 300, HISTORY_SIZE, 32768):
            shape = remembering(history_size, level=level)
            client, conn = await accept(
                await start_server(compression=shape),
                f"permessage-deflate; server_max_window_bits={bits}",
            )
            assert client.server_bits == min(bits, 12)
            for size in (200, 0, 1, 2, 3, 100, 300, 2000, 5000, 300, 40_000, 700):
                message = some_json(size, seed=size)
                conn.send(message)
                conn.send(message[: size // 2].encode())
                assert await client.receive() == message
                assert await client.receive() == message[: size // 2].encode()
            await client.wire.close()


@pytest.mark.parametrize("history_size", [1, 100, HISTORY_SIZE])
async def test_just_so_much_is_remembered_of_one_message_and_of_several(
    start_server: StartServer, library: Any, history_size: int
) -> None:
    shape = remembering(history_size)
    client, conn = await accept(await start_server(compression=shape))
    sent = b""
    for i, size in enumerate((10, 30, 90, 500, 524, 523, 1024, 1, 1025, 0, 1023, 1, 5000, 20)):
        # Half of it is what is just in reach, or half of it just not.
        message = sent[-history_size - size // 4 :][: size // 2] + unlike(size - size // 2, seed=i)
        message = message.ljust(size, b"x")
        conn.send(message)
        payload = await client.receive_deflated()
        if sent and message:
            expected = compress_behind(library, shape, sent[-history_size:], message)
            assert payload + TAIL == expected
        assert client.inflate(payload) == message
        sent += message


async def test_history_is_no_longer_than_the_window(
    start_server: StartServer, library: Any
) -> None:
    shape = remembering(32768, server_max_window_bits=9)
    client, conn = await accept(await start_server(compression=shape))
    before, message = unlike(513, seed=1), unlike(100, seed=2)
    conn.send(before)
    conn.send(message)
    assert client.inflate(await client.receive_deflated()) == before
    payload = await client.receive_deflated()
    assert payload + TAIL == compress_behind(library, shape, before[1:], message)


async def test_client_that_forgoes_the_context_is_sent_messages_that_stand_alone(
    start_server: StartServer, library: Any
) -> None:
    server = await start_server(compression=remembering())
    offer = "permessage-deflate; server_no_context_takeover"
    client, conn = await accept(server, offer)
    payloads = []
    for _ in range(3):
        conn.send(some_json(600))
        payloads.append(await client.receive_deflated())
        assert client.inflate(payloads[-1]).decode() == some_json(600)
    assert len(set(payloads)) == 1


async def test_similar_messages_take_less_than_one_alone(
    start_server: StartServer, library: Any
) -> None:
    client, conn = await accept(await start_server(compression=remembering()))
    sizes = []
    for i in range(20):
        conn.send(some_json(1024, seed=i))
        payload = await client.receive_deflated()
        assert client.inflate(payload).decode() == some_json(1024, seed=i)
        sizes.append(len(payload))
    assert max(sizes[1:]) < 0.9 * sizes[0]


# ---- what is no part of it -----------------------------------------------------------------------


async def test_what_was_sent_uncompressed_is_not_referred_to(
    start_server: StartServer, library: Any
) -> None:
    client, conn = await accept(await start_server(compression=remembering()))
    text = unlike(300, seed=1).hex()
    secret = unlike(300, seed=2).hex()
    conn.send(text)
    conn.send(secret, compress=False)
    async with conn.stream_message("text") as out:
        await out.write(secret[:300])
        conn.send(text)
        await out.write(secret[300:])
    conn.send(secret)
    assert await client.receive() == text
    assert await client.receive() == secret
    assert [(await client.wire.receive_fragment()).payload for _ in "123"] == [
        secret[:300].encode(),
        secret[300:].encode(),
        b"",
    ]
    payload = await client.receive_deflated()
    assert len(payload) < 50
    assert client.inflate(payload).decode() == text
    payload = await client.receive_deflated()
    assert len(payload) > 300
    assert client.inflate(payload).decode() == secret


async def test_nothing_of_another_connection_is_referred_to(
    start_server: StartServer, library: Any
) -> None:
    server = await start_server(compression=remembering())
    ends = [await accept(server) for _ in range(2)]
    secret = unlike(300, seed=1)
    ends[0][1].send(secret)
    ends[1][1].send(b"x" * 300)
    ends[1][1].send(secret)
    assert await ends[0][0].receive() == secret
    assert await ends[1][0].receive() == b"x" * 300
    payload = await ends[1][0].receive_deflated()
    assert len(payload) > 300
    assert ends[1][0].inflate(payload) == secret


@pytest.mark.parametrize("policy", ["drop_old", "conflate"])
async def test_nothing_refers_to_what_may_yet_be_dropped_nor_does_that_to_anything(
    start_server: StartServer, library: Any, policy: str
) -> None:
    client, conn = await accept(await start_server(compression=remembering()))
    message = unlike(300, seed=1)
    for slow in ("close", policy, "close", "close"):
        conn.send(message, slow=slow)
    sizes = []
    for _ in range(4):
        payload = await client.receive_deflated()
        sizes.append(len(payload))
        assert client.inflate(payload) == message
    assert min(sizes[:3]) > 300
    assert sizes[3] < 50


async def test_policy_that_drops_only_what_is_new_takes_the_context_along(
    start_server: StartServer, library: Any
) -> None:
    client, conn = await accept(await start_server(compression=remembering()))
    message = unlike(300, seed=1)
    for slow in ("drop_new", "drop_new", "close", "drop_new"):
        conn.send(message, slow=slow)
    sizes = []
    for _ in range(4):
        payload = await client.receive_deflated()
        sizes.append(len(payload))
        assert client.inflate(payload) == message
    assert max(sizes[1:]) < 50


@pytest.mark.parametrize("seed", range(3))
async def test_context_survives_whatever_is_dropped_in_between(
    start_server: StartServer, library: Any, seed: int
) -> None:
    # All have a part in common: each would refer to one that was dropped, if it could.
    chance = random.Random(seed)
    common = unlike(500, seed)
    server = await start_server(compression=remembering(4096), max_backlog=150_000)
    client, conn = await accept(server)
    certain: list[int] = []
    seen: list[int] = []

    def send_one(number: int) -> None:
        message = number.to_bytes(4, "big") + common + chance.randbytes(chance.randrange(2000))
        send = chance.choice([conn.send, server.broadcast])
        compress = chance.choice([None, None, None, False])
        slow = chance.choice(["drop_new", "drop_old", "conflate"])
        if chance.random() < 0.1 and conn.backlog_size < 100_000:
            certain.append(number)
            send(message, compress=compress)
        elif slow == "conflate":
            send(message, compress=compress, slow=slow, key=chance.randrange(5))
        else:
            send(message, compress=compress, slow=slow)

    async def read_on() -> None:
        while (message := await receive_any(client)) != "end":
            assert isinstance(message, bytes)
            if any(message):  # no filler
                assert message[4:504] == common
                seen.append(int.from_bytes(message[:4], "big"))

    for start in range(0, 1000, 500):
        client.wire.pause_reading()
        while not conn.backlog_size:
            conn.send(bytes(50_000), compress=False)
            await asyncio.sleep(0.002)
        dropped_count = conn.dropped_count
        for number in range(start, start + 490):
            send_one(number)
        certain.append(start + 490)
        async with conn.stream_message("binary") as out:
            out.write((start + 490).to_bytes(4, "big"))
            for number in range(start + 491, start + 500):
                send_one(number)
            out.write(common)
            assert conn.dropped_count > dropped_count
            client.wire.resume_reading()
            reading = asyncio.create_task(read_on())
        await wait_until(lambda: not conn.backlog_size)
        conn.send("end")
        await reading
    assert len(seen) == len(set(seen))
    assert [number for number in seen if number in certain] == certain


# ---- broadcasts ----------------------------------------------------------------------------------


async def test_broadcast_to_those_with_a_context_is_compressed_once_too(
    start_server: StartServer, ledger: Ledger
) -> None:
    server = await start_server(compression=remembering())
    ends = [await accept(server) for _ in range(4)]
    for i, (client, conn) in enumerate(ends):
        conn.send(unlike(300 + i, seed=i))
        assert await client.receive() == unlike(300 + i, seed=i)
    ledger.compressed.clear()
    message = unlike(3000, seed=9)
    assert server.broadcast(message) == 4
    assert ledger.compressed == [3000]
    for client, _ in ends:
        assert client.inflate(await client.receive_deflated()) == message


@pytest.mark.parametrize("size", [300, HISTORY_SIZE, 3000])
async def test_own_message_may_refer_to_a_broadcast_but_no_broadcast_to_anything(
    start_server: StartServer, library: Any, size: int
) -> None:
    server = await start_server(compression=remembering())
    narrow = "permessage-deflate; server_max_window_bits=9"
    message = unlike(size, seed=1)
    end = message[-100:]
    for offer in ("permessage-deflate", narrow):
        client, conn = await accept(server, offer)
        conn.send(message)
        for _ in range(2):
            assert server.broadcast(message) == 1
        conn.send(end)
        for _ in range(3):
            payload = await client.receive_deflated()
            assert len(payload) > size
            assert client.inflate(payload) == message
        payload = await client.receive_deflated()
        assert len(payload) < 50
        assert client.inflate(payload) == end
        await client.wire.shake_close()
        await wait_until(lambda: not server.connections)


@pytest.mark.slow
@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    plan=st.lists(
        st.tuples(
            st.sampled_from(["send", "broadcast", "plain", "streamed", "slow"]),
            MESSAGES,
            st.sampled_from(["close", "drop_new", "drop_old", "conflate"]),
        ),
        max_size=12,
    ),
    history_size=st.sampled_from([1, 5, 100, 1024, 4096, 32768]),
    bits=st.integers(9, 15),
)
async def test_own_messages_broadcasts_and_streams_may_be_mixed(
    engine: str,
    error_log: ErrorLog,
    library: Any,
    plan: list[tuple[str, Any, str]],
    history_size: int,
    bits: int,
) -> None:
    shape = remembering(history_size, server_max_window_bits=bits)
    server = sockwave.create_server(engine=engine, compression=shape, max_backlog=None)
    server.listen(0, "127.0.0.1")
    async with server:
        client, conn = await accept(server)
        for how, message, slow in plan:
            if how == "broadcast":
                server.broadcast(message, slow=slow)
            elif how == "streamed":
                async with conn.stream_message(
                    "text" if isinstance(message, str) else "binary"
                ) as out:
                    out.write("first" if isinstance(message, str) else b"first")
                    conn.send("in between", slow=slow)
                    out.write(message)
            else:
                conn.send(message, compress=False if how == "plain" else None, slow=slow)
        for how, message, _ in plan:
            if how == "streamed":
                first = "first" if isinstance(message, str) else b"first"
                assert await receive_any(client) == first + message
                assert await client.receive() == "in between"
            else:
                assert await client.receive() == message
        await client.wire.close()


# ---- what is held, and for how long --------------------------------------------------------------


async def test_no_compressor_is_kept_for_a_connection(
    start_server: StartServer, ledger: Ledger
) -> None:
    server = await start_server(compression=remembering())
    for _ in range(30):
        client, conn = await accept(server)
        for _ in range(3):
            conn.send("hello" * 100)
            assert await client.receive() == "hello" * 100
    assert len(ledger.alive) == 1


def count_histories(size: int) -> int:
    """Count the bytes objects of just this size that were made since tracing began."""
    traces = tracemalloc.take_snapshot().traces
    return sum(trace.size == sys.getsizeof(bytes(size)) for trace in traces)


@pytest.fixture
def traced() -> Any:
    tracemalloc.start(1)
    yield
    tracemalloc.stop()


ODD_SIZE = 4747
"""Of a history: no other object has this one."""
ODD = Deflate(server_context_takeover=True, server_history_size=ODD_SIZE, server_max_window_bits=15)


async def test_history_is_held_only_by_who_was_sent_something_compressed(
    start_server: StartServer, traced: None
) -> None:
    server = await start_server(compression=ODD)
    ends = [await accept(server) for _ in range(3)]
    for _, conn in ends:
        conn.send("short")
    assert count_histories(ODD_SIZE) == 0
    for _ in range(3):
        ends[0][1].send("long" * 5000)
        assert count_histories(ODD_SIZE) == 1
    ends[1][1].send("long" * 5000)
    assert count_histories(ODD_SIZE) == 2
    server.broadcast("long" * 6000)
    assert count_histories(ODD_SIZE) == 1, "a broadcast is remembered once for all"


@pytest.mark.slow
async def test_history_goes_with_its_connection_however_that_ends(
    start_server: StartServer, traced: None
) -> None:
    server = await start_server(compression=ODD)
    kept = []  # the application may hold on to its connections

    async def connect() -> tuple[Client, sockwave.Connection]:
        client, conn = await accept(server)
        kept.append(conn)
        conn.send("hello" * 2000)
        assert await client.receive() == "hello" * 2000
        assert count_histories(ODD_SIZE) == 1
        return client, conn

    async def expect_end(how: str) -> None:
        await wait_until(lambda: not server.connections, how)
        await wait_until(lambda: not count_histories(ODD_SIZE), how)

    client, _ = await connect()
    await client.wire.shake_close()
    await expect_end("a close")
    client, _ = await connect()
    client.wire.reset()
    await expect_end("a reset")
    client, conn = await connect()
    conn.abort()
    await expect_end("an abort")
    client, _ = await connect()
    client.wire.write_frame(TEXT, b"\xff" * 10, rsv=RSV1)
    await client.wire.expect_failure(INVALID_DATA)
    await expect_end("what is corrupt")
    client, _ = await connect()
    client.wire.write_frame(TEXT, bomb(2 * MEBIBYTE), rsv=RSV1)
    await client.wire.expect_failure(TOO_BIG)
    await expect_end("a bomb")
    client, _ = await connect()
    client.wire.write_frame(TEXT, HELLO_BLOCK[:3], rsv=RSV1, fin=False)
    client.wire.write_eof()
    await client.wire.receive_end()
    await expect_end("an end in the middle of a message")
    assert len(kept) == 6

"""The memory of large messages is used again, and nobody who keeps a message can tell."""

import asyncio
import contextlib
import gc
import itertools
import random
import sys
import tracemalloc
from collections.abc import Callable, Iterator

import pytest
from conftest import BothEnds, StartServer
from reference import BINARY, CONTINUATION, TEXT
from wire import Wire, connect_both, wait_until

import sockwave

MEBIBYTE = 2**20
SPARE_SIZE = 65536  # from here on: see blocks.pxd
SIZES = (SPARE_SIZE - 1, SPARE_SIZE, SPARE_SIZE + 1, 3 * SPARE_SIZE, 5 * SPARE_SIZE, MEBIBYTE)
SHORT_SIZE = 125  # up to here: see blocks.pyx
SHORT_SIZES = (20, 21, SHORT_SIZE, SHORT_SIZE + 1)


def make_messages(
    kind: str, seed: int = 5, sizes: tuple[int, ...] = SIZES
) -> Iterator[str | bytes]:
    """Give messages of all sizes without an end, no two alike from the first byte to the last."""
    chance = random.Random(seed)
    for number in itertools.count():
        size = chance.choice(sizes)
        text = (f"{number:06}" * (size // 6 + 1))[:size]
        if kind == "wide":
            text = text[: size - 7] + "ü€🙂"[number % 3] + text[size - 3 :]
        yield text.encode() if kind == "bytes" else text


async def exchange(wire: Wire, conn: sockwave.Connection, message: str | bytes) -> str | bytes:
    """Send a message, and give what a listener hears."""
    heard: list[str | bytes] = []
    conn.once("message", heard.append)
    wire.send(message)
    await wait_until(lambda: heard, "the message")
    return heard.pop()


@contextlib.contextmanager
def traced() -> Iterator[Callable[[], int]]:
    """Give a function that tells how much more memory Python's objects take than before."""
    tracemalloc.start()
    try:
        gc.collect()
        before = tracemalloc.get_traced_memory()[0]
        yield lambda: tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("sizes", [SIZES, SHORT_SIZES], ids=["large", "short"])
@pytest.mark.parametrize("kind", ["text", "wide", "bytes"])
async def test_message_that_is_kept_never_changes(
    both_ends: BothEnds, kind: str, sizes: tuple[int, ...]
) -> None:
    wire, conn = both_ends
    kept: list[tuple[str | bytes, str | bytes]] = []
    chance = random.Random(7)
    for message in itertools.islice(make_messages(kind, sizes=sizes), 60):
        heard = await exchange(wire, conn, message)
        assert heard == message
        if chance.random() < 0.3:
            kept.append((heard, message))
        if len(kept) > 5:
            kept.pop(chance.randrange(len(kept)))
        assert all(heard == message for heard, message in kept)


async def test_memoryview_and_iterator_of_a_message_keep_it(both_ends: BothEnds) -> None:
    wire, conn = both_ends
    view = memoryview(await exchange(wire, conn, b"v" * SPARE_SIZE))  # type: ignore[arg-type]
    letters = iter(await exchange(wire, conn, "i" * SPARE_SIZE))
    for message in (b"x" * SPARE_SIZE, "y" * SPARE_SIZE) * 3:
        assert await exchange(wire, conn, message) == message
    assert view == b"v" * SPARE_SIZE
    assert set(letters) == {"i"}


@pytest.mark.parametrize("sizes", [SIZES, SHORT_SIZES], ids=["large", "short"])
@pytest.mark.parametrize("kind", ["text", "bytes"])
async def test_hash_is_that_of_the_message_itself(
    both_ends: BothEnds, kind: str, sizes: tuple[int, ...]
) -> None:
    wire, conn = both_ends
    for message in itertools.islice(make_messages(kind, sizes=sizes), 12):
        assert hash(await exchange(wire, conn, message)) == hash(message)


@pytest.mark.parametrize("size", [SPARE_SIZE, SHORT_SIZE])
async def test_text_that_was_interned_stays_what_it_was(
    start_server: StartServer, size: int
) -> None:
    server = await start_server()
    wire, conn = await connect_both(server)
    sys.intern(await exchange(wire, conn, "a" * size))  # type: ignore[arg-type]
    for _ in range(3):
        assert await exchange(wire, conn, "b" * size) == "b" * size
    assert sys.intern("a" * size) == "a" * size
    await wire.shake_close()
    await server.close()  # what is interned is looked for once more when it goes


@pytest.mark.parametrize("kind", ["text", "bytes"])
async def test_message_that_waits_for_a_slow_peer_is_sent_as_it_was(
    start_server: StartServer, kind: str
) -> None:
    server = await start_server(max_backlog=None, write_timeout=None)
    slow, slow_conn = await connect_both(server, receive_buffer_size=4096)
    slow.pause_reading()
    fast, fast_conn = await connect_both(server)
    sent = list(itertools.islice(make_messages(kind), 20))
    for message in sent:
        slow_conn.send(await exchange(fast, fast_conn, message))
    assert slow_conn.backlog_size > 0
    slow.resume_reading()
    for message in sent:
        assert await slow.receive_message() == message


async def test_messages_that_wait_to_be_received_are_as_they_were(
    start_server: StartServer,
) -> None:
    server = await start_server(queue_size=8 * MEBIBYTE)
    wire, conn = await connect_both(server)
    sent = list(itertools.islice(make_messages("text"), 10))
    first = asyncio.ensure_future(conn.receive())
    for message in sent:
        wire.send(message)
    received = [await first, *[await conn.receive() for _ in sent[1:]]]
    assert received == sent


@pytest.mark.parametrize("wide_at", [0, 100_000, 299_999, None])
async def test_large_text_is_whole_wherever_it_stops_being_ascii(
    both_ends: BothEnds, wide_at: int | None
) -> None:
    wire, conn = both_ends
    message = "x" * 300_000
    if wide_at is not None:
        message = message[:wide_at] + "ß" + message[wide_at + 1 :]
    for cuts in ((), (1,), (50_000, 50_001), (99_999, 100_001, 299_999)):
        heard: list[str | bytes] = []
        conn.once("message", heard.append)
        data = message.encode()
        places = [0, *cuts, len(data)]
        for start, end in itertools.pairwise(places):
            wire.write_frame(CONTINUATION if start else TEXT, data[start:end], fin=end == len(data))
        await wait_until(lambda heard=heard: heard)
        assert heard == [message]


@pytest.mark.parametrize("kind", ["text", "bytes"])
async def test_fragments_of_a_large_message_are_put_together(
    both_ends: BothEnds, kind: str
) -> None:
    wire, conn = both_ends
    for message in itertools.islice(make_messages(kind), 8):
        heard: list[str | bytes] = []
        conn.once("message", heard.append)
        data = message.encode() if isinstance(message, str) else message
        half = len(data) // 2
        wire.write_frame(TEXT if kind == "text" else BINARY, data[:half], fin=False)
        wire.write_frame(CONTINUATION, data[half:])
        await wait_until(lambda heard=heard: heard)
        assert heard == [message]


async def test_stream_taken_in_the_middle_begins_with_what_has_come(
    start_server: StartServer,
) -> None:
    server = await start_server()
    wire, conn = await connect_both(server)
    assert await exchange(wire, conn, "a" * MEBIBYTE) == "a" * MEBIBYTE
    message = "b" * (MEBIBYTE - 1) + "z"
    wire.write_frame(TEXT, message[:400_000], fin=False)
    await wait_until(lambda: server._host.hub.measure(()) >= 400_000)
    stream = conn.stream()
    wire.write_frame(CONTINUATION, message[400_000:])
    assert "".join([str(chunk) async for chunk in stream]) == message


async def test_memory_is_let_go_when_no_message_follows(both_ends: BothEnds) -> None:
    wire, conn = both_ends
    with traced() as grown_size:
        await exchange(wire, conn, b"x" * MEBIBYTE)
        await wait_until(lambda: grown_size() < MEBIBYTE // 2)


async def test_memory_is_let_go_with_the_last_server(start_server: StartServer) -> None:
    server = await start_server()
    wire, conn = await connect_both(server)
    with traced() as grown_size:
        await exchange(wire, conn, b"x" * MEBIBYTE)
        await wire.shake_close()
        await server.close()
        assert grown_size() < MEBIBYTE // 2

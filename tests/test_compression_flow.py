"""Compressed messages beside policies and streams: nothing refers to a message that was dropped."""

import asyncio
import random

import pytest
from conftest import StartServer
from reference import TOO_BIG
from test_compression import EVERYTHING, FULL, MEBIBYTE, accept, some_json
from wire import wait_until

import sockwave

CAP = 100_000


@pytest.mark.slow
@pytest.mark.parametrize("slow", ["drop_new", "drop_old", "conflate"])
async def test_dropped_messages_take_no_context_with_them(
    start_server: StartServer, slow: str
) -> None:
    server = await start_server(compression=FULL, max_backlog=CAP, slow=slow)
    client, conn = await accept(server)
    transport = client.wire.writer.transport
    transport.pause_reading()  # type: ignore[attr-defined]
    texts = {random.Random(seed).randbytes(20_000).hex(): seed for seed in range(400)}
    for i, text in enumerate(texts):
        if i % 3:
            conn.send(text, key=i % 2) if slow == "conflate" else conn.send(text)
        else:
            server.broadcast(text)
        await asyncio.sleep(0)
    await wait_until(lambda: conn.dropped_count, "a message that is dropped")
    transport.resume_reading()  # type: ignore[attr-defined]
    conn.send("end", slow="close", compress=True)
    seen = []
    while (message := await client.receive()) != "end":
        assert isinstance(message, str)
        seen.append(texts[message])
    assert len(seen) + conn.dropped_count == len(texts)
    assert len(set(seen)) == len(seen)
    for i in range(5):
        conn.send(f"and then {i}", compress=True)
        assert await client.receive() == f"and then {i}"
    await client.wire.close()


async def test_compressed_message_is_one_chunk_of_a_stream(start_server: StartServer) -> None:
    server = await start_server(compression=EVERYTHING)
    client, conn = await accept(server)
    text = some_json(100_000)
    client.send(text)
    assert [chunk async for chunk in conn.stream()] == [text]
    client.send(b"two")
    client.wire.send(b"plain")
    assert [chunk async for chunk in conn.stream()] == [b"two"]
    assert b"".join([chunk async for chunk in conn.stream()]) == b"plain"
    await client.wire.close()


async def test_stream_that_is_left_discards_a_compressed_message(
    start_server: StartServer,
) -> None:
    server = await start_server(compression=EVERYTHING)
    client, conn = await accept(server)
    stream = conn.stream()
    client.send(some_json(200_000))
    async for _ in stream:
        break
    client.send("next")
    assert await conn.receive(timeout=5) == "next"
    await client.wire.close()


@pytest.mark.parametrize(("size", "passes"), [(5_000, True), (5_001, False)])
async def test_limit_of_a_stream_holds_for_a_compressed_message(
    start_server: StartServer, size: int, passes: bool
) -> None:
    server = await start_server(compression=EVERYTHING)
    client, conn = await accept(server)
    stream = conn.stream(max_size=5_000)
    client.send(some_json(size))
    if passes:
        assert [chunk async for chunk in stream] == [some_json(size)]
    else:
        with pytest.raises(sockwave.ConnectionClosed):
            async for _ in stream:
                pass
        await client.wire.expect_failure(TOO_BIG)
    await client.wire.close()


@pytest.mark.slow
async def test_stream_without_a_limit_lets_no_compressed_message_over_the_servers(
    start_server: StartServer,
) -> None:
    server = await start_server(compression=EVERYTHING, max_size=5_000)
    client, conn = await accept(server)
    stream = conn.stream()
    client.send(some_json(5_001))
    with pytest.raises(sockwave.ConnectionClosed):
        async for _ in stream:
            pass
    await client.wire.expect_failure(TOO_BIG)


# ---- what takes long to inflate ------------------------------------------------------------------


async def test_messages_that_take_long_to_inflate_wait_for_those_that_do_not(
    start_server: StartServer,
) -> None:
    server = await start_server(compression=EVERYTHING)
    heard: list[int] = []
    clients = []
    for _ in range(9):
        client, conn = await accept(server)
        conn.on("message", lambda message: heard.append(len(message)))
        clients.append(client)
    for client in clients[:-1]:
        client.send(bytes(MEBIBYTE))
    clients[-1].send("short")
    await wait_until(lambda: len(heard) == 9)
    # The first of them is inflated when it is read, and the others behind those who are ready.
    assert heard.index(5) == 1
    assert sorted(heard) == [5] + 8 * [MEBIBYTE]


async def test_messages_of_a_connection_stay_in_order_whatever_they_take_to_inflate(
    start_server: StartServer,
) -> None:
    server = await start_server(compression=EVERYTHING)
    clients = []
    heard: list[list[str]] = [[] for _ in range(3)]
    sent = [f"{number}".ljust(MEBIBYTE if number % 3 == 1 else 3, "-") for number in range(9)]
    for seen in heard:
        client, conn = await accept(server)
        conn.on("message", seen.append)
        clients.append(client)
    for number, message in enumerate(sent):
        for client in clients:
            client.wire.send(message) if number % 3 == 2 else client.send(message)
    await wait_until(lambda: sum(map(len, heard)) == 27)
    assert heard == 3 * [sent]


@pytest.mark.parametrize("size", [33_000, 70_000, 300_000, 1_000_000])
async def test_memory_of_a_message_that_was_refused_shows_in_no_other(
    start_server: StartServer, size: int
) -> None:
    server = await start_server(compression=EVERYTHING)
    kept: list[str | bytes] = []
    sent = [some_json(size), random.Random(size).randbytes(size), some_json(size, seed=1)]
    for message in sent:
        bomber, _ = await accept(server)
        bomber.send(b"A" * (MEBIBYTE + 1))
        await bomber.wire.expect_failure(TOO_BIG)
        client, conn = await accept(server)
        conn.on("message", kept.append)
        client.send(message)
    await wait_until(lambda: len(kept) == 3)
    assert sorted(kept, key=sent.index) == sent  # of three connections, in any order

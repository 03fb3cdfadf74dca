"""Messages in pieces, both ways (RFC 6455, section 5.4), and who else may speak meanwhile."""

import asyncio
import contextlib
import gc
import random
import sys
import zlib
from typing import Any

import pytest
import reference
from conftest import BothEnds, StartServer
from reference import BINARY, CONTINUATION, PING, PONG, RSV1, TEXT, Frame
from together import together
from wire import Wire, connect_both, let_arrive, measure_resident_size, settle, wait_until

import sockwave

LINUX = pytest.mark.skipif(sys.platform != "linux", reason="/proc tells the memory")

BAD_DATA, POLICY, TOO_BIG, INTERNAL, TRY_AGAIN_LATER = 1007, 1008, 1009, 1011, 1013
MEBIBYTE = 2**20


async def connect_draft(server: sockwave.Server) -> tuple[Wire, sockwave.Connection]:
    """Connect a client of draft 76, and give both ends."""
    accepted: list[sockwave.Connection] = []
    server.once("connection", accepted.append)
    wire = await Wire.connect_hixie(server.addresses[0], 76)
    await wait_until(lambda: accepted, "the connection event")
    return wire, accepted[0]


async def collect(conn: sockwave.Connection, **options: Any) -> list[Any]:
    """Take the next message as a stream, all of it."""
    return [chunk async for chunk in conn.stream(**options)]


async def expect_end(wire: Wire, task: asyncio.Task[Any], code: int) -> None:
    """Check that the server fails the connection, and that the task hears of it."""
    await wire.expect_failure(code)
    await wire.close()
    with pytest.raises(sockwave.ConnectionClosed) as caught:
        await task
    assert caught.value.code == code


def soon(coroutine: Any) -> asyncio.Task[Any]:
    return asyncio.ensure_future(coroutine)


# ---- incoming ------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["whole", "bytewise", "trailing"])
@pytest.mark.parametrize("text", ["", "plain", "grüße, 世界 🙂 " * 20])
async def test_a_text_message_comes_as_str_chunks_however_it_is_cut(
    both_ends: BothEnds, text: str, how: str
) -> None:
    wire, conn = both_ends
    stream = conn.stream()
    assert stream.is_text is None
    data = text.encode()
    third = len(data) // 3
    frames = b"".join(
        reference.serialize(frame)
        for frame in (
            Frame(TEXT, data[: third + 1], fin=False),
            Frame(PING, b"in between"),
            Frame(CONTINUATION, b"", fin=False),
            Frame(CONTINUATION, data[third + 1 : 2 * third], fin=False),
            Frame(CONTINUATION, data[max(2 * third, third + 1) :]),
        )
    )
    if how == "bytewise":
        soon_written = soon(wire.write_slowly(frames))
    else:
        wire.write(frames + (reference.serialize(Frame(TEXT, b"next")) * (how == "trailing")))
    chunks: list[str] = []
    async for chunk in stream:
        assert chunk
        assert isinstance(chunk, str)
        assert stream.is_text is True
        chunks.append(chunk)
    assert "".join(chunks) == text
    assert await wire.receive_pong() == b"in between"
    if how == "bytewise":
        await soon_written
    if how != "trailing":
        wire.send("next")
    assert await conn.receive(timeout=5) == "next"
    await wire.close()


async def test_a_message_larger_than_max_size_comes_in_bounded_chunks(
    start_server: StartServer,
) -> None:
    server = await start_server(max_size=10_000)
    wire, conn = await connect_both(server)
    data = bytes(range(256)) * 4_000
    stream = conn.stream()
    wire.write_frame(BINARY, data)
    chunks = []
    async for chunk in stream:
        assert stream.is_text is False
        assert isinstance(chunk, bytes)
        assert 0 < len(chunk) <= 10_000
        chunks.append(chunk)
    assert b"".join(chunks) == data
    # What is not streamed is bounded as ever.
    receiving = soon(conn.receive(timeout=5))
    await asyncio.sleep(0)
    wire.write_frame(BINARY, b"x" * 10_000)
    assert await receiving == b"x" * 10_000
    receiving = soon(conn.receive(timeout=5))
    await asyncio.sleep(0)
    wire.write(reference.serialize_header(Frame(BINARY), 10_001))
    await expect_end(wire, receiving, TOO_BIG)
    await wire.close()


async def test_the_total_is_bounded_by_the_argument_at_the_limit_and_not_one_past_it(
    start_server: StartServer,
) -> None:
    server = await start_server(max_size=100)
    for size in (5_000, 5_001):
        for cut in (None, 3_000):
            wire, conn = await connect_both(server)
            task = soon(collect(conn, max_size=5_000))
            await asyncio.sleep(0)
            if cut is None:
                wire.write_frame(BINARY, b"x" * size)
            else:
                wire.write_frame(BINARY, b"x" * cut, fin=False)
                wire.write_frame(CONTINUATION, b"x" * (size - cut))
            if size == 5_000:
                assert b"".join(await task) == b"x" * size
            else:
                await expect_end(wire, task, TOO_BIG)
            await wire.close()


async def test_a_compressed_message_is_bounded_by_the_argument_too(
    start_server: StartServer,
) -> None:
    server = await start_server(compression=True)
    offer = {"Sec-WebSocket-Extensions": "permessage-deflate"}
    squeezed = zlib.compressobj(wbits=-15)
    text = squeezed.compress(b"x" * 1000) + squeezed.flush(zlib.Z_SYNC_FLUSH)
    for limit in (1000, 999):
        wire, conn = await connect_both(server, headers=offer)
        task = asyncio.create_task(collect(conn, max_size=limit))
        await asyncio.sleep(0)
        wire.write_frame(TEXT, text.removesuffix(b"\0\0\xff\xff"), rsv=RSV1)
        if limit == 1000:
            assert await task == ["x" * 1000]
        else:
            await expect_end(wire, task, TOO_BIG)


async def test_the_iterator_of_a_stream_is_its_own_iterator(both_ends: BothEnds) -> None:
    wire, conn = both_ends
    chunks = aiter(conn.stream())
    wire.send("one")
    assert await anext(chunks) == "one"
    assert [chunk async for chunk in chunks] == []


async def test_a_stream_asked_for_after_the_end_raises(both_ends: BothEnds) -> None:
    wire, conn = both_ends
    await wire.shake_close()
    await wait_until(lambda: conn.ready_state == sockwave.ReadyState.CLOSED)
    with pytest.raises(sockwave.ConnectionClosed):
        await collect(conn)
    with pytest.raises(sockwave.ConnectionClosed):
        await conn.ping()


@pytest.mark.parametrize(
    ("value", "error"), [(0, ValueError), (-1, ValueError), ("1", TypeError), (True, TypeError)]
)
async def test_a_wrong_limit_raises(
    both_ends: BothEnds, value: Any, error: type[Exception]
) -> None:
    wire, conn = both_ends
    with pytest.raises(error, match="max_size: expected"):
        conn.stream(max_size=value)
    await wire.close()


async def test_wrong_utf8_fails_before_the_message_ends(both_ends: BothEnds) -> None:
    wire, conn = both_ends
    task = soon(collect(conn))
    await asyncio.sleep(0)
    wire.write_frame(TEXT, b"good \xc3", fin=False)
    wire.write_frame(CONTINUATION, b"\xa4 then \xff", fin=False)
    await expect_end(wire, task, BAD_DATA)
    await wire.close()


async def test_text_that_ends_in_half_a_code_point_fails(start_server: StartServer) -> None:
    server = await start_server()
    for frames in ([Frame(TEXT, b"\xc3")], [Frame(TEXT, b"\xc3", fin=False), Frame(CONTINUATION)]):
        wire, conn = await connect_both(server)
        task = soon(collect(conn))
        await asyncio.sleep(0)
        wire.write(b"".join(map(reference.serialize, frames)))
        await expect_end(wire, task, BAD_DATA)
        await wire.close()


async def test_the_budget_for_fragments_holds_in_a_stream(both_ends: BothEnds) -> None:
    wire, conn = both_ends
    task = soon(collect(conn))
    await asyncio.sleep(0)
    empty = reference.serialize(Frame(CONTINUATION, b"", fin=False))
    wire.write(reference.serialize(Frame(BINARY, b"", fin=False)) + empty * 1023)
    await wire.receive_nothing()
    wire.write(empty)
    await expect_end(wire, task, POLICY)
    await wire.close()


async def test_each_stream_is_one_message_in_order(both_ends: BothEnds) -> None:
    wire, conn = both_ends
    first, second = conn.stream(), conn.stream()
    wire.send("one")
    wire.send(b"two")
    wire.send("three")
    assert [chunk async for chunk in second] == [b"two"]
    assert [chunk async for chunk in first] == ["one"]
    assert [chunk async for chunk in first] == []
    assert await conn.receive(timeout=5) == "three"
    await wire.close()


async def test_a_stream_takes_the_next_message_from_receivers(both_ends: BothEnds) -> None:
    wire, conn = both_ends
    receiving = soon(conn.receive(timeout=5))
    await asyncio.sleep(0)
    task = soon(collect(conn))
    await asyncio.sleep(0)
    wire.send("for the stream")
    wire.send("for the others")
    assert await task == ["for the stream"]
    assert await receiving == "for the others"
    await wire.close()


async def test_a_message_that_waited_for_receive_may_be_streamed(both_ends: BothEnds) -> None:
    wire, conn = both_ends
    wire.send("one")
    wire.send("two" * 100)
    wire.write_frame(PING)
    await wire.receive_pong()
    assert await collect(conn) == ["one"]
    assert await conn.receive(timeout=5) == "two" * 100
    wire.send("x" * 11)
    wire.write_frame(PING)
    await wire.receive_pong()
    await expect_end(wire, soon(collect(conn, max_size=10)), TOO_BIG)
    await wire.close()


async def test_a_message_that_has_begun_may_be_streamed(both_ends: BothEnds) -> None:
    wire, conn = both_ends
    wire.write_frame(TEXT, "grü".encode()[:-1], fin=False)
    wire.write_frame(PING)
    await wire.receive_pong()
    task = soon(collect(conn))
    await asyncio.sleep(0)
    wire.write_frame(CONTINUATION, "ü".encode()[1:] + b"ss")
    assert "".join(await task) == "grüss"
    wire.write_frame(BINARY, b"x" * 60, fin=False)
    wire.write_frame(PING)
    await wire.receive_pong()
    await expect_end(wire, soon(collect(conn, max_size=59)), TOO_BIG)
    await wire.close()


async def test_one_that_is_too_big_waits_until_it_is_known_how_it_is_asked_for(
    start_server: StartServer,
) -> None:
    # A header that says what comes, and at once what is larger than a message may be.
    server = await start_server(max_size=1_000)
    wire, conn = await connect_both(server)
    receiving = soon(conn.receive(timeout=5))
    await asyncio.sleep(0)
    wire.send("upload")
    wire.write_frame(BINARY, b"x" * 100_000)
    wire.send("again")
    wire.write_frame(BINARY, b"y" * 900, fin=False)
    wire.write_frame(CONTINUATION, b"y" * 101)
    assert await receiving == "upload"
    await let_arrive()
    assert b"".join(await collect(conn)) == b"x" * 100_000
    assert await conn.receive(timeout=5) == "again"
    await let_arrive()
    assert conn.ready_state == sockwave.ReadyState.CONNECTED
    await expect_end(wire, soon(conn.receive(timeout=5)), TOO_BIG)
    await wire.close()


async def test_a_listener_that_comes_late_lets_the_big_one_fail(start_server: StartServer) -> None:
    server = await start_server(max_size=1_000)
    wire, conn = await connect_both(server)
    receiving = soon(conn.receive(timeout=5))
    await asyncio.sleep(0)
    wire.send("one")
    assert await receiving == "one"
    wire.write(reference.serialize_header(Frame(BINARY), 1_001))
    await wire.receive_nothing()
    conn.on("message", print)
    await wire.expect_failure(TOO_BIG)
    await wire.close()


async def test_a_connection_that_ends_in_the_middle_raises_in_the_loop(
    start_server: StartServer,
) -> None:
    server = await start_server()
    for ending in ("reset", "fin", "close", "abort", "own close", "server"):
        wire, conn = await connect_both(server)
        chunks: list[str | bytes] = []
        stream = conn.stream()

        async def take(stream: Any = stream, chunks: list[str | bytes] = chunks) -> None:
            async for chunk in stream:
                chunks.append(chunk)  # noqa: PERF401 - what has come before the end counts

        task = soon(take())
        wire.write_frame(BINARY, b"half", fin=False)
        await wait_until(lambda chunks=chunks: chunks)
        if ending == "reset":
            wire.reset()
        elif ending == "fin":
            wire.write_eof()
        elif ending == "close":
            wire.write_close(1001)
        elif ending == "abort":
            conn.abort()
        elif ending == "own close":
            conn.close(4000)
            wire.write_frame(CONTINUATION, b"ignored")
            wire.write_close(4000)
        else:
            closing = server.close(drain=0.1)
        with pytest.raises(sockwave.ConnectionClosed) as caught:
            await task
        expected = {"close": 1001, "own close": 4000}.get(ending, 1006)
        assert caught.value.code == expected, ending
        assert chunks == [b"half"]
        await wire.close()
    await closing
    with pytest.raises(sockwave.ConnectionClosed):
        await collect(conn)


async def test_an_asynchronous_listener_hears_of_the_end_by_its_loop(
    start_server: StartServer,
) -> None:
    server = await start_server()
    ends: list[str] = []

    @server.on("connection")
    async def connected(conn: sockwave.Connection) -> None:
        try:
            async for _ in conn.stream():
                pass
        except sockwave.ConnectionClosed:
            ends.append("closed")

    wire = await Wire.connect(server.addresses[0])
    wire.write_frame(BINARY, b"x", fin=False)
    await wait_until(lambda: len(server.connections) == 1)
    wire.reset()
    await wait_until(lambda: ends)
    assert ends == ["closed"]


@together
@pytest.mark.parametrize("leave", ["break", "raise", "cancel", "forget"])
async def test_leaving_early_discards_the_rest_of_that_message_alone(
    start_server: StartServer, leave: str
) -> None:
    server = await start_server(max_size=1_000)
    wire, conn = await connect_both(server)
    started: list[str | bytes] = []

    async def take() -> None:
        stream = conn.stream()
        async for chunk in stream:
            started.append(chunk)
            if leave == "break":
                break
            if leave == "raise":
                raise LookupError
            await asyncio.sleep(30)
        assert stream.is_text is False  # the handle outlives its loop

    if leave == "forget":
        stream = conn.stream()
        wire.write_frame(BINARY, b"a" * 100, fin=False)
        wire.write_frame(PING)
        await wire.receive_pong()
        del stream
    else:
        task = soon(take())
        await asyncio.sleep(0)
        wire.write_frame(BINARY, b"a" * 100, fin=False)
        await wait_until(lambda: started)
        if leave == "cancel":
            task.cancel()
        with contextlib.suppress(LookupError, asyncio.CancelledError):
            await task
        del task
    wire.write_frame(CONTINUATION, b"b" * 100_000, fin=False)
    wire.write_frame(PING, b"still read")
    wire.write_frame(CONTINUATION, b"c" * 100_000)
    wire.send("next")
    assert await wire.receive_pong() == b"still read"
    assert await conn.receive(timeout=5) == "next"
    await wire.close()


async def test_a_stream_that_is_given_up_before_its_message_leaves_it_to_others(
    start_server: StartServer,
) -> None:
    server = await start_server(max_size=1_000)
    wire, conn = await connect_both(server)
    task = soon(collect(conn))
    await asyncio.sleep(0)
    conn.stream()  # let go of at once
    second = conn.stream()
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
    del task
    wire.send("x" * 5)
    wire.send("y" * 5)
    assert [chunk async for chunk in second] == ["x" * 5]
    assert await conn.receive(timeout=5) == "y" * 5
    await wire.close()


async def test_a_cancelled_wait_for_a_chunk_loses_none(both_ends: BothEnds) -> None:
    wire, conn = both_ends
    chunks = aiter(conn.stream())
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.02):
            await anext(chunks)
    wire.write_frame(BINARY, b"a", fin=False)
    assert await anext(chunks) == b"a"
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.02):
            await anext(chunks)
    waiting = soon(anext(chunks))
    await asyncio.sleep(0)
    with pytest.raises(RuntimeError, match="expected one task"):
        await anext(chunks)
    wire.write_frame(CONTINUATION, b"b")
    assert await waiting == b"b"
    with pytest.raises(StopAsyncIteration):
        await anext(chunks)
    await wire.close()


@LINUX
@pytest.mark.parametrize("size", [32, 1_000, 60_000])
async def test_chunks_that_are_not_taken_pause_the_sender(
    start_server: StartServer, size: int
) -> None:
    server = await start_server(max_size=100_000, queue_size=50_000)
    wire, conn = await connect_both(server, receive_buffer_size=65_536)
    chunks = aiter(conn.stream())
    first = reference.serialize(Frame(BINARY, b"first", fin=False))
    more = reference.serialize(Frame(CONTINUATION, b"x" * size, fin=False)) * (60_000 // size)
    sent = 0

    async def flood() -> None:
        nonlocal sent
        wire.write(first)
        while True:  # a sender that never stops
            wire.write(more)
            await wire.drain()
            await asyncio.sleep(0)
            sent += 1

    flooding = soon(flood())
    assert await anext(chunks) == b"first"
    before = measure_resident_size()
    await settle(lambda: sent)
    assert measure_resident_size() - before < 24 * MEBIBYTE  # both ends' buffers are in it
    for _ in range(50):
        chunk = await anext(chunks)
        assert 0 < len(chunk) <= 50_000
        assert set(chunk) == {ord("x")}
    flooding.cancel()
    wire.writer.transport.abort()  # what it has left would never be read


@pytest.mark.parametrize("piece", [1, 5, 300])
async def test_a_draft_message_is_streamed_too(start_server: StartServer, piece: int) -> None:
    server = await start_server(max_size=50)
    wire, conn = await connect_draft(server)
    text = "grüße 🙂 " * 100
    data = b"\0" + text.encode() + b"\xff" + b"\0next\xff"
    task = soon(collect(conn))
    await asyncio.sleep(0)
    await wire.write_pieces(data, range(0, len(data), piece))
    chunks = await task
    assert "".join(chunks) == text
    assert all(len(chunk.encode()) <= 50 + 3 for chunk in chunks)
    assert await conn.receive(timeout=5) == "next"
    task = soon(collect(conn, max_size=10))
    await asyncio.sleep(0)
    wire.write(b"\0" + b"x" * 10 + b"\xff")
    assert await task == ["x" * 10]
    task = soon(collect(conn, max_size=10))
    await asyncio.sleep(0)
    wire.write(b"\0" + b"x" * 11)
    assert await wire.receive(2) == b"\xff\x00"
    await wire.close()
    with pytest.raises(sockwave.ConnectionClosed) as caught:
        await task
    assert caught.value.code == TOO_BIG


@together
@pytest.mark.parametrize("seed", range(6))
async def test_streamed_and_received_messages_come_whole_and_in_order(
    start_server: StartServer, seed: int
) -> None:
    choice = random.Random(seed)
    server = await start_server(
        max_size=2_000, queue_size=choice.choice([2_000, 8_000]), queue_count=choice.choice([1, 16])
    )
    wire, conn = await connect_both(server)
    messages: list[str | bytes] = []
    data = []
    for number in range(60):
        text = f"{number}: grüße 🙂 " * choice.choice([1, 1, 5, 50, 2_000])
        message: str | bytes = text if choice.randrange(2) else text.encode()
        messages.append(message)
        payload = text.encode()
        opcode = TEXT if isinstance(message, str) else BINARY
        while choice.randrange(3):
            size = choice.choice([0, 1, 7, 300, 40_000])
            data.append(reference.serialize(Frame(opcode, payload[:size], fin=False)))
            payload, opcode = payload[size:], CONTINUATION
            if choice.randrange(4) == 0:
                data.append(reference.serialize(Frame(PING, b"p")))
        data.append(reference.serialize(Frame(opcode, payload)))
    whole = b"".join(data)
    cuts = [choice.randrange(len(whole)) for _ in range(choice.choice([0, 20, 1_000]))]
    await asyncio.gather(wire.write_pieces(whole, cuts), take_all(conn, messages, choice))
    await wire.close()


async def take_all(
    conn: sockwave.Connection, messages: list[str | bytes], choice: random.Random
) -> None:
    """Take messages by `stream`, the small ones by `receive` too, slowly and in a hurry."""
    for message in messages:
        size = len(message.encode() if isinstance(message, str) else message)
        if size <= 2_000 and choice.randrange(2):
            assert await conn.receive(timeout=10) == message
            continue
        chunks: list[Any] = []
        left_early = False
        async for chunk in conn.stream():
            chunks.append(chunk)
            if choice.randrange(8) == 0:
                await asyncio.sleep(0)
            if choice.randrange(200) == 0:
                left_early = True
                break
        taken = ("" if isinstance(message, str) else b"").join(chunks)
        assert message[: len(taken) if left_early else None] == taken


# ---- outgoing ------------------------------------------------------------------------------------


async def receive_fragments(wire: Wire) -> tuple[int, bytes, list[Frame]]:
    """Read one fragmented message: its opcode, its bytes, and the control frames in between."""
    frame = await wire.receive_fragment()
    while frame.opcode in (PING, PONG):
        frame = await wire.receive_fragment()
    assert frame.opcode in (TEXT, BINARY)
    opcode, payload, controls = frame.opcode, [frame.payload], []
    while not frame.fin or frame.opcode in (PING, PONG):
        frame = await wire.receive_fragment()
        if frame.opcode in (PING, PONG):
            controls.append(frame)
        else:
            assert frame.opcode == CONTINUATION
            payload.append(frame.payload)
    return opcode, b"".join(payload), controls


@pytest.mark.parametrize("kind", ["text", "binary"])
async def test_each_chunk_is_a_fragment(both_ends: BothEnds, kind: str) -> None:
    wire, conn = both_ends
    chunks: list[Any] = ["grü", "", "ße", "x" * 70_000]
    if kind == "binary":
        chunks = [b"a", bytearray(b"b"), b"", memoryview(b"c" * 70_000)]
    async with conn.stream_message(kind) as out:
        for chunk in chunks:
            await out.write(chunk)
    data = [chunk.encode() if isinstance(chunk, str) else bytes(chunk) for chunk in chunks]
    expected = [part for part in data if part]
    frames = [await wire.receive_fragment() for _ in range(4)]
    assert [frame.payload for frame in frames] == [*expected, b""]
    assert [frame.fin for frame in frames] == [False, False, False, True]
    assert [frame.opcode for frame in frames] == [TEXT if kind == "text" else BINARY] + [
        CONTINUATION
    ] * 3
    async with conn.stream_message(kind):
        pass
    assert await wire.receive_message() == ("" if kind == "text" else b"")
    await wire.close()


async def test_others_wait_behind_a_streamed_message_and_control_frames_do_not(
    start_server: StartServer,
) -> None:
    server = await start_server()
    wire, conn = await connect_both(server)
    other, _ = await connect_both(server)
    async with conn.stream_message("text") as out:
        conn.send("before the first write")
        await out.write("one ")
        conn.send("sent")
        assert server.broadcast(b"broadcast") == 2
        conn.send("large" * 10_000)
        ping = conn.ping(b"p")
        wire.write_frame(PING, b"q")
        await out.write("two ")
        # 3 frames wait: 6, 11 and 50,004 bytes
        assert conn.backlog_size >= 50_021
        await let_arrive()
        await out.write("three")
    conn.send("behind")
    assert await wire.receive_message() == "before the first write"
    opcode, payload, controls = await receive_fragments(wire)
    assert (opcode, payload) == (TEXT, b"one two three")
    assert controls == [Frame(PING, b"p"), Frame(PONG, b"q")]
    for expected in ("sent", b"broadcast", "large" * 10_000, "behind"):
        assert await wire.receive_message() == expected
    assert await other.receive_message() == b"broadcast"
    wire.write_frame(PONG, b"p")
    await ping
    assert conn.backlog_size == 0
    for one in (wire, other):
        await one.close()


async def test_streamed_messages_take_their_turns_in_order(both_ends: BothEnds) -> None:
    wire, conn = both_ends

    async def stream(name: str) -> None:
        async with conn.stream_message("text") as out:
            for _ in range(20):
                await out.write(name)
                await asyncio.sleep(0)

    tasks = [soon(stream(name)) for name in "abcd"]
    await asyncio.sleep(0)
    tasks[1].cancel()
    for name in "acd":
        assert (await receive_fragments(wire))[1] == name.encode() * 20
    await asyncio.gather(*tasks, return_exceptions=True)
    assert [task.cancelled() for task in tasks] == [False, True, False, False]
    await wire.close()


async def test_what_waits_behind_is_held_to_the_cap_and_the_policies(
    start_server: StartServer,
) -> None:
    cap = 100_000
    server = await start_server(max_backlog=cap)
    wire, conn = await connect_both(server)
    async with conn.stream_message("binary") as out:
        await out.write(b"begin")
        conn.send("kept")
        for i in range(300):
            conn.send(f"{i:04}" + "o" * 996, slow="drop_old")
            assert conn.backlog_size <= cap
        for i in range(300):
            conn.send(f"new {i}", slow="conflate", key="k")
        conn.send("large" * 20_000, slow="drop_new")
        await out.write(b"end")
    dropped = conn.dropped_count
    assert (await receive_fragments(wire))[1] == b"beginend"
    assert await wire.receive_message() == "kept"
    olds = 0
    while str(message := await wire.receive_message()).endswith("o"):
        olds += 1
        last = message
    assert message == "new 299"
    assert str(last).startswith("0299")
    assert dropped == 300 - olds + 299 + 1
    conn.send("after")
    assert await wire.receive_message() == "after"
    await wire.close()


async def test_too_much_behind_a_streamed_message_closes(start_server: StartServer) -> None:
    server = await start_server(max_backlog=100_000)
    wire, conn = await connect_both(server)

    async def stream() -> None:
        async with conn.stream_message("binary") as out:
            await out.write(b"begin")
            for _ in range(11):
                conn.send(b"x" * 10_000)
            await out.write(b"end")

    with pytest.raises(sockwave.ConnectionClosed) as caught:
        await stream()
    assert caught.value.code == TRY_AGAIN_LATER
    assert await wire.receive_fragment() == Frame(BINARY, b"begin", fin=False)
    assert (await wire.receive_close())[0] == TRY_AGAIN_LATER
    await wire.close()


async def test_who_awaits_send_waits_for_the_streamed_message(start_server: StartServer) -> None:
    server = await start_server(max_backlog=150_000)
    wire, conn = await connect_both(server)
    drained: list[str] = []
    conn.on("drain", lambda: drained.append("drain"))
    sent = 0

    async def send_on() -> None:
        nonlocal sent
        for _ in range(100):
            await conn.send(b"x" * 20_000)
            sent += 1

    async with conn.stream_message("binary") as out:
        await out.write(b"begin")
        task = soon(send_on())
        await let_arrive()
        assert sent == 3  # the fourth is over the high-water mark
        await out.write(b"end")
    assert (await receive_fragments(wire))[1] == b"beginend"
    for _ in range(100):
        assert await wire.receive_message() == b"x" * 20_000
    await task
    assert drained
    await wire.close()


async def test_a_writer_waits_for_a_client_that_does_not_read(both_ends: BothEnds) -> None:
    wire, conn = both_ends
    wire.writer.transport.pause_reading()  # type: ignore[attr-defined]
    written = 0

    async def stream() -> None:
        nonlocal written
        async with conn.stream_message("binary") as out:
            for _ in range(400):
                await out.write(b"x" * 50_000)
                written += 1

    task = soon(stream())
    assert await settle(lambda: written) < 400
    assert conn.backlog_size < 200_000
    wire.writer.transport.resume_reading()  # type: ignore[attr-defined]
    assert len((await receive_fragments(wire))[1]) == 20_000_000
    await task
    await wire.close()


async def test_a_writer_that_never_waits_is_held_to_the_cap(both_ends: BothEnds) -> None:
    wire, conn = both_ends
    wire.writer.transport.pause_reading()  # type: ignore[attr-defined]

    async def stream() -> None:
        async with conn.stream_message("binary") as out:
            for _ in range(2_000):
                out.write(b"x" * 50_000)
                assert conn.backlog_size <= MEBIBYTE + 50_000

    with pytest.raises(sockwave.ConnectionClosed) as caught:
        await stream()
    assert caught.value.code == TRY_AGAIN_LATER
    await wire.close()


@pytest.mark.parametrize("how", ["raise", "cancel"])
async def test_an_exception_inside_fails_the_connection(both_ends: BothEnds, how: str) -> None:
    wire, conn = both_ends
    begun = asyncio.Event()

    async def stream() -> None:
        async with conn.stream_message("text") as out:
            await out.write("half")
            conn.send("behind")
            begun.set()
            if how == "raise":
                raise LookupError
            await asyncio.sleep(30)

    task = soon(stream())
    await begun.wait()
    task.cancel()
    with contextlib.suppress(LookupError, asyncio.CancelledError):
        await task
    assert await wire.receive_fragment() == Frame(TEXT, b"half", fin=False)
    assert (await wire.receive_close())[0] == INTERNAL
    with pytest.raises(sockwave.ConnectionClosed):
        conn.send("too late")
    with pytest.raises(sockwave.ConnectionClosed):
        async with conn.stream_message("text"):
            pass
    wire.write_close(INTERNAL)
    await wire.receive_end()
    await wire.close()


async def test_an_exception_before_the_first_chunk_does_no_harm(both_ends: BothEnds) -> None:
    wire, conn = both_ends
    with contextlib.suppress(LookupError):
        async with conn.stream_message("text") as out:
            await out.write("")
            raise LookupError
    conn.send("fine")
    assert await wire.receive_message() == "fine"
    await wire.close()


@pytest.mark.parametrize("ending", ["close", "abort", "reset"])
async def test_a_connection_that_ends_in_the_middle_raises_in_the_block(
    both_ends: BothEnds, ending: str
) -> None:
    wire, conn = both_ends
    begun = asyncio.Event()

    async def wait_for_turn() -> None:
        await begun.wait()
        async with conn.stream_message("text"):
            raise AssertionError("there is no connection")

    waiting = soon(wait_for_turn())

    async def stream() -> None:
        async with conn.stream_message("text") as out:
            begun.set()
            while True:
                await out.write("x" * 100)
                await asyncio.sleep(0.001)

    task = soon(stream())
    await let_arrive()
    if ending == "close":
        conn.close(4000)
        assert conn.ready_state == sockwave.ReadyState.CLOSED
    elif ending == "abort":
        conn.abort()
    else:
        wire.reset()
    for one in (task, waiting):
        with pytest.raises(sockwave.ConnectionClosed) as caught:
            await one
        assert caught.value.code == (4000 if ending == "close" else 1006)
    await wire.close()


@pytest.mark.parametrize(
    ("kind", "error", "sentence"),
    [
        ("blob", ValueError, "kind: expected 'text' or 'binary', given 'blob'"),
        (1, TypeError, "kind: expected str, given int"),
    ],
)
async def test_a_wrong_kind_raises(
    both_ends: BothEnds, kind: Any, error: type[Exception], sentence: str
) -> None:
    wire, conn = both_ends
    with pytest.raises(error) as caught:
        conn.stream_message(kind)
    assert str(caught.value) == sentence
    await wire.close()


async def test_a_wrong_chunk_raises_and_sends_nothing(both_ends: BothEnds) -> None:
    wire, conn = both_ends
    out = conn.stream_message("text")
    with pytest.raises(RuntimeError, match="inside"):
        out.write("too early")
    async with out:
        with pytest.raises(TypeError, match="chunk: expected str, for text, given bytes"):
            out.write(b"x")
        with pytest.raises(TypeError, match="a message is a str"):
            out.write(1.5)  # type: ignore[arg-type]
        with pytest.raises(ValueError, match="surrogate"):
            out.write("\ud800")
        await out.write("fine")
    with pytest.raises(RuntimeError, match="inside"):
        out.write("too late")
    with pytest.raises(RuntimeError, match="once"):
        async with out:
            pass
    assert (await receive_fragments(wire))[1] == b"fine"
    await wire.close()


async def test_a_draft_message_leaves_in_one_frame(start_server: StartServer) -> None:
    server = await start_server()
    wire, conn = await connect_draft(server)
    async with conn.stream_message("text") as out:
        await out.write("one ")
        conn.send("before it")
        await out.write("two")
    with contextlib.suppress(LookupError):
        async with conn.stream_message("text") as out:
            await out.write("never")
            raise LookupError
    conn.send("last")
    expected = b"\0before it\xff\0one two\xff\0last\xff"
    assert await wire.receive(len(expected)) == expected
    with pytest.raises(TypeError, match="draft76 has text messages only"):
        conn.stream_message("binary")
    await wire.close()


async def test_a_stream_in_is_a_stream_out(start_server: StartServer) -> None:
    server = await start_server(max_size=50_000)
    wire, conn = await connect_both(server)

    async def echo() -> None:
        while True:
            stream = conn.stream()
            async with conn.stream_message("binary") as out:
                async for chunk in stream:
                    await out.write(chunk)

    task = soon(echo())
    data = bytes(range(256)) * 8_000
    await asyncio.sleep(0)
    for _ in range(3):
        wire.write_frame(BINARY, data)
        wire.write_frame(PING, b"p")
        opcode, payload, _ = await receive_fragments(wire)
        assert opcode == BINARY
        assert payload == data
    wire.write_close(1000)
    with pytest.raises(sockwave.ConnectionClosed):
        await task
    await wire.close()


async def test_streams_leave_no_cycles_behind(start_server: StartServer) -> None:
    server = await start_server()
    wire, conn = await connect_both(server)
    wire.send("x")
    assert await collect(conn) == ["x"]
    async with conn.stream_message("text") as out:
        await out.write("y")
    await wire.close()
    await wait_until(lambda: not server.connections)
    await let_arrive()
    gc.disable()
    try:
        del out
        gone = [False]

        class Witness:
            def __del__(self) -> None:
                gone[0] = True

        conn.data["witness"] = Witness()
        del conn
        await let_arrive()
        assert gone[0]
    finally:
        gc.enable()

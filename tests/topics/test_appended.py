"""Streams that can be joined late: deltas, snapshots, the end, and who still listens."""

import asyncio
import json

import pytest
from conftest import StartServer
from wire import connect_both

from sockwave import History, SockwaveError


async def test_subscribers_get_the_deltas(start_server: StartServer) -> None:
    server = await start_server()
    topic = server.topic("answer/*", envelope="compact") and server.topic("answer/1")
    wire, conn = await connect_both(server)
    await conn.subscribe("answer/1")
    for number, token in enumerate(["Hel", "lo", " world"], 1):
        published = await topic.append(token)
        assert published.position is not None
        assert published.position.offset == number
        assert await wire.receive_message() == f"[{number},{json.dumps(token)}]"
    await topic.finish()
    assert await wire.receive_message() == "[4,null]"


async def test_who_joins_late_gets_one_snapshot_and_then_deltas(start_server: StartServer) -> None:
    server = await start_server()
    topic = server.topic("answer")
    for token in ("a", "b", "c"):
        await topic.append(token)
    wire, conn = await connect_both(server)
    subscribed = await conn.subscribe("answer")
    assert subscribed.position is not None
    epoch = subscribed.position.epoch
    await topic.append("d")
    assert json.loads(await wire.receive_message()) == {
        "topic": "answer",
        "position": f"{epoch:x}-3",
        "delta": "abc",
    }
    assert json.loads(await wire.receive_message()) == {
        "topic": "answer",
        "position": f"{epoch:x}-4",
        "delta": "d",
    }
    other, second = await connect_both(server)
    assert (await second.subscribe("answer", since=f"{epoch:x}-2")).recovered
    assert json.loads(await other.receive_message())["delta"] == "cd"
    await topic.finish()
    for one in (wire, other):
        assert json.loads(await one.receive_message()) == {
            "topic": "answer",
            "position": f"{epoch:x}-5",
            "end": "finished",
        }
    late, third = await connect_both(server)
    await third.subscribe("answer")
    assert json.loads(await late.receive_message())["delta"] == "abcd"
    assert json.loads(await late.receive_message())["end"] == "finished"


async def test_binary_streams(start_server: StartServer) -> None:
    server = await start_server()
    topic = server.topic("answer")
    await topic.append(b"\0")
    await topic.append(bytearray(b"\xff"))
    wire, conn = await connect_both(server)
    await conn.subscribe("answer")
    assert json.loads(await wire.receive_message())["base64"] == "AP8="
    with pytest.raises(SockwaveError, match="text"):
        await topic.append("text")


async def test_what_a_stream_cannot_have_raises(start_server: StartServer) -> None:
    server = await start_server(append_size=10)
    server.topic("kept", history=History())
    with pytest.raises(SockwaveError, match="expected publish"):
        server.topic("kept").append("x")
    topic = server.topic("answer")
    with pytest.raises(ValueError, match="empty"):
        topic.append("")
    with pytest.raises(TypeError):
        topic.append(5)  # type: ignore[arg-type]
    await topic.append("x" * 10)
    with pytest.raises(SockwaveError, match="append_size"):
        await topic.append("y")
    with pytest.raises(SockwaveError, match="is a stream"):
        await server.publish("answer", "x")
    await topic.finish()
    with pytest.raises(SockwaveError, match="has ended"):
        await topic.append("z")


async def test_nothing_is_appended_once_the_server_has_ended(start_server: StartServer) -> None:
    server = await start_server()
    topic = server.topic("answer")
    await topic.append("x")
    server.close(drain=0)
    await server.wait_closed()
    with pytest.raises(SockwaveError, match="does not run"):
        topic.append("y")


async def test_positions_are_told_with_all_their_digits(start_server: StartServer) -> None:
    server = await start_server()
    topic = server.topic("answer", envelope="compact")
    wire, conn = await connect_both(server)
    await conn.subscribe("answer")
    for number in range(1, 102):
        await topic.append("x")
        assert json.loads(await wire.receive_message()) == [number, "x"]


@pytest.mark.slow
async def test_a_stream_that_nobody_hears_is_told_to_be_unwatched(
    start_server: StartServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = await start_server()
    told: asyncio.Queue[str] = asyncio.Queue()
    topic = server.topic("answer")
    topic.on("unwatched", told.put_nowait)
    _, conn = await connect_both(server)
    await conn.subscribe("answer")
    await topic.append("x")
    conn.unsubscribe("answer")
    assert await asyncio.wait_for(told.get(), 30) == "answer"

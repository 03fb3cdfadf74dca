"""Members of a topic: who is there, who comes and goes."""

import asyncio
from typing import Any

import pytest
from conftest import StartServer
from wire import connect_both, wait_until

from sockwave import Connection, SockwaveError, connect, create_server, testing


async def test_members_are_there_from_their_first_to_their_last_connection(
    start_server: StartServer,
) -> None:
    server = await start_server()
    topic = server.topic("room/*", presence=True) and server.topic("room/7")
    one, first = await connect_both(server)
    _, second = await connect_both(server)
    _, third = await connect_both(server)
    assert await topic.members() == {}
    await first.subscribe("room/7", member="ann", data={"name": "Ann"})
    await second.subscribe("room/7", member="ann", data={"name": "Ann"})
    await third.subscribe("room/7", member="bob")
    assert await topic.members() == {"ann": {"name": "Ann"}, "bob": None}
    await one.shake_close()
    await wait_until(lambda: len(server.connections) == 2)
    assert await topic.members() == {"ann": {"name": "Ann"}, "bob": None}
    second.unsubscribe("room/7")
    assert await topic.members() == {"bob": None}
    await third.subscribe("room/7", member="bob", data=5)
    assert await topic.members() == {"bob": 5}
    await third.subscribe("room/7", member="robert", data=6)
    assert await topic.members() == {"robert": 6}


async def test_join_and_leave_are_told(start_server: StartServer) -> None:
    server = await start_server()
    told: asyncio.Queue[tuple[Any, ...]] = asyncio.Queue()
    pattern = server.topic("room/*", presence=True)

    @pattern.on("join")
    def joined(key: str, data: object, topic: str) -> None:
        told.put_nowait(("join", key, data, topic))

    @pattern.on("leave")
    async def left(key: str) -> None:
        told.put_nowait(("leave", key))

    wire, conn = await connect_both(server)
    await conn.subscribe("room/7", member="ann", data="A")
    assert await asyncio.wait_for(told.get(), 10) == ("join", "ann", "A", "room/7")
    _, other = await connect_both(server)
    await other.subscribe("room/7", member="bob")
    assert await asyncio.wait_for(told.get(), 10) == ("join", "bob", None, "room/7")
    await wire.shake_close()
    assert await asyncio.wait_for(told.get(), 10) == ("leave", "ann")
    pattern.off("leave", left)


@testing.virtual_clock
async def test_a_member_stays_for_its_grace() -> None:
    server = create_server()
    topic = server.topic("room", presence=True, grace=30)

    @server.on("connection")
    def connected(conn: Connection) -> None:
        conn.subscribe("room", member="ann")

    async with testing.serve(server) as url:
        async with connect(url):
            await asyncio.sleep(60)
            assert await topic.members() == {"ann": None}
        await asyncio.sleep(25)
        assert await topic.members() == {"ann": None}
        async with connect(url):
            await asyncio.sleep(60)
            assert await topic.members() == {"ann": None}
        await asyncio.sleep(25)
        assert await topic.members() == {"ann": None}
        await asyncio.sleep(10)
        assert await topic.members() == {}


async def test_what_can_be_no_member_raises(start_server: StartServer) -> None:
    server = await start_server()
    server.topic("room", presence=True)
    _, conn = await connect_both(server)
    with pytest.raises(SockwaveError, match="presence=True"):
        conn.subscribe("other", member="ann")
    with pytest.raises(TypeError, match="member"):
        conn.subscribe("room", member=5)
    for wrong in ("", "x" * 256):
        with pytest.raises(ValueError, match="1 to 255 bytes"):
            conn.subscribe("room", member=wrong)
    with pytest.raises(ValueError, match="at most 4096 bytes"):
        conn.subscribe("room", member="ann", data="x" * 4096)
    with pytest.raises(TypeError):
        conn.subscribe("room", member="ann", data=object())
    with pytest.raises(ValueError, match="JSON"):
        conn.subscribe("room", member="ann", data=float("nan"))
    assert conn.topics == []
    with pytest.raises(SockwaveError, match="presence=True"):
        await server.topic("other").members()
    with pytest.raises(ValueError, match="event"):
        server.topic("room").on("message", print)  # type: ignore[call-overload]

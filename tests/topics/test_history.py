"""Topics with a history: positions, envelopes, and coming back with `since`."""

import asyncio
import json
import time
from typing import Any

import pytest
from conftest import StartServer
from costs import Costs
from wire import Wire, connect_both, wait_until

import sockwave
from sockwave import Delivery, History, Position, SockwaveError, Subscribed, testing
from sockwave.deliveries import compact_envelope, json_envelope


async def receive_json(wire: Wire) -> dict[str, Any]:
    message = await wire.receive_message()
    assert isinstance(message, str)
    found = json.loads(message)
    assert isinstance(found, dict)
    return found


async def test_messages_of_a_history_have_positions(start_server: StartServer) -> None:
    server = await start_server()
    server.topic("room/*", history=History(count=10))
    wire, conn = await connect_both(server)
    subscribed = await conn.subscribe("room/7")
    assert subscribed.position is not None
    epoch = subscribed.position.epoch
    assert subscribed == Subscribed(Position(epoch, 0), False)
    for number in (1, 2, 3):
        published = await server.publish("room/7", f"line {number}")
        assert published == (Position(epoch, number), 1)
    await server.publish("room/7", b"\0\xff")
    for number in (1, 2, 3):
        assert await receive_json(wire) == {
            "topic": "room/7",
            "position": f"{epoch:x}-{number}",
            "message": f"line {number}",
        }
    assert await receive_json(wire) == {
        "topic": "room/7",
        "position": f"{epoch:x}-4",
        "base64": "AP8=",
    }


async def test_who_comes_back_gets_what_it_has_missed_once_and_in_order(
    start_server: StartServer,
) -> None:
    server = await start_server()
    server.topic("room", history=History(count=1000))
    _, first = await connect_both(server)
    position = (await first.subscribe("room")).position
    assert position is not None
    for number in range(1, 101):
        server.publish("room", str(number))
    wire, conn = await connect_both(server)
    waiting = conn.subscribe("room", since=Position(position.epoch, 40))
    for number in range(101, 151):
        server.publish("room", str(number))
    subscribed = await waiting
    assert subscribed.recovered
    assert [(await receive_json(wire))["message"] for _ in range(110)] == [
        str(number) for number in range(41, 151)
    ]
    await wire.receive_nothing()
    back, again = await connect_both(server)
    assert await again.subscribe("room", since=f"{position.epoch:x}-150") == Subscribed(
        Position(position.epoch, 150), True
    )
    await server.publish("room", "live")
    assert (await receive_json(back))["message"] == "live"


async def test_what_is_gone_is_said_to_be(start_server: StartServer) -> None:
    server = await start_server()
    server.topic("room", history=History(count=5))
    _, first = await connect_both(server)
    position = (await first.subscribe("room")).position
    assert position is not None
    for number in range(1, 11):
        await server.publish("room", str(number))
    epoch = position.epoch
    for since, recovered in (
        (Position(epoch, 4), False),
        (Position(epoch, 5), True),
        (Position(epoch, 10), True),
        (Position(epoch, 11), False),
        (Position(epoch + 1, 10), False),
        (Position(1, 0), False),
    ):
        wire, conn = await connect_both(server)
        assert await conn.subscribe("room", since=since) == (Position(epoch, 10), recovered), since
        first = since.offset + 1 if recovered else 6 if since.epoch != epoch else 11
        missed = range(first, 11)  # of another log, all that is kept is new
        for number in missed:
            assert (await receive_json(wire))["message"] == str(number)
        await wire.receive_nothing()
    with pytest.raises(ValueError, match="given with"):
        conn.subscribe("room/*", since=Position(epoch, 1))
    for wrong in ("", "x", "1", "1-", "-1", "g-1", "1-1-1", "1" * 50 + "-1", "1-٣"):
        with pytest.raises(ValueError, match="since"):
            conn.subscribe("room", since=wrong)
    with pytest.raises(TypeError, match="since"):
        conn.subscribe("room", since=5)


@pytest.mark.slow
async def test_a_long_replay_goes_as_fast_as_the_client_takes_it(
    start_server: StartServer,
) -> None:
    server = await start_server()
    count = 20_000
    server.topic("room", history=History(count=count, size=None, ttl=None))
    _, first = await connect_both(server)
    position = (await first.subscribe("room")).position
    assert position is not None
    first.unsubscribe("room")
    for number in range(1, count + 1):
        await server.publish("room", f"{number}" + "." * 80)
    wire, conn = await connect_both(server)
    wire.pause_reading()
    waiting = conn.subscribe("room", since=position)
    most = 0
    await wait_until(lambda: conn.backlog_size > 0)
    server.publish("room", "live")
    wire.resume_reading()
    for number in range(1, count + 1):
        most = max(most, conn.backlog_size)
        said = await receive_json(wire)
        assert said["position"] == f"{position.epoch:x}-{number}"
    assert (await receive_json(wire))["message"] == "live"
    assert (await waiting).recovered  # type: ignore[misc]
    assert most < 256 << 10


async def test_a_client_that_leaves_during_a_replay_gets_no_more(
    start_server: StartServer,
) -> None:
    server = await start_server()
    server.topic("room", history=History(count=100_000, size=None))
    _, first = await connect_both(server)
    position = (await first.subscribe("room")).position
    for _ in range(3000):
        server.publish("room", "x" * 1000)
    await server.publish("room", "last")
    wire, conn = await connect_both(server)
    wire.pause_reading()
    waiting = conn.subscribe("room", since=position)
    await wait_until(lambda: conn.backlog_size > 0)
    assert conn.unsubscribe("room")
    with pytest.raises(SockwaveError, match="has left"):
        await waiting
    assert conn.topics == []
    # Again at once: late records of the first request are not for the second.
    wire.resume_reading()
    subscribed = await conn.subscribe("room")
    await server.publish("room", "live")
    while True:
        said = await receive_json(wire)
        if said["message"] == "live":
            break
    assert subscribed.recovered is False
    await wire.receive_nothing()


async def test_an_envelope_of_the_application(start_server: StartServer) -> None:
    server = await start_server()
    seen: list[Delivery] = []

    def envelope(delivery: Delivery) -> str:
        seen.append(delivery)
        assert delivery.position is not None
        return f"{delivery.position.offset}:{delivery.message}"

    server.topic("own", history=History(), envelope=envelope)
    server.topic("compact", history=History(), envelope="compact")
    server.topic("bare", history=History(), envelope=None)
    server.topic("plain", envelope="json")
    wires = [await connect_both(server) for _ in range(2)]
    for topic in ("own", "compact", "bare", "plain"):
        for _, conn in wires:
            await conn.subscribe(topic)
        await server.publish(topic, 'say "ä"')
    for wire, _ in wires:
        assert await wire.receive_message() == '1:say "ä"'
        assert await wire.receive_message() == '[1,"say \\"ä\\""]'
        assert await wire.receive_message() == 'say "ä"'
        assert await wire.receive_message() == '{"topic":"plain","message":"say \\"ä\\""}'
    assert len(seen) == 1
    assert seen[0].topic == "own"


#: Each character that JSON writes in its own way, its neighbours, and some of several bytes.
TEXTS = [
    *map(chr, range(0x22)),
    *"[\\]/\x7f\x80é\xff\u2028\u20ac\ufffd\U0001f30a",
    "",
    'say "no\\thing"\n',
    "wave \U0001f30a\x00\x1f" * 100,
]


@pytest.mark.parametrize("name", ["compact", "json"])
async def test_envelopes_of_ours_are_what_the_model_says(
    start_server: StartServer, name: str
) -> None:
    """Compiled code wraps texts; the functions of `deliveries` say what they are to look like."""
    server = await start_server()
    model = {"compact": compact_envelope, "json": json_envelope}[name]
    kept, plain, stream = 'kept/"\\é', "plain/x", "stream/x"
    server.topic(kept, history=History(), envelope=name)
    server.topic("plain/*", envelope=name)
    server.topic("stream/*", envelope=name)
    wire, conn = await connect_both(server)
    for topic in (kept, plain, stream):
        await conn.subscribe(topic)
    for number, text in enumerate(TEXTS):
        id = text if text and len(text) < 50 else None
        published = await server.publish(kept, text, id=id)
        assert await wire.receive_message() == model(
            Delivery(kept, text, published.position, "message", id)
        ), repr(text)
        await server.publish(plain, text)
        assert await wire.receive_message() == model(Delivery(plain, text, None)), repr(text)
        appended = await server.topic(stream).append(f"{number}{text}")
        assert await wire.receive_message() == model(
            Delivery(stream, f"{number}{text}", appended.position, "delta")
        ), repr(text)


async def test_an_envelope_that_raises_is_reported(
    start_server: StartServer, error_log: Any
) -> None:
    server = await start_server()

    def envelope(delivery: Delivery) -> str:
        raise RuntimeError("no envelope")

    server.topic("own", history=History(), envelope=envelope)
    _, conn = await connect_both(server)
    await conn.subscribe("own")
    assert (await server.publish("own", "x")).local_count == 0
    assert [str(error) for error in error_log.take()] == ["no envelope"]


async def test_an_id_is_published_once(start_server: StartServer) -> None:
    server = await start_server()
    server.topic("room", history=History())
    wire, conn = await connect_both(server)
    await conn.subscribe("room")
    first = await server.publish("room", "one", id="client:1")
    again = await server.publish("room", "one", id="client:1")
    assert again.position == first.position
    assert again.local_count == 0
    await server.publish("room", "two", id="client:2")
    said = [await receive_json(wire) for _ in range(2)]
    assert [one["message"] for one in said] == ["one", "two"]
    assert [one["id"] for one in said] == ["client:1", "client:2"]
    for wrong in ("", "x" * 256):
        with pytest.raises(ValueError, match="id: expected"):
            server.publish("room", "x", id=wrong)


async def test_wrong_settings_raise(start_server: StartServer) -> None:
    server = await start_server()
    with pytest.raises(ValueError, match="history count"):
        History(count=0)
    with pytest.raises(TypeError, match="history count"):
        History(count="5")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="history ttl"):
        History(ttl=0)
    with pytest.raises(TypeError, match="history: expected"):
        server.topic("a", history=5)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="slow: expected 'close'"):
        server.topic("a", history=History(), slow="drop_old")
    with pytest.raises(ValueError, match="envelope"):
        server.topic("a", envelope="xml")
    with pytest.raises(ValueError, match="key"):
        server.topic("a", key=len)
    with pytest.raises(ValueError, match="max_subscribers"):
        server.topic("a", max_subscribers=0)
    with pytest.raises(ValueError, match="grace"):
        server.topic("a", grace=5)


async def test_declaring_a_topic_in_use_raises(start_server: StartServer) -> None:
    server = await start_server()
    wire, conn = await connect_both(server)
    conn.subscribe("room/7")
    with pytest.raises(SockwaveError, match="'room/7' is in use"):
        server.topic("room/*", history=History())
    server.topic("other/*", history=History())
    await server.publish("room/7", "as before")
    assert await wire.receive_message() == "as before"


async def test_to_declare_many_topics_takes_time_in_proportion(start_server: StartServer) -> None:
    async def measure(count: int) -> float:
        server = await start_server()
        server.topic("kept", history=History())
        await server.publish("kept", "x")  # there is a sequencer, which is told of each
        start = time.thread_time()
        for number in range(count):
            server.topic(f"room/{number}", history=History())
        return time.thread_time() - start

    costs = Costs(4 * 2.0)
    while costs.are_in_doubt:
        costs.take(await measure(100), await measure(400))
    assert costs.ratio < 4 * 2.0


async def test_publishing_from_a_thread(start_server: StartServer) -> None:
    import asyncio

    server = await start_server()
    server.topic("room", history=History())
    wire, conn = await connect_both(server)
    await conn.subscribe("room")

    def publish() -> object:
        future = server.publish("room", "from a thread")
        return future.result(10)  # type: ignore[union-attr]

    published = await asyncio.to_thread(publish)
    assert isinstance(published, sockwave.Published)
    assert published.local_count == 1
    assert (await receive_json(wire))["message"] == "from a thread"


@testing.virtual_clock
async def test_messages_are_kept_for_their_time() -> None:
    server = sockwave.create_server()
    server.topic("news", history=History(count=100, ttl=60))
    async with testing.pair(server) as (server_conn, client_conn):
        for text in ("old", "young"):
            await server.publish("news", text)
            await asyncio.sleep(40)
        await server_conn.subscribe("news", since="0-0")
        await server.publish("news", "new")
        heard = [await client_conn.receive_json() for _ in range(2)]
        assert [one["message"] for one in heard] == ["young", "new"]

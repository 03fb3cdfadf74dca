"""Topics: who hears what, by name and by pattern, and the limits of that."""

import pytest
from conftest import StartServer
from wire import Wire, connect_both, wait_until

import sockwave
from sockwave import ConnectionClosed, SockwaveError


async def test_a_message_reaches_the_subscribers_of_its_topic(start_server: StartServer) -> None:
    server = await start_server()
    one, first = await connect_both(server)
    two, second = await connect_both(server)
    three, third = await connect_both(server)
    await first.subscribe("room/7")
    await second.subscribe("room/7")
    await third.subscribe("room/8")
    published = await server.publish("room/7", "hello")
    assert published == (None, 2)
    assert await server.publish("room/8", b"\0\xff") == (None, 1)
    assert await server.publish("room/9", "nobody") == (None, 0)
    assert await one.receive_message() == "hello"
    assert await two.receive_message() == "hello"
    assert await three.receive_message() == b"\0\xff"
    for wire in (one, two, three):
        await wire.receive_nothing()


async def test_publishing_leaves_out_the_excluded_connection(start_server: StartServer) -> None:
    server = await start_server()
    one, first = await connect_both(server)
    two, second = await connect_both(server)
    for conn in (first, second):
        conn.subscribe("room")
    assert (await server.publish("room", "from the first", exclude=first)).local_count == 1
    assert await two.receive_message() == "from the first"
    await one.receive_nothing()


async def test_who_unsubscribes_hears_no_more(start_server: StartServer) -> None:
    server = await start_server()
    wire, conn = await connect_both(server)
    await conn.subscribe("a")
    await conn.subscribe("b")
    await conn.subscribe("a")
    assert conn.topics == ["a", "b"]
    assert conn.unsubscribe("a")
    assert not conn.unsubscribe("a")
    assert not conn.unsubscribe("never")
    assert conn.topics == ["b"]
    server.publish("a", "no")
    server.publish("b", "yes")
    assert await wire.receive_message() == "yes"


async def test_the_end_of_a_connection_takes_it_out_of_all_topics(
    start_server: StartServer,
) -> None:
    server = await start_server()
    wires = [await connect_both(server) for _ in range(5)]
    for number, (_, conn) in enumerate(wires):
        for topic in range(100):
            conn.subscribe(f"topic/{(topic * (number + 1)) % 120}")
    await wires[1][0].shake_close()
    wires[3][0].reset()
    await wait_until(lambda: len(server.connections) == 3)
    left = [conn for _, conn in wires if conn in server.connections]
    for topic in range(120):
        name = f"topic/{topic}"
        expected = sum(name in conn.topics for conn in left)
        assert await server.count(name) == expected
        assert (await server.publish(name, "x")).local_count == expected


@pytest.mark.parametrize(
    ("pattern", "matching", "others"),
    [
        ("room/*", ["room/7", "room/x"], ["room", "room/7/x", "rooms/7", "x/room/7"]),
        ("room/**", ["room/7", "room/7/x", "room/a/b/c/d/e/f/g/h/i"], ["room", "rooms/7"]),
        ("*", ["room", "x"], ["room/7"]),
        ("**", ["room", "room/7", "a/b/c"], []),
        ("a/*/c", ["a/b/c", "a/x/c"], ["a/b", "a/b/d", "a/b/c/d"]),
        ("*/b/**", ["a/b/c", "x/b/c/d"], ["a/b", "a/c/b"]),
    ],
)
async def test_a_pattern_hears_the_topics_that_it_matches(
    start_server: StartServer, pattern: str, matching: list[str], others: list[str]
) -> None:
    server = await start_server()
    wire, conn = await connect_both(server)
    await conn.subscribe(pattern)
    for topic in [*matching, *others]:
        expected = int(topic in matching)
        assert (await server.publish(topic, topic)).local_count == expected, topic
    for topic in matching:
        assert await wire.receive_message() == topic
    conn.unsubscribe(pattern)
    assert (await server.publish(matching[0], "no more")).local_count == 0
    await wire.receive_nothing()


async def test_who_hears_a_topic_in_several_ways_gets_a_message_once(
    start_server: StartServer,
) -> None:
    server = await start_server()
    wire, conn = await connect_both(server)
    other, second = await connect_both(server)
    for topic in ("room/*", "room/7", "**", "room/**"):
        await conn.subscribe(topic)
    await second.subscribe("room/7")
    assert (await server.publish("room/7", "once")).local_count == 2
    assert await server.count("room/7") == 2
    assert await wire.receive_message() == "once"
    assert await other.receive_message() == "once"
    await wire.receive_nothing()


@pytest.mark.parametrize(
    "name", ["", "a\nb", "\x7f", "x" * 256, "ä" * 128, "a*", "**/a", "a/b*/c", "\udc80"]
)
async def test_a_name_that_is_no_topic_raises(start_server: StartServer, name: str) -> None:
    server = await start_server()
    _, conn = await connect_both(server)
    with pytest.raises(ValueError, match="topic"):
        conn.subscribe(name)
    with pytest.raises(ValueError, match="topic"):
        server.publish(name, "x")
    for wrong in (None, 5, b"topic"):
        with pytest.raises(TypeError, match="expected str"):
            conn.subscribe(wrong)
        with pytest.raises(TypeError, match="expected str"):
            server.publish(wrong, "x")  # type: ignore[arg-type]
    assert conn.topics == []


async def test_publishing_on_a_pattern_raises(start_server: StartServer) -> None:
    server = await start_server()
    with pytest.raises(ValueError, match="without wildcards"):
        server.publish("room/*", "x")


@pytest.mark.parametrize("heard", [False, True])
async def test_a_wrong_message_raises_whoever_listens(
    start_server: StartServer, heard: bool
) -> None:
    server = await start_server()
    _, conn = await connect_both(server)
    if heard:
        conn.subscribe("a")
    for wrong in (5, None, 1.5, ["x"]):
        with pytest.raises(TypeError, match=type(wrong).__name__):
            server.publish("a", wrong)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="surrogate"):
        server.publish("a", "\udc80")
    with pytest.raises(ValueError, match="history"):
        server.publish("a", "x", id="1")


async def test_subscribing_a_closed_connection_raises(start_server: StartServer) -> None:
    server = await start_server()
    wire, conn = await connect_both(server)
    await wire.shake_close()
    await wait_until(lambda: not server.connections)
    with pytest.raises(ConnectionClosed):
        conn.subscribe("a")
    assert not conn.unsubscribe("a")
    assert conn.topics == []


async def test_a_connection_has_room_for_so_many_topics(start_server: StartServer) -> None:
    server = await start_server(subscription_count=5, pattern_count=2)
    _, conn = await connect_both(server)
    for number in range(3):
        conn.subscribe(f"a/{number}")
    conn.subscribe("b/*")
    conn.subscribe("c/*")
    with pytest.raises(SockwaveError, match="subscription_count"):
        conn.subscribe("one more")
    conn.unsubscribe("a/0")
    with pytest.raises(SockwaveError, match="pattern_count"):
        conn.subscribe("d/*")
    conn.subscribe("one more")
    conn.subscribe("one more")
    assert server.limit_hits["subscription_count"] == 1
    assert server.limit_hits["pattern_count"] == 1


async def test_a_server_has_room_for_so_many_topics(start_server: StartServer) -> None:
    server = await start_server(topic_count=3)
    _, conn = await connect_both(server)
    for number in range(3):
        conn.subscribe(f"a/{number}")
    with pytest.raises(SockwaveError, match="topic_count"):
        conn.subscribe("one more")
    assert server.limit_hits["topic_count"] == 1
    conn.unsubscribe("a/0")
    conn.subscribe("one more")


async def test_a_topic_has_room_for_so_many_subscribers(start_server: StartServer) -> None:
    server = await start_server()
    server.topic("small", max_subscribers=2)
    for _ in range(2):
        (await connect_both(server))[1].subscribe("small")
    _, third = await connect_both(server)
    with pytest.raises(SockwaveError, match="max_subscribers"):
        third.subscribe("small")


async def test_a_name_may_be_as_long_as_its_limit(start_server: StartServer) -> None:
    server = await start_server(topic_name_size=10)
    wire, conn = await connect_both(server)
    conn.subscribe("x" * 10)
    with pytest.raises(ValueError, match="1 to 10 bytes"):
        conn.subscribe("x" * 11)
    server.publish("x" * 10, "fits")
    assert await wire.receive_message() == "fits"


async def test_topics_that_nobody_uses_are_forgotten(start_server: StartServer) -> None:
    server = await start_server(topic_count=10)
    for number in range(1000):
        await server.publish(f"nobody/{number}", "x")
    _, conn = await connect_both(server)
    for number in range(1000):
        conn.subscribe(f"mine/{number}")
        conn.unsubscribe(f"mine/{number}")
    assert server.limit_hits["topic_count"] == 0


@pytest.mark.slow
async def test_a_listener_may_change_subscriptions_during_a_publish(
    start_server: StartServer,
) -> None:
    server = await start_server(max_backlog=64 << 10, high_water=64 << 10)
    everyone: list[sockwave.Connection] = []
    wires = []
    for _ in range(10):
        wire, conn = await connect_both(server)
        conn.subscribe("room")
        everyone.append(conn)
        wires.append(wire)

    def changed(conn: sockwave.Connection, state: sockwave.ReadyState) -> None:
        for other in everyone[:5]:
            other.unsubscribe("room")

    server.on("readyStateChange", changed)
    wires[7].pause_reading()
    while len(server.connections) == 10 and everyone[7].ready_state == 4:
        await server.publish("room", "x" * 60_000)
        for number, wire in enumerate(wires):
            if number != 7 and "room" in everyone[number].topics:
                assert await wire.receive_message() == "x" * 60_000
    await wait_until(lambda: len(server.connections) == 9)
    assert await server.count("room") == 4


async def test_a_conflated_topic_keeps_the_newest_message_of_a_key(
    start_server: StartServer,
) -> None:
    server = await start_server(high_water=16 << 10)
    server.topic("ticks", slow="conflate", key=lambda message: message[:1])
    wire, conn = await connect_both(server)
    conn.subscribe("ticks")
    wire.pause_reading()
    count = 0
    while conn.dropped_count < 50:
        for key in "ab":
            count += 1
            server.publish("ticks", f"{key}{count}" + "." * 60_000)
        await wait_until(lambda: True)
    wire.resume_reading()
    newest: dict[str, int] = {}
    while set(newest.values()) != {count - 1, count}:
        message = await wire.receive_message()
        assert isinstance(message, str)
        newest[message[0]] = int(message[1:].rstrip("."))


async def test_drafts_and_compressed_connections_hear_topics(start_server: StartServer) -> None:
    server = await start_server(compression=True)
    plain, first = await connect_both(server)
    await Wire.connect_hixie(server.addresses[0], 76)
    await wait_until(lambda: len(server.connections) == 2)
    second = next(conn for conn in server.connections if conn is not first)
    for conn in (first, second):
        conn.subscribe("room")
    assert (await server.publish("room", "text")).local_count == 2
    assert (await server.publish("room", b"binary")).local_count == 1
    assert await plain.receive_message() == "text"
    assert await plain.receive_message() == b"binary"


async def test_publishing_warns_once_where_others_serve_the_same_port(
    start_server: StartServer, caplog: pytest.LogCaptureFixture
) -> None:
    server = await start_server()
    server.listen(0, "127.0.0.1", reuse_port=True)
    for _ in range(3):
        await server.publish("room", "x")
    warnings = [one for one in caplog.records if "stays in this process" in one.getMessage()]
    assert len(warnings) == 1

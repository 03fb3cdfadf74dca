"""Clients that speak `sockwave.1`: what they hear of topics, over the ends of their connections."""

import asyncio
import gc
import json
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from conftest import ErrorLog, StartServer
from raw_servers import RawPeer, raw_server
from reference import TEXT
from wire import case, count_descriptors, let_arrive, wait_until

import sockwave
from sockwave import Delivery, History, TopicConnection
from sockwave.client.topics.state import PENDING_COUNT, RESEND_S
from sockwave.core.topics.wildcards import Patterns

SOON = sockwave.Backoff(first=0.001, most=0.002)


async def start_topics(
    start_server: StartServer, may_publish: Any = lambda conn, topic: True, **options: Any
) -> sockwave.Server:
    """Start a server whose topics `kept/...` have a history, and which allows all."""
    server = await start_server(subprotocol="sockwave.1", **options)
    server.topic("kept/*", history=History(count=1000))
    server.on("subscribe", lambda conn, topic: True)
    server.on("publish", may_publish)
    return server


def uri_of(server: sockwave.Server) -> str:
    return f"ws://127.0.0.1:{server.addresses[0][1]}/"


def connect(server: sockwave.Server, engine: str, **options: Any) -> Any:
    return sockwave.connect(
        uri_of(server), subprotocol="sockwave.1", engine=engine, backoff=SOON, **options
    )


async def cut_all(server: sockwave.Server) -> None:
    """End all connections, without a word."""
    for conn in server.connections:
        conn.abort()


async def take(conn: TopicConnection, count: int) -> list[Any]:
    return [(await conn.receive_delivery(10)).message for _ in range(count)]


# ---- one connection


async def test_a_client_hears_what_is_published(start_server: StartServer, engine: str) -> None:
    server = await start_topics(start_server)
    async with connect(server, engine) as conn:
        assert isinstance(conn, TopicConnection)
        assert conn.subprotocol == "sockwave.1"
        assert await conn.subscribe("room") == (None, False)
        assert conn.topics == ["room"]
        await server.publish("room", "hello")
        await server.publish("room", b"\x00\xff")
        assert await conn.receive_delivery() == Delivery("room", "hello", None)
        assert await conn.receive_delivery() == Delivery("room", b"\x00\xff", None)
        assert conn.unsubscribe("room")
        assert not conn.unsubscribe("room")
        assert conn.topics == []
        await conn.subscribe("kept/a")
        await server.publish("room", "not for it")
        published = await conn.publish("kept/a", "mine", id="an id")
        assert published.position.offset == 1
        assert published.local_count == 0
        assert await conn.receive_delivery() == Delivery(
            "kept/a", "mine", published.position, "message", "an id"
        )


async def test_deliveries_end_with_the_connection(start_server: StartServer, engine: str) -> None:
    server = await start_topics(start_server)
    async with connect(server, engine) as conn:
        await conn.subscribe("room")
        for number in range(5):
            server.publish("room", str(number))
        await server.publish("room", "last")
        heard = []
        async for delivery in conn.deliveries():
            heard.append(delivery.message)
            if delivery.message == "last":
                conn.close()
        assert heard == ["0", "1", "2", "3", "4", "last"]
        with pytest.raises(sockwave.ConnectionClosed):
            await conn.receive_delivery()
        for call in (
            lambda: conn.subscribe("room"),
            lambda: conn.publish("room", "x"),
            lambda: conn.members("room"),
        ):
            with pytest.raises(sockwave.ConnectionClosed):
                call()


async def test_ordinary_messages_go_their_own_way(start_server: StartServer, engine: str) -> None:
    server = await start_topics(start_server)

    @server.on("connection")
    def connected(conn: sockwave.Connection) -> None:
        @conn.on("message")
        def message(text: str) -> None:
            conn.send(json.dumps({"message": text}))
            conn.send(text)

    async with connect(server, engine) as conn:
        await conn.subscribe("room")
        conn.send("hello")
        await server.publish("room", "of a topic")
        assert [await conn.receive() for _ in range(2)] == ["hello", "hello"]
        conn.send_json({"a": 1})
        assert await conn.receive_json() == {"a": 1}
        assert await conn.receive() == '{"a":1}'
        assert (await conn.receive_delivery()).message == "of a topic"
        with pytest.raises(TypeError, match="text messages only: expected str, given bytes"):
            conn.send(b"bytes")
        with pytest.raises(sockwave.SockwaveError, match="no messages in pieces"):
            conn.stream_message("text")


async def test_a_stream_comes_as_deltas(start_server: StartServer, engine: str) -> None:
    server = await start_topics(start_server)
    async with connect(server, engine) as conn, connect(server, engine) as late:
        await conn.subscribe("answer")
        await conn.append("answer", "one ")
        await conn.append("answer", "two")
        await late.subscribe("answer", since="0-0")
        await conn.finish("answer")
        heard = [await conn.receive_delivery() for _ in range(3)]
        assert [(one.kind, one.message) for one in heard] == [
            ("delta", "one "),
            ("delta", "two"),
            ("finished", None),
        ]
        heard = [await late.receive_delivery() for _ in range(2)]
        assert [(one.kind, one.message) for one in heard] == [
            ("delta", "one two"),
            ("finished", None),
        ]
        with pytest.raises(sockwave.SockwaveError, match="append on 'answer'"):
            await conn.append("answer", "more")
        with pytest.raises(TypeError, match="delta: expected str, given bytes"):
            conn.append("answer", b"more")


async def test_patterns_hear_all_that_they_match(start_server: StartServer, engine: str) -> None:
    server = await start_topics(start_server)
    async with connect(server, engine) as conn:
        with pytest.raises(ValueError, match="since: expected with one topic"):
            conn.subscribe("room/*", since="0-0")
        await conn.subscribe("room/*")
        await conn.subscribe("room/7")
        await server.publish("room/7", "once")
        await server.publish("room/8", "too")
        assert await take(conn, 2) == ["once", "too"]
        conn.unsubscribe("room/7")
        await server.publish("room/7", "still")
        assert await take(conn, 1) == ["still"]


def test_patterns_match_by_level() -> None:
    for pattern, topic, expected in (
        ("room/*", "room/7", True),
        ("room/*", "room", False),
        ("room/*", "room/7/typing", False),
        ("room/**", "room/7/typing", True),
        ("room/**", "room/7", True),
        ("room/**", "room", False),
        ("*/typing", "room/typing", True),
        ("*/typing", "room/7/typing", False),
        ("**", "room", True),
        ("**", "a/b/c", True),
        ("a/*/c", "a/b/c", True),
        ("a/*/c", "a/b/d", False),
    ):
        with case(f"{pattern} {topic}"):
            patterns = Patterns()
            patterns.add(pattern, "found")
            assert (patterns.best(topic) == "found") is expected


async def test_members_are_told(start_server: StartServer, engine: str) -> None:
    server = await start_topics(start_server)
    server.topic("lobby", presence=True)
    told: list[tuple[str, Any]] = []
    async with connect(server, engine) as ann, connect(server, engine) as bob:
        ann.on("join", lambda key, data, topic: told.append((topic, data)))
        await ann.subscribe("lobby", data={"name": "ann"})
        await wait_until(lambda: told == [("lobby", {"name": "ann"})])
        await bob.subscribe("lobby", data={"name": "bob"})
        await wait_until(lambda: told[1:] == [("lobby", {"name": "bob"})])
        here = await bob.members("lobby")
        assert sorted(one["name"] for one in here.values()) == ["ann", "bob"]
        await bob.subscribe("lobby", data={"name": "robert"})
        await wait_until(lambda: told[2:] == [("lobby", {"name": "robert"})])
        left = asyncio.get_running_loop().create_future()
        ann.once("leave", lambda key, data: left.set_result(data))
        bob.unsubscribe("lobby")
        assert await left == {"name": "robert"}
        with pytest.raises(sockwave.SockwaveError, match="members 'other'"):
            await ann.members("other")


async def test_listeners_hear_deliveries(
    start_server: StartServer, engine: str, error_log: ErrorLog
) -> None:
    server = await start_topics(start_server)
    heard: list[Any] = []
    async with connect(server, engine) as conn:
        await conn.subscribe("room")
        await server.publish("room", "early")
        await wait_until(lambda: len(conn._reception.queue) == 1)

        @conn.on("delivery")
        async def hear(delivery: Delivery) -> None:
            heard.append(delivery.message)

        await server.publish("room", "late")
        await wait_until(lambda: heard == ["early", "late"])
        assert conn.listeners("delivery") == [hear]
        with pytest.raises(sockwave.SockwaveError, match="without a listener of 'delivery'"):
            await conn.receive_delivery()
        conn.off("delivery", hear)
        assert conn.listeners("delivery") == conn.listeners("close") == []
        conn.once("delivery", heard.append)
        await server.publish("room", "one")
        await server.publish("room", "two")
        await wait_until(lambda: len(heard) == 3)
        assert await take(conn, 1) == ["two"]
        assert heard[2].message == "one"
        with pytest.raises(TypeError, match="at most 1 argument"):
            conn.on("delivery", lambda one, two: None)
        waiting = asyncio.ensure_future(conn.receive_delivery())
        await let_arrive()
        with pytest.raises(sockwave.SockwaveError, match="a task waits"):
            conn.on("delivery", hear)
        waiting.cancel()

        def fail(delivery: Delivery) -> None:
            raise RuntimeError("no")

        await asyncio.wait([waiting])
        conn.on("delivery", fail)
        await server.publish("room", "three")
        await conn.wait_closed()
        assert conn.close_code == 1011
    assert [str(error) for error in error_log.take()] == ["no"]


# ---- what goes wrong


async def test_what_is_refused_is_told(
    start_server: StartServer, engine: str, caplog: pytest.LogCaptureFixture
) -> None:
    server = await start_server(subprotocol="sockwave.1")
    server.on("subscribe", lambda conn, topic: topic != "secret")
    async with connect(server, engine) as conn:
        with pytest.raises(sockwave.SockwaveError, match="the application does not allow it"):
            await conn.subscribe("secret")
        assert conn.topics == []
        await conn.subscribe("open")
        with pytest.raises(sockwave.SockwaveError, match="the application does not allow it"):
            await conn.publish("open", "x")
        conn.publish("open", "y")
        conn.subscribe("secret")
        await conn.subscribe("other")
        assert "publish on 'open': the server refuses it" in caplog.text
        assert "subscribe 'secret': the server refuses it" in caplog.text
        for name in ("", "a\x00b", "x" * 256):
            with case(name), pytest.raises(sockwave.SockwaveError, match="the server refuses"):
                await conn.subscribe(name)
        assert conn.topics == ["open", "other"]
        assert conn.is_open


async def test_what_is_no_topic_can_be_left_at_once(
    start_server: StartServer, engine: str, caplog: pytest.LogCaptureFixture
) -> None:
    server = await start_topics(start_server)
    async with connect(server, engine) as conn:
        conn.subscribe("a\x00b")
        assert conn.unsubscribe("a\x00b")
        await conn.subscribe("room")
        await server.publish("room", "hello")
        assert await take(conn, 1) == ["hello"]
        assert conn.topics == ["room"]
        assert not conn._reception.leaving


async def test_limits_of_the_server_are_told(start_server: StartServer, engine: str) -> None:
    server = await start_topics(start_server, subscription_count=2)
    async with connect(server, engine) as conn:
        await conn.subscribe("one")
        await conn.subscribe("two")
        with pytest.raises(sockwave.SockwaveError, match="subscription_count"):
            await conn.subscribe("three")
        assert conn.topics == ["one", "two"]


async def test_wrong_arguments_raise_at_once(start_server: StartServer, engine: str) -> None:
    server = await start_topics(start_server)
    calls: dict[str, Callable[[TopicConnection], object]] = {
        "subscribe: expected a topic as str, given int": lambda conn: conn.subscribe(5),  # type: ignore[arg-type]
        "since: expected a position as 'EPOCH": lambda conn: conn.subscribe("a", since="no"),
        "member: expected None": lambda conn: conn.subscribe("a", member="me"),
        "given type object|given type": lambda conn: conn.subscribe("a", data=object),
        "unsubscribe: expected a topic as str": lambda conn: conn.unsubscribe(None),  # type: ignore[arg-type]
        "publish: expected str or bytes-like, given float": lambda conn: conn.publish("a", 1.5),  # type: ignore[arg-type]
        "publish: expected no lone surrogate": lambda conn: conn.publish("a", "\ud800"),
        "id: expected str or None, given int": lambda conn: conn.publish("a", "b", id=5),  # type: ignore[arg-type]
        "id: expected 1 to 255 bytes": lambda conn: conn.publish("a", "b", id="x" * 256),
    }
    async with connect(server, engine) as conn:
        for sentence, call in calls.items():
            with case(sentence), pytest.raises((TypeError, ValueError), match=sentence):
                call(conn)
        assert conn.topics == []
        assert not conn._dialogue.state.pending
        await conn.publish("a", "b", id="x" * 255)


async def test_a_server_without_the_subprotocol_is_told_of(
    start_server: StartServer, engine: str
) -> None:
    server = await start_server()
    server.on("connection", lambda conn: conn.on("message", conn.send))
    async with connect(server, engine) as conn:
        assert conn.subprotocol is None
        conn.send(b"as it is")
        assert await conn.receive() == b"as it is"
        assert conn.topics == []
        for name, call in {
            "subscribe": lambda: conn.subscribe("a"),
            "unsubscribe": lambda: conn.unsubscribe("a"),
            "publish": lambda: conn.publish("a", "b"),
            "members": lambda: conn.members("a"),
            "deliveries": conn.deliveries,
        }.items():
            with (
                case(name),
                pytest.raises(
                    sockwave.SockwaveError, match=f"conn.{name}: expected a server that speaks"
                ),
            ):
                call()
    async with sockwave.connect(uri_of(server), engine=engine) as plain:
        assert not isinstance(plain, TopicConnection)
        with pytest.raises(sockwave.SockwaveError, match="or one with subprotocol='sockwave"):
            plain.subscribe("a")


FRAMES = {
    '{"subscribed":"a","position":null}': "request",
    '{"topic":"a"}': "message: expected a text",
    '{"topic":"a","message":5}': "message: expected a text",
    '{"topic":5,"message":"x"}': "topic: expected a text",
    '{"topic":"a","base64":"*"}': "base64: expected",
    '{"topic":"a","message":"x","position":"here"}': "position: expected",
    '{"topic":"a","end":"maybe"}': "end: expected",
    '{"topic":"a","members":[]}': "members: expected an object",
    '{"refused":"subscribe","topic":"a","reason":5}': "reason: expected",
    '{"gap":5}': "gap: expected",
}


@pytest.mark.parametrize("frame", FRAMES)
async def test_a_server_that_breaks_the_subprotocol_is_left(engine: str, frame: str) -> None:
    told = []

    async def serve(peer: RawPeer) -> None:
        await peer.open(Sec_WebSocket_Protocol="sockwave.1")
        peer.write_frame(TEXT, frame.encode())
        told.append(await peer.receive_close())

    async with (
        raw_server(serve) as uri,
        sockwave.connect(uri, subprotocol="sockwave.1", engine=engine) as conn,
    ):
        await wait_until(lambda: told)
        with pytest.raises(sockwave.ConnectionClosed):
            await conn.receive_delivery()
    assert told[0][0] == 1002
    assert FRAMES[frame] in told[0][1]


# ---- from connection to connection


async def publish_numbers(server: sockwave.Server, count: int) -> None:
    for number in range(count):
        await server.publish("kept/a", str(number))
        if number % 7 == 0:
            await cut_all(server)
            await asyncio.sleep(0)


async def test_nothing_is_missed_and_nothing_comes_twice(
    start_server: StartServer, engine: str
) -> None:
    server = await start_topics(start_server)
    heard: list[str] = []
    publishing = asyncio.ensure_future(publish_numbers(server, 300))
    async for conn in connect(server, engine):
        conn.subscribe("kept/a", since="0-0")
        async for delivery in conn.deliveries():
            assert delivery.kind == "message"
            heard.append(delivery.message)
            if len(heard) == 300:
                break
        if len(heard) == 300:
            break
    await publishing
    assert heard == [str(number) for number in range(300)]


async def test_what_was_not_taken_comes_again(start_server: StartServer, engine: str) -> None:
    server = await start_topics(start_server)
    for number in range(10):
        await server.publish("kept/a", str(number))
    heard = []
    async for conn in connect(server, engine):
        conn.subscribe("kept/a", since="0-0")
        # The others have come, and are left with this connection.
        heard += await take(conn, 3)
        if len(heard) >= 9:
            break
        await wait_until(lambda conn=conn: len(conn._reception.queue) > 0)  # type: ignore[misc]
    assert heard == [str(number) for number in range(9)]


async def test_a_topic_without_a_history_tells_of_a_gap(
    start_server: StartServer, engine: str
) -> None:
    server = await start_topics(start_server)
    kinds = []
    async for conn in connect(server, engine):
        await conn.subscribe("room")
        await server.publish("room", "x")
        async for delivery in conn.deliveries():
            kinds.append((delivery.kind, delivery.message))
            if delivery.message:
                break
        if len(kinds) > 1:
            break
    assert kinds == [("message", "x"), ("gap", None), ("message", "x")]


async def test_a_refused_subscription_is_not_renewed(
    start_server: StartServer, engine: str, caplog: pytest.LogCaptureFixture
) -> None:
    server = await start_server(subprotocol="sockwave.1")
    allowed = {"one", "two"}
    server.on("subscribe", lambda conn, topic: topic in allowed)
    rounds = 0
    async for conn in connect(server, engine):
        rounds += 1
        if rounds == 1:
            await conn.subscribe("one")
            await conn.subscribe("two")
            allowed.remove("two")
        elif rounds == 2:
            assert conn.topics == ["one", "two"]
            with pytest.raises(sockwave.SockwaveError, match="does not allow it"):
                await conn.subscribe("two")
            assert conn.topics == ["one"]
        else:
            assert conn.topics == ["one"]
            break


async def test_what_is_unsubscribed_is_not_renewed(start_server: StartServer, engine: str) -> None:
    server = await start_topics(start_server)
    rounds = 0
    async for conn in connect(server, engine):
        rounds += 1
        if rounds == 1:
            await conn.subscribe("one")
            await conn.subscribe("two")
            await cut_all(server)
            await conn.wait_closed()
            assert conn.unsubscribe("one")
        else:
            assert conn.topics == ["two"]
            break


async def test_a_publish_is_sent_until_it_is_acknowledged(
    start_server: StartServer, engine: str
) -> None:
    seen: list[str] = []
    cuts = 0

    def cut_first(conn: sockwave.Connection, topic: str) -> bool:
        nonlocal cuts
        if cuts < 3:
            cuts += 1
            conn.abort()  # it is published, and not acknowledged
        return True

    server = await start_topics(start_server, cut_first)
    kept = server.topic("kept/a")
    outcomes = []
    async for conn in connect(server, engine):
        conn.subscribe("kept/a", since="0-0")
        if not outcomes:
            outcomes = [conn.publish("kept/a", str(number)) for number in range(10)]
            assert len({one.id for one in outcomes}) == 10
        try:
            positions = [await one for one in outcomes]
        except sockwave.ConnectionClosed:
            continue
        assert [one.position.offset for one in positions if one.position] == list(range(1, 11))
        seen += await take(conn, 10)
        assert not conn._dialogue.state.pending
        await kept.publish("end")
        assert await take(conn, 1) == ["end"]
        break
    assert cuts == 3
    assert seen == [str(number) for number in range(10)]


async def test_a_publish_of_too_long_ago_fails(start_server: StartServer, engine: str) -> None:
    silent = asyncio.Event()

    async def never(conn: sockwave.Connection, topic: str) -> bool:
        await silent.wait()
        return True

    server = await start_topics(start_server, never)
    outcome: Any = None
    async for conn in connect(server, engine):
        if outcome is None:
            outcome = conn.publish("kept/a", "x")
            fresh = conn.publish("kept/a", "y")
            pending = conn._dialogue.state.pending[outcome.id]
            pending.sent_at -= RESEND_S + 1
            conn._dialogue.state.pending[fresh.id].sent_at -= RESEND_S - 60
            await cut_all(server)
            with pytest.raises(sockwave.ConnectionClosed):
                await outcome
            continue
        with pytest.raises(sockwave.SockwaveError, match="it is published, or not"):
            await outcome
        silent.set()
        assert (await fresh).position is not None
        break


async def test_publishes_that_wait_are_bounded(start_server: StartServer, engine: str) -> None:
    gate = asyncio.Event()

    async def later(conn: sockwave.Connection, topic: str) -> bool:
        await gate.wait()
        return True

    server = await start_topics(start_server, later)
    async with connect(server, engine) as conn:
        outcomes = [conn.publish("kept/a", str(number)) for number in range(PENDING_COUNT)]
        with pytest.raises(sockwave.SockwaveError, match="at most 1000 messages that wait"):
            conn.publish("kept/a", "one more")
        with pytest.raises(sockwave.SockwaveError, match="at most 1000 messages that wait"):
            conn.append("stream", "one more")
        gate.set()
        for outcome in outcomes:
            await outcome
        await conn.publish("kept/a", "one more")


async def test_an_id_is_used_once(start_server: StartServer, engine: str) -> None:
    server = await start_topics(start_server)
    async with connect(server, engine) as conn:
        await conn.subscribe("kept/a")
        first = conn.publish("kept/a", "x", id="mine")
        with pytest.raises(ValueError, match="id: expected one of its own"):
            conn.publish("kept/a", "x", id="mine")
        position = (await first).position
        assert (await conn.publish("kept/a", "again", id="mine")).position == position
        assert await take(conn, 1) == ["x"]
        await conn.publish("kept/a", "y")
        assert await take(conn, 1) == ["y"]


# ---- flow control


async def test_a_client_that_takes_nothing_is_not_read(
    start_server: StartServer, engine: str
) -> None:
    server = await start_topics(start_server)
    async with connect(server, engine, queue_count=8) as conn:
        await conn.subscribe("kept/a")
        for number in range(200):
            await server.publish("kept/a", str(number))
        await wait_until(lambda: conn._reception._is_held)
        assert 8 <= len(conn._reception.queue) < 200
        assert await take(conn, 200) == [str(number) for number in range(200)]


async def test_the_task_that_takes_may_await_answers(
    start_server: StartServer, engine: str
) -> None:
    server = await start_topics(start_server)
    async with connect(server, engine, queue_count=2) as conn:
        await conn.subscribe("kept/a")
        for number in range(100):
            server.publish("kept/a", str(number))
        await wait_until(lambda: conn._reception._is_held)
        # Its answer comes behind what waits: more of that is kept than usual.
        await conn.publish("other", "x")
        assert await take(conn, 100) == [str(number) for number in range(100)]


async def test_an_answer_behind_too_much_is_not_waited_for(
    start_server: StartServer, engine: str
) -> None:
    server = await start_topics(start_server)
    async with connect(server, engine, queue_size=4096) as conn:
        await conn.subscribe("kept/a")
        for number in range(300):
            server.publish("kept/a", f"{number:>1000}")
        await wait_until(lambda: conn._reception._is_held)
        with pytest.raises(sockwave.SockwaveError, match="expected a task that takes the deliv"):
            await conn.members("kept/a")
        assert conn._reception.queue.size < 10 * 4096
        assert [int(text) for text in await take(conn, 300)] == list(range(300))


async def test_much_that_is_published_waits_for_the_server(
    start_server: StartServer, engine: str
) -> None:
    server = await start_topics(start_server, max_size=None)
    async with connect(server, engine, high_water=10_000, max_backlog=200_000) as conn:
        outcomes = [conn.publish("room", "x" * 50_000) for _ in range(100)]
        for outcome in outcomes:
            await outcome
        assert conn.is_open


# ---- nothing is left


async def test_connections_with_topics_leave_nothing(
    start_server: StartServer, engine: str
) -> None:
    server = await start_topics(start_server)
    before = count_descriptors()
    count = 0
    async for conn in connect(server, engine):
        conn.subscribe("kept/a", since="0-0")
        conn.publish("kept/a", "x")
        await conn.receive_delivery()
        count += 1
        if count == 20:
            break
        await cut_all(server)
    del conn
    await wait_until(lambda: (gc.collect(), count_descriptors() <= before)[1], "no descriptor")
    await wait_until(lambda: len(asyncio.all_tasks()) == 1, "no task")
    await wait_until(
        lambda: (
            gc.collect() is not None
            and not any(type(one) is TopicConnection for one in gc.get_objects())
        ),
        "no connection",
    )


AWAITED: list[Callable[[TopicConnection], Awaitable[Any]]] = [
    lambda conn: conn.subscribe("room"),
    lambda conn: conn.publish("room", "x"),
    lambda conn: conn.members("room"),
    lambda conn: conn.receive_delivery(),
]


async def test_tasks_that_wait_hear_of_the_end(start_server: StartServer, engine: str) -> None:
    server = await start_server(subprotocol="sockwave.1")

    async def never(conn: sockwave.Connection, topic: str) -> bool:
        await asyncio.Event().wait()
        return True

    server.on("subscribe", never)
    server.on("publish", never)
    async with connect(server, engine) as conn:
        tasks = [asyncio.ensure_future(call(conn)) for call in AWAITED[:2]]
        tasks += [asyncio.ensure_future(call(conn)) for call in AWAITED[2:]]
        await let_arrive()
        tasks[0].cancel()
        await cut_all(server)
        await asyncio.wait(tasks)
        assert tasks[0].cancelled()
        for task in tasks[1:]:
            with pytest.raises(sockwave.ConnectionClosed):
                task.result()

"""`sockwave.sync`: threads that speak `sockwave.1`, against our own server."""

import asyncio
import contextlib
import json
import threading
from collections.abc import Callable
from typing import Any

import pytest
from conftest import ErrorLog, StartServer
from raw_servers import RawPeer, raw_server
from reference import TEXT
from test_client_topics import FRAMES, start_topics
from threads import Stage, aside, count_threads, take, uri_of
from wire import PATIENCE_S, case, count_descriptors, wait_until

import sockwave
from sockwave import ConnectionClosed, Delivery, MemberChange, SockwaveError
from sockwave.client.topics.state import PENDING_COUNT, RESEND_S
from sockwave.sync import Connection, TopicConnection


@pytest.fixture
async def stage(start_server: StartServer, engine: str) -> Stage:
    """A server with topics, and threads that speak of them."""
    return Stage(await start_topics(start_server), engine)


def is_held(conn: TopicConnection) -> bool:
    return conn._dialogue.reception._is_held


def waiting_count(conn: TopicConnection) -> int:
    return len(conn._dialogue.reception.queue)


# ---- one connection


async def test_a_thread_hears_what_is_published(stage: Stage) -> None:
    def talk() -> TopicConnection:
        with stage.connect() as conn:
            assert isinstance(conn, TopicConnection)
            assert conn.subprotocol == "sockwave.1"
            assert conn.subscribe("room").result(PATIENCE_S) == (None, False)
            assert conn.topics == ["room"]
            stage.publish("room", "hello", b"\x00\xff")
            assert conn.receive_delivery(PATIENCE_S) == Delivery("room", "hello", None)
            assert conn.receive_delivery() == Delivery("room", b"\x00\xff", None)
            assert conn.unsubscribe("room")
            assert not conn.unsubscribe("room")
            assert conn.topics == []
            conn.subscribe("kept/a").result()
            stage.publish("room", "not for it")
            published = conn.publish("kept/a", "mine", id="an id")
            assert published.id == "an id"
            position = published.result(PATIENCE_S).position
            assert position is not None
            assert position.offset == 1
            assert published.result(timeout=0) == (position, 0)  # it is there already
            assert conn.receive_delivery(PATIENCE_S) == Delivery(
                "kept/a", "mine", position, "message", "an id"
            )
        return conn

    assert (await aside(talk)).close_code == 1000


async def test_a_message_comes_to_a_thread_that_waits_for_it(stage: Stage) -> None:
    def talk() -> None:
        with stage.connect() as conn:
            conn.subscribe("room").result(PATIENCE_S)
            heard: list[Any] = []
            thread = threading.Thread(target=lambda: heard.extend(take(conn, 3)))
            thread.start()
            for text in ("a", "b", "c"):
                stage.wait_until(lambda: conn._session._is_finished is False)
                stage.publish("room", text)
            thread.join(PATIENCE_S)
            assert heard == ["a", "b", "c"]

    await aside(talk)


async def test_deliveries_end_with_the_connection(stage: Stage) -> None:
    def talk() -> None:
        with stage.connect() as conn:
            conn.subscribe("room").result(PATIENCE_S)
            stage.publish("room", *map(str, range(5)), "last")
            heard = []
            for delivery in conn.deliveries():
                heard.append(delivery.message)
                if delivery.message == "last":
                    stage.call(lambda: [one.close(4000) for one in stage.server.connections])
            assert heard == ["0", "1", "2", "3", "4", "last"]
            calls: list[Callable[[], object]] = [
                conn.receive_delivery,
                lambda: conn.subscribe("room"),
                lambda: conn.publish("room", "x"),
                lambda: conn.members("room"),
                lambda: conn.send("x"),
                conn.recv,
            ]
            for call in calls:
                with pytest.raises(ConnectionClosed) as caught:
                    call()
                assert caught.value.code == 4000

    await aside(talk)


async def test_what_has_come_before_the_end_is_taken(stage: Stage) -> None:
    def talk() -> None:
        with stage.connect(queue_count=4) as conn:
            conn.subscribe("kept/a").result(PATIENCE_S)
            stage.publish("kept/a", *map(str, range(300)))
            stage.call(lambda: [one.close() for one in stage.server.connections])
            heard = [delivery.message for delivery in conn.deliveries()]
            assert heard == [str(number) for number in range(300)]

    await aside(talk)


async def test_ordinary_messages_go_their_own_way(stage: Stage) -> None:

    @stage.server.on("connection")
    def connected(conn: sockwave.Connection) -> None:
        @conn.on("message")
        def message(text: str) -> None:
            conn.send(json.dumps({"message": text}))
            conn.send(text)

    def talk() -> None:
        with stage.connect() as conn:
            conn.subscribe("room").result(PATIENCE_S)
            conn.send("hello")
            stage.publish("room", "of a topic")
            assert [conn.recv(PATIENCE_S) for _ in range(2)] == ["hello", "hello"]
            assert conn.receive_delivery(PATIENCE_S).message == "of a topic"
            # A thread for each kind of them.
            heard: list[Any] = []
            thread = threading.Thread(target=lambda: heard.append(conn.recv(PATIENCE_S)))
            thread.start()
            stage.publish("room", "one more")
            assert take(conn, 1) == ["one more"]
            conn.send("again")
            thread.join(PATIENCE_S)
            assert heard == ["again"]
            assert conn.ping() > 0
            with pytest.raises(TypeError, match="text messages only: expected str, given bytes"):
                conn.send(b"bytes")

    await aside(talk)


async def test_a_stream_comes_as_deltas(stage: Stage) -> None:
    def talk() -> None:
        with stage.connect() as conn, stage.connect() as late:
            conn.subscribe("answer").result(PATIENCE_S)
            conn.append("answer", "one ").result(PATIENCE_S)
            conn.append("answer", "two").result(PATIENCE_S)
            late.subscribe("answer", since="0-0").result(PATIENCE_S)
            conn.finish("answer").result(PATIENCE_S)
            for one, texts in ((conn, ["one ", "two"]), (late, ["one two"])):
                heard = [one.receive_delivery(PATIENCE_S) for _ in range(len(texts) + 1)]
                assert [(it.kind, it.message) for it in heard] == [
                    *(("delta", text) for text in texts),
                    ("finished", None),
                ]
            with pytest.raises(SockwaveError, match="append on 'answer'"):
                conn.append("answer", "more").result(PATIENCE_S)
            with pytest.raises(TypeError, match="delta: expected str, given bytes"):
                conn.append("answer", b"more")  # type: ignore[arg-type]

    await aside(talk)


async def test_members_are_told(stage: Stage) -> None:
    stage.server.topic("lobby", presence=True)

    def talk() -> None:
        with stage.connect() as ann, stage.connect() as bob:
            ann.subscribe("lobby", data={"name": "ann"}).result(PATIENCE_S)
            bob.subscribe("lobby", data={"name": "bob"}).result(PATIENCE_S)
            here = bob.members("lobby", timeout=PATIENCE_S)
            assert sorted(one["name"] for one in here.values()) == ["ann", "bob"]
            bob.subscribe("lobby", data={"name": "robert"})
            here = bob.members("lobby")
            assert sorted(one["name"] for one in here.values()) == ["ann", "robert"]
            with pytest.raises(SockwaveError, match="members 'other'"):
                ann.members("other", PATIENCE_S)

    await aside(talk)


async def test_who_comes_and_goes_is_told(stage: Stage) -> None:
    stage.server.topic("lobby", presence=True)

    def talk() -> None:
        with stage.connect() as ann:
            ann.subscribe("lobby", data={"name": "ann"}).result(PATIENCE_S)
            heard: list[MemberChange] = []
            thread = threading.Thread(target=lambda: heard.extend(ann.member_changes()))
            thread.start()
            stage.wait_until(lambda: len(heard) == 1)  # who is there already
            with stage.connect() as bob:
                bob.subscribe("lobby", data="bob").result(PATIENCE_S)
                stage.wait_until(lambda: len(heard) == 2)
                bob.subscribe("lobby", data="robert")
                stage.wait_until(lambda: len(heard) == 3)
                # Deliveries go their own way.
                bob.publish("lobby", "hello").result(PATIENCE_S)
                assert take(ann, 1) == ["hello"]
            stage.wait_until(lambda: len(heard) == 4)
        thread.join(PATIENCE_S)
        assert not thread.is_alive()  # it ends with the connection
        assert [(one.kind, one.data) for one in heard] == [
            ("join", {"name": "ann"}),
            ("join", "bob"),
            ("join", "robert"),
            ("leave", "robert"),
        ]
        assert {one.topic for one in heard} == {"lobby"}
        assert len({one.key for one in heard}) == 2

    await aside(talk)


async def test_who_came_and_went_meanwhile_is_not_told_and_does_not_pile_up(stage: Stage) -> None:
    stage.server.topic("lobby", presence=True)

    def talk() -> None:
        with stage.connect() as ann:
            ann.subscribe("lobby", data="ann").result(PATIENCE_S)
            assert ann.receive_member_change(PATIENCE_S).data == "ann"
            changes = ann._dialogue.state.changes
            members = ann._dialogue.state.subscriptions["lobby"].members
            for number in range(3):
                with stage.connect() as guest:
                    guest.subscribe("lobby", data=number).result(PATIENCE_S)
                    stage.wait_until(lambda: len(members) == 2)
                    assert len(changes) == 1
                stage.wait_until(lambda: len(members) == 1)
                assert len(changes) == 0
            with pytest.raises(TimeoutError, match="receive_member_change: expected changes of"):
                ann.receive_member_change(0)
            ann.subscribe("other").result(PATIENCE_S)
            ann.subscribe("lobby", data="anna")
            stage.wait_until(lambda: len(changes) == 1)
            ann.unsubscribe("lobby")
            assert len(changes) == 0

    await aside(talk)


async def test_who_came_and_went_between_two_connections_is_told(stage: Stage) -> None:
    stage.server.topic("lobby", presence=True)

    def talk() -> None:
        with stage.connect() as bob:
            bob.subscribe("lobby", data="bob").result(PATIENCE_S)
            conns = iter(stage.connect())
            ann = next(conns)
            ann.subscribe("lobby", data="ann").result(PATIENCE_S)
            here = {ann.receive_member_change(PATIENCE_S).data for _ in range(2)}
            assert here == {"ann", "bob"}
            ann.close()
            with pytest.raises(ConnectionClosed):
                ann.receive_member_change(PATIENCE_S)
            bob.unsubscribe("lobby")
            bob.subscribe("room").result(PATIENCE_S)  # it has left by then
            ann = next(conns)
            # As each connection is a member of its own, ours is another one now.
            heard = [ann.receive_member_change(PATIENCE_S) for _ in range(3)]
            assert sorted((one.kind, one.data) for one in heard) == [
                ("join", "ann"),
                ("leave", "ann"),
                ("leave", "bob"),
            ]
            with stage.connect() as carl:
                carl.subscribe("lobby", data="carl").result(PATIENCE_S)
                assert ann.receive_member_change(PATIENCE_S).data == "carl"

    await aside(talk)


async def test_patterns_hear_all_that_they_match(stage: Stage) -> None:
    def talk() -> None:
        with stage.connect() as conn:
            with pytest.raises(ValueError, match="since: expected with one topic"):
                conn.subscribe("room/*", since="0-0")
            conn.subscribe("room/*").result(PATIENCE_S)
            stage.publish("room/7", "one")
            stage.publish("room/8", "two")
            assert take(conn, 2) == ["one", "two"]

    await aside(talk)


# ---- several threads at once


async def test_threads_publish_and_receive_at_once(stage: Stage) -> None:
    def talk() -> None:
        # A small queue, so that the socket is not read every now and then.
        with stage.connect(queue_count=16) as conn:
            conn.subscribe("kept/a").result(PATIENCE_S)
            failures: list[BaseException] = []

            def publish(name: int) -> None:
                try:
                    for number in range(100):
                        outcome = conn.publish("kept/a", f"{name} {number}")
                        if number % 10 == 9:
                            assert outcome.result(PATIENCE_S).position is not None
                except BaseException as error:
                    failures.append(error)

            threads = [threading.Thread(target=publish, args=(name,)) for name in range(3)]
            for thread in threads:
                thread.start()
            heard = take(conn, 300)
            for thread in threads:
                thread.join(PATIENCE_S)
            assert not failures
            for name in range(3):
                own = [one for one in heard if one.startswith(f"{name} ")]
                assert own == [f"{name} {number}" for number in range(100)]

    await aside(talk)


async def test_one_thread_at_a_time_takes_deliveries(stage: Stage) -> None:
    def talk() -> None:
        with stage.connect() as conn:
            conn.subscribe("room").result(PATIENCE_S)
            refused: list[str] = []
            found: list[Any] = []

            def receive() -> None:
                # Whichever of the two comes second is refused.
                try:
                    found.append(conn.receive_delivery(PATIENCE_S).message)
                except SockwaveError as error:
                    refused.append(str(error))
                    stage.publish("room", "hello")

            threads = [threading.Thread(target=receive) for _ in range(2)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join(PATIENCE_S)
            assert found == ["hello"]
            assert len(refused) == 1
            assert "one thread at a time that takes deliveries" in refused[0]

    await aside(talk)


# ---- what goes wrong


async def test_timeouts_leave_the_connection_open(start_server: StartServer, engine: str) -> None:
    gate = asyncio.Event()

    async def later(conn: sockwave.Connection, topic: str) -> bool:
        await gate.wait()
        return True

    stage = Stage(await start_topics(start_server, later), engine)
    stage.server.topic("lobby", presence=True)

    def talk() -> None:
        with stage.connect() as conn:
            conn.subscribe("kept/a").result(PATIENCE_S)
            for timeout in (0, 0.01):
                with pytest.raises(TimeoutError, match="receive_delivery"):
                    conn.receive_delivery(timeout)
            outcome = conn.publish("kept/a", "x")
            for timeout in (0, 0.01):
                with pytest.raises(TimeoutError, match="result"):
                    outcome.result(timeout)
            with pytest.raises(TimeoutError, match="members"):
                conn.members("lobby", timeout=0)
            assert not conn._dialogue.reception._awaited
            for timeout, error in (("1", TypeError), (True, TypeError), (-1, ValueError)):
                calls: list[Callable[[Any], object]] = [
                    conn.receive_delivery,
                    outcome.result,
                    lambda timeout: conn.members("lobby", timeout),
                ]
                for call in calls:
                    with pytest.raises(error, match="timeout: expected"):
                        call(timeout)
            stage.call(gate.set)
            position = outcome.result(PATIENCE_S).position
            assert conn.receive_delivery(PATIENCE_S).position == position

    await aside(talk)


async def test_what_is_refused_is_told(
    start_server: StartServer, engine: str, caplog: pytest.LogCaptureFixture
) -> None:
    server = await start_server(subprotocol="sockwave.1", subscription_count=2)
    server.on("subscribe", lambda conn, topic: topic != "secret")
    stage = Stage(server, engine)

    def talk() -> None:
        with stage.connect() as conn:
            with pytest.raises(SockwaveError, match="the application does not allow it"):
                conn.subscribe("secret").result(PATIENCE_S)
            assert conn.topics == []
            conn.subscribe("open").result(PATIENCE_S)
            outcome = conn.publish("open", "x")
            for _ in range(2):
                with pytest.raises(SockwaveError, match="the application does not allow it"):
                    outcome.result(PATIENCE_S)
            conn.publish("open", "y")
            conn.subscribe("secret")
            conn.subscribe("other").result(PATIENCE_S)
            with pytest.raises(SockwaveError, match="subscription_count"):
                conn.subscribe("third").result(PATIENCE_S)
            assert conn.topics == ["open", "other"]
            assert conn.is_open

    await aside(talk)
    await wait_until(lambda: "publish on 'open': the server refuses it" in caplog.text)
    await wait_until(lambda: "subscribe 'secret': the server refuses it" in caplog.text)


async def test_wrong_arguments_raise_at_once(stage: Stage) -> None:
    calls: dict[str, Callable[[Any], object]] = {
        "subscribe: expected a topic as str, given int": lambda conn: conn.subscribe(5),
        "since: expected a position as 'EPOCH": lambda conn: conn.subscribe("a", since="no"),
        "member: expected None": lambda conn: conn.subscribe("a", member="me"),
        "unsubscribe: expected a topic as str": lambda conn: conn.unsubscribe(None),
        "publish: expected str or bytes-like, given float": lambda conn: conn.publish("a", 1.5),
        "publish: expected no lone surrogate": lambda conn: conn.publish("a", "\ud800"),
        "id: expected 1 to 255 bytes": lambda conn: conn.publish("a", "b", id="x" * 256),
    }

    def talk() -> None:
        with stage.connect() as conn:
            for sentence, call in calls.items():
                with case(sentence), pytest.raises((TypeError, ValueError), match=sentence):
                    call(conn)
            assert conn.topics == []
            assert not conn._dialogue.state.pending
            conn.publish("a", "b", id="x" * 255).result(PATIENCE_S)

    await aside(talk)


async def test_a_server_without_the_subprotocol_is_told_of(
    start_server: StartServer, engine: str
) -> None:
    server = await start_server()
    server.on("connection", lambda conn: conn.on("message", conn.send))
    stage = Stage(server, engine)

    def talk() -> None:
        with stage.connect() as conn:
            assert conn.subprotocol is None
            conn.send(b"as it is")
            assert conn.recv(PATIENCE_S) == b"as it is"
            assert conn.topics == []
            calls: dict[str, Callable[[], object]] = {
                "subscribe": lambda: conn.subscribe("a"),
                "unsubscribe": lambda: conn.unsubscribe("a"),
                "publish": lambda: conn.publish("a", "b"),
                "members": lambda: conn.members("a"),
                "deliveries": conn.deliveries,
                "receive_delivery": conn.receive_delivery,
                "member_changes": conn.member_changes,
            }
            for name, call in calls.items():
                sentence = f"conn.{name}: expected a server that speaks"
                with case(name), pytest.raises(SockwaveError, match=sentence):
                    call()
        with sockwave.sync.connect(uri_of(server), subprotocol="other", engine=engine) as other:
            assert type(other) is Connection

    await aside(talk)


async def test_a_server_that_breaks_the_subprotocol_is_left(engine: str) -> None:
    frame = next(iter(FRAMES))
    told = []

    async def serve(peer: RawPeer) -> None:
        await peer.open(Sec_WebSocket_Protocol="sockwave.1")
        peer.write_frame(TEXT, frame.encode())
        told.append(await peer.receive_close())

    def talk(uri: str) -> None:
        with (
            sockwave.sync.connect(
                uri, subprotocol="sockwave.1", engine=engine, close_timeout=0.1
            ) as conn,
            pytest.raises(ConnectionClosed),
        ):
            conn.receive_delivery(PATIENCE_S)

    async with raw_server(serve) as uri:
        await aside(talk, uri)
    assert told[0][0] == 1002
    assert FRAMES[frame] in told[0][1]


WAITING: list[Callable[[TopicConnection], object]] = [
    lambda conn: conn.subscribe("room").result(),
    lambda conn: conn.publish("room", "x").result(),
    lambda conn: conn.members("room"),
    lambda conn: conn.receive_delivery(),
    lambda conn: conn.receive_member_change(),
    lambda conn: conn.recv(),
]


@pytest.mark.parametrize("end", ["lost", "closed"])
async def test_threads_that_wait_hear_of_the_end(
    start_server: StartServer, engine: str, end: str
) -> None:
    server = await start_server(subprotocol="sockwave.1")
    asked: list[str] = []

    async def never(conn: sockwave.Connection, topic: str) -> bool:
        asked.append(topic)
        await asyncio.Event().wait()
        return True

    server.on("subscribe", never)
    server.on("publish", never)
    stage = Stage(server, engine)

    def talk() -> None:
        conn = stage.connect().open()
        codes: list[int] = []

        def wait(call: Callable[[TopicConnection], object]) -> None:
            with pytest.raises(ConnectionClosed) as caught:
                call(conn)
            codes.append(caught.value.code)

        threads = [threading.Thread(target=wait, args=(call,)) for call in WAITING]
        threads[0].start()
        stage.wait_until(lambda: asked)  # the server answers no more
        for thread in threads[1:]:
            thread.start()
        stage.wait_until(lambda: len(conn._dialogue.reception._awaited) == 3)
        if end == "lost":
            stage.cut_all()
        else:
            conn.close(4001)
        for thread in threads:
            thread.join(PATIENCE_S)
        assert not any(thread.is_alive() for thread in threads)
        assert codes == [1006 if end == "lost" else 4001] * len(WAITING)
        conn.close()

    await aside(talk)


# ---- flow control


async def test_a_client_that_takes_nothing_is_not_read(stage: Stage) -> None:
    def talk() -> None:
        with stage.connect(queue_count=8) as conn:
            conn.subscribe("kept/a").result(PATIENCE_S)
            stage.publish("kept/a", *map(str, range(200)))
            stage.wait_until(lambda: is_held(conn))
            assert 8 <= waiting_count(conn) < 200
            assert take(conn, 200) == [str(number) for number in range(200)]
            stage.wait_until(lambda: not is_held(conn))

    await aside(talk)


async def test_the_thread_that_takes_may_wait_for_answers(stage: Stage) -> None:
    def talk() -> None:
        with stage.connect(queue_count=2) as conn:
            conn.subscribe("kept/a").result(PATIENCE_S)
            stage.publish("kept/a", *map(str, range(100)))
            stage.wait_until(lambda: is_held(conn))
            # Its answer comes behind what waits: more of that is kept than usual.
            conn.publish("other", "x").result(PATIENCE_S)
            assert take(conn, 100) == [str(number) for number in range(100)]

    await aside(talk)


async def test_an_answer_behind_too_much_is_not_waited_for(stage: Stage) -> None:
    def talk() -> None:
        with stage.connect(queue_size=4096) as conn:
            conn.subscribe("kept/a").result(PATIENCE_S)
            stage.publish("kept/a", *(f"{number:>1000}" for number in range(300)))
            stage.wait_until(lambda: is_held(conn))
            with pytest.raises(SockwaveError, match="that takes the deliveries before it"):
                conn.members("kept/a", PATIENCE_S)
            assert conn._dialogue.reception.queue.size < 10 * 4096
            assert [int(text) for text in take(conn, 300)] == list(range(300))

    await aside(talk)


async def test_publishes_that_wait_are_bounded(start_server: StartServer, engine: str) -> None:
    gate = asyncio.Event()

    async def later(conn: sockwave.Connection, topic: str) -> bool:
        await gate.wait()
        return True

    stage = Stage(await start_topics(start_server, later), engine)

    def talk() -> None:
        with stage.connect() as conn:
            outcomes = [conn.publish("kept/a", str(number)) for number in range(PENDING_COUNT)]
            with pytest.raises(SockwaveError, match="at most 1000 messages that wait"):
                conn.publish("kept/a", "one more")
            stage.call(gate.set)
            for outcome in outcomes:
                outcome.result(PATIENCE_S)
            conn.publish("kept/a", "one more").result(PATIENCE_S)

    await aside(talk)


async def test_much_that_is_published_waits_for_the_server(
    start_server: StartServer, engine: str
) -> None:
    stage = Stage(await start_topics(start_server, max_size=None), engine)

    def talk() -> None:
        with stage.connect(high_water=10_000, max_backlog=200_000) as conn:
            outcomes = [conn.publish("room", "x" * 50_000) for _ in range(100)]
            for outcome in outcomes:
                outcome.result(PATIENCE_S)
            assert conn.is_open

    await aside(talk)


# ---- from connection to connection


async def test_nothing_is_missed_and_nothing_comes_twice(stage: Stage) -> None:
    def publish() -> None:
        for number in range(300):
            stage.publish("kept/a", str(number))
            if number % 7 == 0:
                stage.cut_all()

    def talk() -> int:
        thread = threading.Thread(target=publish)
        thread.start()
        heard: list[Any] = []
        connection_count = 0
        for conn in stage.connect():
            connection_count += 1
            with contextlib.suppress(ConnectionClosed):  # it may be lost by now
                conn.subscribe("kept/a", since="0-0")
            for delivery in conn.deliveries():
                assert delivery.kind == "message"
                heard.append(delivery.message)
                if len(heard) == 300:
                    break
            if len(heard) == 300:
                break
        thread.join(PATIENCE_S)
        assert heard == [str(number) for number in range(300)]
        return connection_count

    assert await aside(talk) > 1


async def test_what_was_not_taken_comes_again(stage: Stage) -> None:
    def talk() -> None:
        stage.publish("kept/a", *map(str, range(10)))
        heard = []
        for conn in stage.connect():
            conn.subscribe("kept/a", since="0-0")
            # The others have come, and are left with this connection.
            heard += take(conn, 3)
            if len(heard) == 9:
                break
            stage.wait_until(lambda conn=conn: waiting_count(conn) > 0)  # type: ignore[misc]
        assert heard == [str(number) for number in range(9)]

    await aside(talk)


async def test_a_publish_is_sent_until_it_is_acknowledged(
    start_server: StartServer, engine: str
) -> None:
    cuts = 0

    def cut_first(conn: sockwave.Connection, topic: str) -> bool:
        nonlocal cuts
        if cuts < 3:
            cuts += 1
            conn.abort()  # it is published, and not acknowledged
        return True

    stage = Stage(await start_topics(start_server, cut_first), engine)

    def talk() -> None:
        conns = iter(stage.connect())
        conn = next(conns)
        conn.subscribe("kept/a", since="0-0").result(PATIENCE_S)
        outcomes = [conn.publish("kept/a", "0")]
        with pytest.raises(ConnectionClosed):
            outcomes[0].result(PATIENCE_S)
        for conn in conns:
            with contextlib.suppress(ConnectionClosed):
                while len(outcomes) < 10:
                    outcomes.append(conn.publish("kept/a", str(len(outcomes))))
            try:
                positions = [one.result(PATIENCE_S).position for one in outcomes]
            except ConnectionClosed:
                continue
            if len(outcomes) == 10:
                break
        assert [one.offset for one in positions if one] == list(range(1, 11))
        assert not conn._dialogue.state.pending
        conn.publish("kept/a", "end")
        assert take(conn, 11) == [*map(str, range(10)), "end"]
        del conns
        assert conn.close_code is not None

    await aside(talk)
    assert cuts == 3


async def test_a_publish_of_too_long_ago_fails(start_server: StartServer, engine: str) -> None:
    silent = asyncio.Event()

    async def never(conn: sockwave.Connection, topic: str) -> bool:
        await silent.wait()
        return True

    stage = Stage(await start_topics(start_server, never), engine)

    def talk() -> None:
        conns = iter(stage.connect())
        conn = next(conns)
        old, fresh = conn.publish("kept/a", "x"), conn.publish("kept/a", "y")
        pending = conn._dialogue.state.pending[old.id]
        assert pending.sent_at is not None
        pending.sent_at -= RESEND_S + 1
        stage.cut_all()
        with pytest.raises(ConnectionClosed):
            old.result(PATIENCE_S)
        next(conns)
        with pytest.raises(SockwaveError, match="it is published, or not"):
            old.result(PATIENCE_S)
        stage.call(silent.set)
        assert fresh.result(PATIENCE_S).position is not None

    await aside(talk)


# ---- nothing is left


async def test_connections_with_topics_leave_nothing(stage: Stage) -> None:
    def talk(count: int) -> None:
        for _, conn in zip(range(count), stage.connect(), strict=False):
            conn.subscribe("kept/a", since="0-0")
            conn.publish("kept/a", "x").result(PATIENCE_S)
            conn.receive_delivery(PATIENCE_S)

    await aside(talk, 2)
    await wait_until(lambda: not stage.server.connections)
    before, threads = count_descriptors(), count_threads()
    await aside(talk, 20)
    await wait_until(lambda: not stage.server.connections)
    await wait_until(lambda: count_descriptors() <= before)
    assert count_threads() == threads


async def test_a_connection_that_is_dropped_is_reset(stage: Stage) -> None:
    def talk() -> None:
        conn: TopicConnection | None = stage.connect().open()
        assert conn is not None
        conn.subscribe("room").result(PATIENCE_S)
        with pytest.warns(ResourceWarning, match="unclosed <Connection"):
            conn = None
        stage.wait_until(lambda: not stage.server.connections)

    await aside(talk)


async def test_errors_of_the_server_are_logged_once_the_lock_is_free(
    engine: str, error_log: ErrorLog, caplog: pytest.LogCaptureFixture
) -> None:
    async def serve(peer: RawPeer) -> None:
        await peer.open(Sec_WebSocket_Protocol="sockwave.1")
        peer.write_frame(TEXT, b'{"error": "no such thing"}')
        peer.write_frame(TEXT, b"ordinary")
        await peer.receive_close()

    def talk(uri: str) -> None:
        with sockwave.sync.connect(
            uri, subprotocol="sockwave.1", engine=engine, close_timeout=0.1
        ) as conn:
            assert conn.recv(PATIENCE_S) == "ordinary"

    async with raw_server(serve) as uri:
        await aside(talk, uri)
    await wait_until(lambda: "the server has refused a frame: no such thing" in caplog.text)

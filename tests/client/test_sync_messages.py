"""`sockwave.sync`: messages of threads without asyncio, against our own server."""

import asyncio
import contextlib
import logging
import os
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
import reference
from conftest import ErrorLog, StartServer
from raw_servers import RawPeer, raw_server
from reference import CONTINUATION, PING, PONG, TEXT, Frame
from threads import aside, uri_of
from wire import PATIENCE_S, reset_at_close, settle, wait_until

import sockwave
from sockwave import ConnectionClosed, ReadyState, SockwaveError
from sockwave.sync import Connection, connect


async def test_messages_go_both_ways(echo_server: sockwave.Server, engine: str) -> None:
    def talk() -> Connection:
        with connect(uri_of(echo_server), engine=engine) as conn:
            assert conn.is_open
            assert conn.ready_state is ReadyState.CONNECTED
            for message in ("text", "", "ü" * 70, b"bytes", b"", b"x" * 65536, "y" * (1 << 20)):
                conn.send(message)
                assert conn.recv(timeout=PATIENCE_S) == message
            conn.send(bytearray(b"mutable"))
            assert conn.recv() == b"mutable"
        return conn

    conn = await aside(talk)
    assert (conn.close_code, conn.close_reason) == (1000, "")
    assert conn.ready_state is ReadyState.CLOSED
    assert not conn.is_open
    await wait_until(lambda: not echo_server.connections)


async def test_what_a_connection_tells(start_server: StartServer, engine: str) -> None:
    server = await start_server(subprotocol=["b"])

    def talk() -> None:
        with connect(uri_of(server), engine=engine, subprotocol=["a", "b"]) as conn:
            assert conn.id > 0
            assert conn.version == "rfc6455"
            assert conn.subprotocol == "b"
            assert conn.request.target == "/"
            assert conn.response_headers.get("upgrade") == "websocket"
            assert conn.remote_address == server.addresses[0]
            assert conn.local_address is not None
            assert (conn.tls, conn.is_secure) == (None, False)
            assert (conn.latency, conn.lag) == (None, None)
            assert (conn.close_code, conn.close_reason) == (None, None)
            assert (conn.backlog_size, conn.dropped_count) == (0, 0)
            conn.data["mine"] = 1
            assert conn.data == {"mine": 1}
            assert repr(conn).startswith(f"<Connection {conn.id} ")
            assert conn.ping() > 0
            assert conn.latency

    await aside(talk)


async def test_fragments_are_one_message(engine: str) -> None:
    async def answering(peer: RawPeer) -> None:
        await peer.open()
        peer.write_frame(TEXT, b"one ", fin=False)
        peer.write_frame(PING, b"amid")
        peer.write_frame(CONTINUATION, b"message")
        assert (await peer.receive_frame()).opcode == PONG
        await peer.receive_close()

    def talk(uri: str) -> None:
        with connect(uri, engine=engine, close_timeout=0.1) as conn:
            assert conn.recv() == "one message"

    async with raw_server(answering) as uri:
        await aside(talk, uri)


async def test_timeouts_leave_the_connection_open(
    echo_server: sockwave.Server, engine: str
) -> None:
    def talk() -> None:
        with connect(uri_of(echo_server), engine=engine) as conn:
            for timeout in (0, 0.01):
                begin = time.monotonic()
                with pytest.raises(TimeoutError, match="recv"):
                    conn.recv(timeout)
                assert time.monotonic() - begin >= timeout
            conn.send("late")
            assert conn.recv(timeout=PATIENCE_S) == "late"
            conn.send("again")
            while True:  # what has come needs no waiting
                try:
                    assert conn.recv(timeout=0) == "again"
                except TimeoutError:
                    continue
                break

    await aside(talk)


@pytest.mark.parametrize(
    ("timeout", "error"), [("1", TypeError), (True, TypeError), (-1, ValueError)]
)
async def test_wrong_timeouts(
    echo_server: sockwave.Server, engine: str, timeout: Any, error: type[Exception]
) -> None:
    def talk() -> None:
        with connect(uri_of(echo_server), engine=engine) as conn, pytest.raises(error):
            conn.recv(timeout)

    await aside(talk)


async def test_wrong_messages_are_refused_and_nothing_is_sent(
    echo_server: sockwave.Server, engine: str
) -> None:
    def talk() -> None:
        with connect(uri_of(echo_server), engine=engine) as conn:
            with pytest.raises(TypeError):
                conn.send(1.5)  # type: ignore[arg-type]
            with pytest.raises(ValueError, match="surrogate"):
                conn.send("\ud800")
            with pytest.raises(ValueError, match="125"):
                conn.ping(b"x" * 126)
            with pytest.raises(ValueError, match="close code"):
                conn.close(1005)
            conn.send("right")
            assert conn.recv() == "right"

    await aside(talk)


async def test_pings_are_answered_while_nobody_calls(engine: str) -> None:
    before, behind = threading.Event(), threading.Event()

    async def assert_answered(peer: RawPeer, payload: bytes) -> None:
        peer.write_frame(PING, payload)
        frame = await peer.receive_frame()
        assert (frame.opcode, frame.payload) == (PONG, payload)

    async def answering(peer: RawPeer) -> None:
        await peer.open()
        await assert_answered(peer, b"before")
        peer.write_frame(TEXT, b"taken")
        before.set()
        assert await peer.receive_text() == "mine"
        # Now behind a call that has read the socket itself.
        await assert_answered(peer, b"behind")
        await assert_answered(peer, b"again")
        peer.write_frame(TEXT, b"done")
        behind.set()
        await peer.receive_close()

    def talk(uri: str) -> None:
        with connect(uri, engine=engine, close_timeout=0.1) as conn:
            assert before.wait(PATIENCE_S)
            assert conn.recv() == "taken"
            with pytest.raises(TimeoutError):
                conn.recv(timeout=0.001)
            conn.send("mine")
            assert behind.wait(PATIENCE_S)
            assert conn.recv() == "done"

    async with raw_server(answering) as uri:
        await aside(talk, uri)


async def test_keepalive_of_the_client_runs_while_nobody_calls(engine: str) -> None:
    async def answering(peer: RawPeer) -> None:
        await peer.open()
        assert (await peer.receive_frame()).opcode == PING
        code, _ = await peer.receive_close()  # no pong has come
        assert code == 1011

    def talk(uri: str) -> None:
        options: Any = {"ping_interval": 0.1, "ping_timeout": 0.1, "close_timeout": 0.1}
        conn = connect(uri, engine=engine, **options).open()
        with pytest.raises(ConnectionClosed):
            conn.recv()
        assert conn.close_code == 1011

    async with raw_server(answering) as uri:
        await aside(talk, uri)


async def test_iteration_ends_with_the_connection(start_server: StartServer, engine: str) -> None:
    server = await start_server()

    @server.on("connection")
    def connected(conn: sockwave.Connection) -> None:
        for number in range(100):
            conn.send(str(number))
        conn.close(4000, "enough")

    def talk() -> None:
        with connect(uri_of(server), engine=engine) as conn:
            assert list(conn) == [str(number) for number in range(100)]
            assert (conn.close_code, conn.close_reason) == (4000, "enough")
            for call in (conn.recv, conn.ping, lambda: conn.send("late")):
                with pytest.raises(ConnectionClosed) as caught:
                    call()
                assert caught.value.code == 4000
            conn.close()  # nothing happens
            assert conn.close_code == 4000

    await aside(talk)


async def test_close_waits_for_the_server(echo_server: sockwave.Server, engine: str) -> None:
    closed: list[tuple[int, str]] = []
    echo_server.on("connection", lambda conn: conn.on("close", lambda *end: closed.append(end)))

    def talk() -> Connection:
        conn = connect(uri_of(echo_server), engine=engine).open()
        conn.close(4001, "by us")
        return conn

    conn = await aside(talk)
    assert (conn.close_code, closed) == (4001, [(4001, "by us")])


@pytest.mark.parametrize(("error", "code"), [(ValueError, 1011), (KeyboardInterrupt, 1001)])
async def test_code_says_how_the_block_ended(
    echo_server: sockwave.Server, engine: str, error: type[BaseException], code: int
) -> None:
    def talk() -> Connection:
        with pytest.raises(error), connect(uri_of(echo_server), engine=engine) as conn:
            raise error
        return conn

    assert (await aside(talk)).close_code == code


async def test_another_thread_may_end_what_waits(echo_server: sockwave.Server, engine: str) -> None:
    def talk(end: Callable[[Connection], None]) -> int:
        conn = connect(uri_of(echo_server), engine=engine).open()
        ended: list[int] = []

        def receive() -> None:
            with pytest.raises(ConnectionClosed) as caught:
                conn.recv()
            ended.append(caught.value.code)

        thread = threading.Thread(target=receive)
        thread.start()
        conn.ping()
        end(conn)
        thread.join(PATIENCE_S)
        return ended[0]

    assert await aside(talk, lambda conn: conn.close(4002)) == 4002
    assert await aside(talk, lambda conn: conn.abort()) == 1006


async def test_one_thread_sends_and_another_receives(
    echo_server: sockwave.Server, engine: str
) -> None:
    # More than all buffers hold, so that each waits for the other.
    messages = [bytes([number]) * 100_000 for number in range(200)]

    def talk() -> None:
        with connect(uri_of(echo_server), engine=engine) as conn:
            thread = threading.Thread(target=lambda: [conn.send(one) for one in messages])
            thread.start()
            for message in messages:
                assert conn.recv(timeout=PATIENCE_S) == message
            thread.join(PATIENCE_S)

    await aside(talk)


async def test_many_threads_send(echo_server: sockwave.Server, engine: str) -> None:
    def talk() -> list[str | bytes]:
        with connect(uri_of(echo_server), engine=engine) as conn:

            def send(name: int) -> None:
                for number in range(100):
                    conn.send(f"{name} {number}")

            threads = [threading.Thread(target=send, args=(name,)) for name in range(4)]
            for thread in threads:
                thread.start()
            found = [conn.recv(timeout=PATIENCE_S) for _ in range(400)]
            for thread in threads:
                thread.join(PATIENCE_S)
        return found

    found = await aside(talk)
    for name in range(4):
        own = [one for one in found if isinstance(one, str) and one.startswith(f"{name} ")]
        assert own == [f"{name} {number}" for number in range(100)]


async def test_threads_that_send_wait_for_each_others_messages(engine: str) -> None:
    """All at once they are more than `max_backlog`, with which the connection would fail."""
    sizes: list[int] = []
    begun = asyncio.Event()

    async def answering(peer: RawPeer) -> None:
        await peer.open()
        await begun.wait()
        sizes.extend([len((await peer.receive_frame()).payload) for _ in range(16)])
        await peer.receive_close()

    def talk(uri: str, begin: Callable[[], object]) -> None:
        options: dict[str, Any] = {"high_water": 100_000, "max_backlog": 2_500_000}
        with connect(uri, engine=engine, close_timeout=0.1, **options) as conn:
            threads = [
                threading.Thread(target=conn.send, args=(bytes(1_000_000),)) for _ in range(16)
            ]
            for thread in threads:
                thread.start()
            begin()
            for thread in threads:
                thread.join(PATIENCE_S)

    loop = asyncio.get_running_loop()
    async with raw_server(answering) as uri:
        await aside(talk, uri, lambda: loop.call_soon_threadsafe(begun.set))
    assert sizes == [1_000_000] * 16


async def test_wait_behind_a_receiver_whose_time_is_over(engine: str) -> None:
    """What another thread waits for is read at once, and not when the socket is looked at next."""
    over = asyncio.Event()

    async def answering(peer: RawPeer) -> None:
        await peer.open()
        for _ in range(5):
            frame = await peer.receive_frame()
            await over.wait()
            over.clear()
            peer.write_frame(PONG, frame.payload)
        await peer.receive_close()

    def talk(uri: str, tell: Callable[[], object]) -> list[float]:
        waits: list[float] = []
        with connect(uri, engine=engine, close_timeout=0.1) as conn:

            def ping() -> None:
                conn.ping()
                waits.append(time.monotonic())

            for _ in range(5):
                thread = threading.Thread(target=ping)
                thread.start()
                with pytest.raises(TimeoutError):
                    conn.recv(timeout=0.02)
                begin = time.monotonic()
                tell()
                thread.join(PATIENCE_S)
                waits[-1] -= begin
        return waits

    loop = asyncio.get_running_loop()
    async with raw_server(answering) as uri:
        waits = await aside(talk, uri, lambda: loop.call_soon_threadsafe(over.set))
    assert min(waits) < 0.05


async def test_handler_of_logs_may_use_connections(
    echo_server: sockwave.Server, engine: str, error_log: ErrorLog
) -> None:
    sent: list[str | bytes] = []
    told = threading.Event()

    def fail(_: object) -> None:
        raise LookupError("no key")

    def talk() -> None:
        with connect(uri_of(echo_server), engine=engine) as own:

            class Handler(logging.Handler):
                def emit(self, record: logging.LogRecord) -> None:
                    # As of a handler whose lock another thread holds, which sends by a connection.
                    thread = threading.Thread(target=own.send, args=(record.getMessage(),))
                    thread.start()
                    thread.join(PATIENCE_S)
                    told.set()

            handler = Handler()
            logging.getLogger("sockwave").addHandler(handler)
            try:
                with connect(uri_of(echo_server), engine=engine, conflate=fail) as conn:
                    conn.send("hello")
                    with pytest.raises(ConnectionClosed) as caught:
                        conn.recv()
                    assert caught.value.code == 1011
                    assert told.wait(PATIENCE_S)  # in whichever thread
            finally:
                logging.getLogger("sockwave").removeHandler(handler)
            sent.append(own.recv(timeout=PATIENCE_S))

    await aside(talk)
    assert len(sent) == 1
    await wait_until(lambda: error_log.records)  # which other handlers have by now, or soon
    assert "error in" in str(sent[0])
    assert {type(error) for error in error_log.take()} == {LookupError}


async def test_connection_that_is_dropped_is_reset_and_warned_of(
    start_server: StartServer, engine: str
) -> None:
    server = await start_server()

    def drop() -> str:
        conn = connect(uri_of(server), engine=engine).open()
        name = repr(conn)
        with pytest.warns(ResourceWarning) as caught:
            del conn
        assert [str(one.message) for one in caught] == [f"unclosed {name}"]
        return name

    await aside(drop)
    await wait_until(lambda: not server.connections)


async def test_two_receivers_at_once_are_refused(echo_server: sockwave.Server, engine: str) -> None:
    def talk() -> None:
        with connect(uri_of(echo_server), engine=engine) as conn:
            results: list[str | bytes] = []

            def receive() -> None:
                while not results:
                    with contextlib.suppress(SockwaveError):  # where the other one was first
                        results.append(conn.recv())

            thread = threading.Thread(target=receive)
            thread.start()
            while thread.is_alive():
                # Until the other one has begun, this one receives, and nothing comes.
                with pytest.raises((TimeoutError, SockwaveError)) as caught:
                    conn.recv(timeout=0.001)
                if caught.type is SockwaveError:
                    assert "one thread" in str(caught.value)
                    conn.send("go on")
                    thread.join(PATIENCE_S)
            assert results == ["go on"]

    await aside(talk)


async def test_what_a_function_of_the_connection_may_call(
    echo_server: sockwave.Server, engine: str
) -> None:
    errors: list[str] = []

    def talk() -> None:
        def key(message: str | bytes) -> int:
            for call in (conn.recv, conn.ping):
                try:
                    call()
                except SockwaveError as error:
                    errors.append(str(error))
            if message == "first":
                conn.send("second")
            return len(message)

        with connect(uri_of(echo_server), engine=engine, conflate=key) as conn:
            conn.send("first")
            assert conn.recv(timeout=PATIENCE_S) == "first"
            assert conn.recv(timeout=PATIENCE_S) == "second"

    await aside(talk)
    assert errors
    assert all("may wait" in error for error in errors)


async def test_conflate_may_use_other_connections(
    echo_server: sockwave.Server, engine: str
) -> None:
    def talk() -> None:
        def key(message: str | bytes) -> str:
            own.send(message)
            with connect(uri_of(echo_server), engine=engine) as opened:
                opened.send("opened")
                return f"{own.recv(timeout=PATIENCE_S)!r} {opened.recv(timeout=PATIENCE_S)!r}"

        with (
            connect(uri_of(echo_server), engine=engine) as own,
            connect(uri_of(echo_server), engine=engine, conflate=key) as conn,
        ):
            for number in range(5):
                conn.send(str(number))
                assert conn.recv(timeout=PATIENCE_S) == str(number)

    await aside(talk)


async def test_conflate_that_waits_holds_up_its_own_connection_alone(
    echo_server: sockwave.Server, engine: str
) -> None:
    def talk() -> None:
        lock = threading.Lock()

        def key(message: str | bytes) -> int:
            with lock:  # which a thread holds while it sends and receives
                return int(message) % 2

        with (
            connect(uri_of(echo_server), engine=engine) as other,
            connect(uri_of(echo_server), engine=engine, conflate=key, queue_count=8) as conn,
        ):
            with lock:
                for number in range(100):
                    conn.send(str(number))
                    other.send(str(number))
                    assert other.recv(timeout=PATIENCE_S) == str(number)
                with pytest.raises(TimeoutError):
                    conn.recv(timeout=0.01)
            heard = [conn.recv(timeout=PATIENCE_S)]
            while heard[-1] != "99":
                heard.append(conn.recv(timeout=PATIENCE_S))
            for rest in (0, 1):
                of_key = [int(message) for message in heard if int(message) % 2 == rest]
                assert of_key == sorted(of_key)
            assert conn.dropped_count in (100 - len(heard), 99 - len(heard))

    await aside(talk)


async def test_conflated_messages_behind_the_servers_end_are_received(
    start_server: StartServer, engine: str
) -> None:
    server = await start_server()

    @server.on("connection")
    def connected(conn: sockwave.Connection) -> None:
        for number in range(1000):
            conn.send(str(number))
        conn.close()

    def talk() -> None:
        options: dict[str, Any] = {"queue_count": 4, "conflate": lambda message: message}
        with connect(uri_of(server), engine=engine, **options) as conn:
            assert [str(number) for number in range(1000)] == list(conn)

    await aside(talk)


async def test_threads_that_find_keys_end(echo_server: sockwave.Server, engine: str) -> None:
    def talk() -> None:
        with connect(uri_of(echo_server), engine=engine, conflate=len) as conn:
            conn.send("hello")
            assert conn.recv(timeout=PATIENCE_S) == "hello"

    def count_threads() -> int:
        return len(os.listdir("/proc/self/task"))

    await aside(talk)  # the threads that all share
    await asyncio.sleep(0)
    count = await settle(count_threads)
    for _ in range(2):
        talking = [threading.Thread(target=talk) for _ in range(5)]
        for thread in talking:
            thread.start()
        await wait_until(lambda talking=talking: not any(one.is_alive() for one in talking))  # type: ignore[misc]
        await wait_until(lambda: count_threads() <= count)


async def test_conflation_and_lag(start_server: StartServer, engine: str) -> None:
    server = await start_server()

    @server.on("connection")
    def connected(conn: sockwave.Connection) -> None:
        for number in range(10):
            conn.send(f"a {number}")
        conn.send("b 0")

    def talk() -> None:
        options: dict[str, Any] = {"conflate": lambda message: message[0], "lag": True}
        with connect(uri_of(server), engine=engine, **options) as conn:
            assert conn.lag is None
            last = ""
            while last != "a 9":
                last = str(conn.recv(timeout=PATIENCE_S))
            assert conn.lag is not None
            assert 0 <= conn.lag < PATIENCE_S
            assert conn.recv(timeout=PATIENCE_S) == "b 0"

    await aside(talk)


async def test_messages_behind_the_servers_end_are_received(
    start_server: StartServer, engine: str
) -> None:
    server = await start_server()

    @server.on("connection")
    def connected(conn: sockwave.Connection) -> None:
        for number in range(1000):
            conn.send(str(number))
        conn.close()

    def talk() -> None:
        with connect(uri_of(server), engine=engine, queue_count=4) as conn:
            assert [str(number) for number in range(1000)] == list(conn)

    await aside(talk)


VIOLATIONS = {
    "reserved bits": (b"\xf1\x00", 1002),
    "unknown opcode": (b"\x83\x00", 1002),
    "continuation of nothing": (b"\x80\x00", 1002),
    "no UTF-8": (b"\x81\x01\xff", 1007),
    "over the limit": (b"\x81\x7e\x03\xe9" + b"x" * 1001, 1009),
}


@pytest.mark.parametrize("violation", VIOLATIONS)
async def test_messages_before_a_violation_are_answered(engine: str, violation: str) -> None:
    data, code = VIOLATIONS[violation]

    async def answering(peer: RawPeer) -> None:
        await peer.open()
        peer.write_frame(TEXT, b"a")
        assert await peer.receive_text() == "a"
        peer.write(
            reference.serialize(Frame(TEXT, b"b"), None)
            + data
            + reference.serialize(Frame(TEXT, b"c"), None)
        )
        assert await peer.receive_text() == "b"
        assert (await peer.receive_close())[0] == code

    def talk(uri: str) -> None:
        received = []
        with connect(uri, engine=engine, max_size=1000, close_timeout=0.1) as conn:
            for message in conn:
                conn.send(message)
                received.append(message)
            assert conn.close_code == code
        assert received == ["a", "b"]

    async with raw_server(answering) as uri:
        await aside(talk, uri)


@pytest.mark.parametrize("after", ["a wait", "the server's end", "the server's reset", "our close"])
async def test_violation_waits_briefly_for_an_answer(engine: str, after: str) -> None:
    received, closed = threading.Event(), threading.Event()

    async def answering(peer: RawPeer) -> None:
        await peer.open(reference.serialize(Frame(TEXT, b"a"), None) + b"\x83\x00")
        if after == "the server's reset":
            await asyncio.to_thread(received.wait, PATIENCE_S)
            reset_at_close(peer.writer.get_extra_info("socket"))
        elif after != "the server's end":
            assert (await peer.receive_close())[0] == (1000 if after == "our close" else 1002)
        closed.set()

    def talk(uri: str) -> None:
        with connect(uri, engine=engine, close_timeout=5) as conn:
            assert conn.recv() == "a"
            received.set()
            if after == "our close":
                conn.close()
            assert closed.wait(PATIENCE_S)
            with pytest.raises(ConnectionClosed) as caught:
                conn.recv()
            assert caught.value.code == 1002

    async with raw_server(answering) as uri:
        await aside(talk, uri)


async def test_message_over_the_limit_ends_the_connection(
    echo_server: sockwave.Server, engine: str
) -> None:
    def talk() -> None:
        with connect(uri_of(echo_server), engine=engine, max_size=1000) as conn:
            conn.send("x" * 1000)
            assert conn.recv() == "x" * 1000
            conn.send("x" * 1001)
            with pytest.raises(ConnectionClosed) as caught:
                conn.recv()
            assert caught.value.code == 1009

    await aside(talk)

"""`for conn in sockwave.sync.connect(uri)`: connections of threads, one after the other."""

import asyncio
import gc
import threading

import pytest
from commands import find_port
from conftest import StartServer
from raw_servers import RawPeer, answer, raw_server
from reference import CLOSE, close_payload
from threads import SOON, aside, count_threads, uri_of
from wire import PATIENCE_S, case, count_descriptors, wait_until

import sockwave
from sockwave import ConnectionClosed, HandshakeRefused, SockwaveError
from sockwave.sync import Connection, Connector, connect

NEVER = sockwave.Backoff(first=3600, most=3600)


def hear_all(conns: Connector[Connection], seen: list[Connection]) -> None:
    """Take each connection, and all of its messages."""
    for conn in conns:
        seen.append(conn)
        assert list(conn) == []


async def close_back(peer: RawPeer) -> tuple[int, str]:
    """Wait for the client's close, and answer it."""
    found = await peer.receive_close()
    peer.write_frame(CLOSE, b"\x03\xe8")
    return found


async def test_another_connection_comes_after_each_end(engine: str) -> None:
    ends = iter(range(4))

    async def serve(peer: RawPeer) -> None:
        await peer.open()
        number = next(ends)
        if number == 1:  # vanishes
            peer.writer.transport.abort()
        elif number == 2:  # is asked to close
            assert await close_back(peer) == (1000, "")
        else:
            peer.write_frame(CLOSE, close_payload(1012, "restart"))
            await peer.receive_close()

    def talk(uri: str) -> list[int | None]:
        codes: list[int | None] = []
        for conn in connect(uri, engine=engine, backoff=SOON, close_timeout=1):
            if len(codes) == 2:
                conn.close()
            assert list(conn) == []
            codes.append(conn.close_code)
            if len(codes) == 4:
                break
        return codes

    async with raw_server(serve) as uri:
        assert await aside(talk, uri) == [1012, 1006, 1000, 1012]


async def test_body_that_is_done_closes_its_connection(engine: str) -> None:
    told = []

    async def serve(peer: RawPeer) -> None:
        await peer.open()
        told.append(await close_back(peer))

    def talk(uri: str) -> None:
        conns = connect(uri, engine=engine, backoff=SOON)
        for number, conn in enumerate(conns):
            assert conn.is_open
            if number == 2:
                break
        assert not conn.is_open  # it was waited for
        with pytest.raises(ZeroDivisionError):
            max(1 / (number - 2) for number, conn in enumerate(conns, 2))

    async with raw_server(serve) as uri:
        await aside(talk, uri)
        await wait_until(lambda: len(told) == 4)
    # Those that were left by `break` and by an exception come last.
    assert told == [(1000, ""), (1000, ""), (1001, ""), (1001, "")]


async def test_nobody_listens_and_then_somebody_does(engine: str) -> None:
    port = find_port()
    uri = f"ws://127.0.0.1:{port}/"

    def talk() -> str | bytes:
        for conn in connect(uri, engine=engine, backoff=SOON):
            conn.send("back")
            return conn.recv(PATIENCE_S)
        raise AssertionError("the loop has ended")

    talking = asyncio.ensure_future(aside(talk))
    await asyncio.sleep(0.01)
    again = sockwave.create_server(engine=engine)
    again.on("connection", lambda conn: conn.on("message", conn.send))
    again.listen(port, "127.0.0.1")
    async with again:
        assert await talking == "back"


@pytest.mark.parametrize("code", [1002, 1008, 4400, 4499])
async def test_codes_that_end_it(engine: str, code: int) -> None:
    async def serve(peer: RawPeer) -> None:
        await peer.open()
        peer.write_frame(CLOSE, close_payload(code, "never again"))
        await peer.receive_close()

    def talk(uri: str) -> None:
        seen: list[Connection] = []
        with pytest.raises(ConnectionClosed) as caught:
            hear_all(connect(uri, engine=engine, backoff=SOON), seen)
        assert len(seen) == 1
        assert (caught.value.code, caught.value.reason) == (code, "never again")

    async with raw_server(serve) as uri:
        await aside(talk, uri)


async def test_refusals_that_end_it_and_those_that_do_not(engine: str) -> None:
    statuses = iter([503, 429, 404])

    async def serve(peer: RawPeer) -> None:
        await peer.receive_head()
        peer.write(answer(f"{next(statuses)} No", {"Content-Length": "0"}))

    def talk(uri: str) -> None:
        with pytest.raises(HandshakeRefused) as caught:
            hear_all(connect(uri, engine=engine, backoff=SOON), [])
        assert caught.value.status == 404

    async with raw_server(serve) as uri:
        await aside(talk, uri)


async def test_hints_of_the_server_are_waited_for(
    engine: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "sockwave")

    async def serve(peer: RawPeer) -> None:
        await peer.receive_head()
        peer.write(answer("503 Busy", {"Retry-After": "120", "Content-Length": "0"}))

    async with raw_server(serve) as uri:
        conns = connect(uri, engine=engine, backoff=SOON)
        waiting = asyncio.ensure_future(aside(hear_all, conns, []))
        await wait_until(lambda: "next attempt in 120.0 s" in caplog.text)
        await asyncio.to_thread(conns.close)
        await waiting


# ---- from another thread


async def test_close_ends_a_wait_between_two_attempts(engine: str) -> None:
    opened = 0

    async def serve(peer: RawPeer) -> None:
        nonlocal opened
        opened += 1
        await peer.open()
        peer.write_frame(CLOSE, close_payload(1012, "restart; retry=3600"))
        await peer.receive_close()

    async with raw_server(serve) as uri:
        conns = connect(uri, engine=engine, backoff=NEVER)
        waiting = asyncio.ensure_future(aside(hear_all, conns, seen := []))
        await wait_until(lambda: seen and seen[0].close_code is not None)
        await asyncio.to_thread(conns.close)
        await waiting
        assert opened == 1
        for call in (conns.open, conns.__enter__):
            with case(call), pytest.raises(SockwaveError, match="connector that was not closed"):
                await asyncio.to_thread(call)
        assert list(conns) == []


async def test_close_ends_the_body_and_the_loop(start_server: StartServer, engine: str) -> None:
    server = await start_server()
    conns = connect(uri_of(server), engine=engine, backoff=SOON)
    waiting = asyncio.ensure_future(aside(hear_all, conns, seen := []))
    await wait_until(lambda: seen)
    await asyncio.to_thread(conns.close, 4000, "enough")
    await waiting
    assert [one.close_code for one in seen] == [4000]
    with pytest.raises(ValueError, match="code"):
        conns.close(1005)


async def test_close_ends_a_block(start_server: StartServer, engine: str) -> None:
    server = await start_server()
    conns = connect(uri_of(server), engine=engine)
    opened = threading.Event()

    def talk() -> int | None:
        with conns as conn:
            opened.set()
            assert list(conn) == []
        return conn.close_code

    waiting = asyncio.ensure_future(aside(talk))
    await asyncio.to_thread(opened.wait, PATIENCE_S)
    await asyncio.to_thread(conns.close)
    assert await waiting == 1001


async def test_close_ends_an_attempt_that_is_under_way(engine: str) -> None:
    asked = asyncio.Event()

    async def silent(peer: RawPeer) -> None:
        await peer.receive_head()
        asked.set()
        await peer.receive_end()

    async with raw_server(silent) as uri:
        for is_loop in (True, False):
            with case(is_loop):
                asked.clear()
                conns = connect(uri, engine=engine, open_timeout=3600)

                def talk(conns: Connector[Connection] = conns, is_loop: bool = is_loop) -> None:
                    if is_loop:
                        assert list(conns) == []
                        return
                    with pytest.raises(SockwaveError, match="connector that was not closed"):
                        conns.open()

                waiting = asyncio.ensure_future(aside(talk))
                await asked.wait()
                conns.close()
                await waiting


async def test_one_thread_sends_and_another_receives_through_all_connections(
    start_server: StartServer, engine: str
) -> None:
    server = await start_server()

    @server.on("connection")
    def connected(conn: sockwave.Connection) -> None:
        count = 0

        @conn.on("message")
        def message(text: str) -> None:
            nonlocal count
            count += 1
            conn.send(text)
            if count == 20:
                conn.abort()

    def send(conn: Connection) -> None:
        try:
            while True:
                conn.send("x")
        except ConnectionClosed:
            pass

    def talk() -> None:
        for number, conn in enumerate(connect(uri_of(server), engine=engine, backoff=SOON)):
            sender = threading.Thread(target=send, args=(conn,))
            sender.start()
            assert set(conn) <= {"x"}
            sender.join(PATIENCE_S)
            assert not sender.is_alive()
            assert conn.close_code == 1006
            if number == 4:
                break

    await aside(talk)


def test_arguments_are_checked_at_once() -> None:
    with pytest.raises(TypeError, match=r"backoff: expected sockwave\.Backoff or None, given int"):
        connect("ws://a", backoff=3)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="sock: expected None"):
        iter(connect("ws://a", sock=object()))  # type: ignore[arg-type]


# ---- nothing is left


@pytest.mark.parametrize("count", [50, pytest.param(1000, marks=pytest.mark.slow)])
async def test_client_comes_back_through_kills_and_leaves_nothing(
    start_server: StartServer, engine: str, count: int
) -> None:
    server = await start_server()
    server.on("connection", lambda conn: conn.on("message", conn.abort))

    def talk(count: int) -> None:
        backoff = sockwave.Backoff(first=0, most=0)
        for number, conn in enumerate(connect(uri_of(server), engine=engine, backoff=backoff), 1):
            conn.send("kill me")
            assert list(conn) == []
            if number == count:
                break

    await aside(talk, 2)
    await wait_until(lambda: not server.connections)
    gc.collect()
    before, threads = count_descriptors(), count_threads()
    await aside(talk, count)
    await wait_until(lambda: not server.connections)
    gc.collect()
    await wait_until(lambda: count_descriptors() <= before, "no descriptor is left")
    assert count_threads() == threads

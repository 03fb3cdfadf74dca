"""Waiting for the end of a connection and of a server, and hearing of it before."""

import asyncio
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
from conftest import ErrorLog, StartServer
from wire import Wire, connect_both, let_arrive, wait_until

import sockwave
from sockwave import ReadyState


@pytest.fixture(autouse=True)
async def clients_that_close() -> AsyncIterator[None]:
    """Close the clients behind each test."""
    yield
    await Wire.close_all()


async def end_from_here(wire: Wire) -> None:
    """Answer the server's close frame, and see the end."""
    await wire.receive_close()
    wire.write_close(1000)
    await wire.receive_end()


# ---- connections


async def test_close_can_be_awaited(start_server: StartServer) -> None:
    server = await start_server()
    wire, conn = await connect_both(server)
    heard: list[str] = []
    conn.on("close", lambda: heard.append("close"))

    async def close() -> None:
        await conn.close(4000, "so long")
        heard.append("closed")

    closing = asyncio.create_task(close())
    assert await wire.receive_close() == (4000, "so long")
    await wire.receive_nothing()
    assert not closing.done()
    wire.write_close(4000)
    await closing
    assert heard == ["close", "closed"]
    assert conn not in list(server.connections)
    await asyncio.wait_for(conn.close(), 5)  # once more, when all is over
    await conn.wait_closed()


@pytest.mark.parametrize("style", ["close", "wait_closed", "wait_for", "gather", "task"])
async def test_a_handler_goes_on_behind_the_end_that_it_has_waited_for(
    engine: str, error_log: ErrorLog, style: str
) -> None:
    done = asyncio.Event()

    async def handler(conn: sockwave.Connection) -> None:
        if style == "close":
            await conn.close()
        elif style == "wait_closed":
            conn.close()
            await conn.wait_closed()
        elif style == "wait_for":
            await asyncio.wait_for(conn.close(), 20)
        elif style == "gather":
            await asyncio.gather(conn.close(), conn.wait_closed())
        else:
            conn.close()
            await asyncio.create_task(conn.wait_closed())
        await asyncio.sleep(0.01)
        done.set()

    async with sockwave.serve(handler, "127.0.0.1", engine=engine) as server:
        wire = await Wire.connect(server.addresses[0])
        await end_from_here(wire)
        await done.wait()
        await wire.close()


@pytest.mark.parametrize("event", ["message", "ping"])
async def test_a_listener_goes_on_behind_the_end_that_it_has_waited_for(
    start_server: StartServer, event: str
) -> None:
    wire, conn = await connect_both(await start_server())
    done = asyncio.Event()

    @conn.on(event)
    async def listener(_: object) -> None:
        await conn.close()
        await asyncio.sleep(0.01)
        done.set()

    if event == "message":
        wire.send("go")
    else:
        wire.write_frame(9, b"go")
        assert await wire.receive_pong() == b"go"
    await end_from_here(wire)
    await done.wait()


async def test_what_does_not_wait_for_the_end_is_cancelled_by_it_as_ever(
    engine: str, error_log: ErrorLog
) -> None:
    ends: list[str] = []
    done = asyncio.Event()

    async def stay() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ends.append("cancelled")

    async def handler(conn: sockwave.Connection) -> None:
        conn.create_task(stay())
        await conn.wait_closed()
        ends.append("told")
        await wait_until(lambda: len(ends) == 2)
        done.set()

    async with sockwave.serve(handler, "127.0.0.1", engine=engine) as server:
        wire = await Wire.connect(server.addresses[0])
        wire.reset()
        await done.wait()
        assert sorted(ends) == ["cancelled", "told"]


@pytest.mark.parametrize("style", ["own", "other"])
async def test_finish_timeout_ends_what_goes_on_for_too_long(
    engine: str, error_log: ErrorLog, style: str
) -> None:
    ends: list[str] = []

    async def handler(conn: sockwave.Connection) -> None:
        end = conn.wait_closed()
        await (end if style == "own" else asyncio.create_task(end))
        ends.append("told")
        try:
            await asyncio.Event().wait()
        finally:
            ends.append("cancelled")

    async with sockwave.serve(handler, "127.0.0.1", engine=engine, finish_timeout=0.05) as server:
        wire = await Wire.connect(server.addresses[0])
        wire.reset()
        await wait_until(lambda: ends == ["told", "cancelled"])


async def test_a_wait_that_was_given_up_spares_no_handler(engine: str, error_log: ErrorLog) -> None:
    ends: list[str] = []
    given_up = asyncio.Event()

    async def handler(conn: sockwave.Connection) -> None:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0):
                await conn.wait_closed()
        given_up.set()
        try:
            await asyncio.Event().wait()
        finally:
            ends.append("cancelled")

    async with sockwave.serve(handler, "127.0.0.1", engine=engine, finish_timeout=None) as server:
        wire = await Wire.connect(server.addresses[0])
        await given_up.wait()
        wire.reset()
        await wait_until(lambda: ends)


async def test_a_listener_that_returns_what_close_returns_makes_no_task(
    start_server: StartServer,
) -> None:
    server = await start_server()
    server.on("connection", lambda conn: conn.on("message", lambda _: conn.close()))
    wire, _ = await connect_both(server)
    before = len(asyncio.all_tasks())
    wire.send("close")
    await wire.receive_close()
    assert len(asyncio.all_tasks()) == before
    wire.write_close(1000)
    await wire.receive_end()


async def test_another_thread_can_wait_for_the_end_of_a_connection(
    start_server: StartServer,
) -> None:
    server = await start_server()
    wire, conn = await connect_both(server)
    future = server.call_threadsafe(conn.close, 4001)
    assert (await wire.receive_close())[0] == 4001
    assert not future.done()
    wire.write_close(4001)
    await future


def can_send(conn: sockwave.Connection) -> bool:
    try:
        conn.send("")
    except sockwave.ConnectionClosed:
        return False
    return True


async def end_by_close(wire: Wire, conn: sockwave.Connection) -> None:
    conn.close()


async def end_by_abort(wire: Wire, conn: sockwave.Connection) -> None:
    conn.abort()


async def end_by_peer(wire: Wire, conn: sockwave.Connection) -> None:
    wire.write_close(1000)
    await wait_until(lambda: not conn.is_open)


async def end_by_violation(wire: Wire, conn: sockwave.Connection) -> None:
    wire.write(b"\xff\xff")
    await wait_until(lambda: not conn.is_open)


async def end_by_loss(wire: Wire, conn: sockwave.Connection) -> None:
    wire.reset()
    await wait_until(lambda: not conn.is_open)


ENDINGS = [end_by_close, end_by_abort, end_by_peer, end_by_violation, end_by_loss]


@pytest.mark.parametrize("end", ENDINGS)
async def test_a_connection_says_that_it_is_open_exactly_while_it_can_send(
    start_server: StartServer, end: Callable[[Wire, sockwave.Connection], Awaitable[None]]
) -> None:
    server = await start_server()
    wire, conn = await connect_both(server)
    seen: list[Any] = []

    def look(what: str, state: object = None) -> None:
        as_open = conn.ready_state is ReadyState.CONNECTED
        assert can_send(conn) == conn.is_open == as_open
        seen.append((what, conn.is_open))

    conn.on("readyStateChange", lambda state: look("changed", state))
    server.on("readyStateChange", lambda conn, state: look("server", state))
    conn.on("close", lambda: look("close"))
    look("before")
    await end(wire, conn)
    look("after")
    if end is not end_by_loss:
        wire.reset()
    await conn.wait_closed()
    assert conn.ready_state is ReadyState.CLOSED
    assert seen[0] == ("before", True)
    assert [one for one in seen if one[0] != "after"][1:] == [
        ("changed", False),
        ("server", False),
        ("close", False),
    ]
    assert ("after", False) in seen


async def test_a_listener_of_the_state_may_abort_what_is_being_closed(
    start_server: StartServer,
) -> None:
    wire, conn = await connect_both(await start_server())
    closes: list[int] = []
    conn.on("close", closes.append)
    conn.on("readyStateChange", lambda _: conn.abort())
    conn.close()
    await conn.wait_closed()
    assert len(closes) == 1
    with pytest.raises((ConnectionResetError, asyncio.IncompleteReadError)):
        await wire.receive(1)


@pytest.mark.parametrize("first", ["close", "peer"])
async def test_the_end_does_not_cancel_a_listener_that_hears_of_it(
    start_server: StartServer, first: str
) -> None:
    server = await start_server()
    done: list[str] = []

    async def changed(*arguments: object) -> None:
        await conn.wait_closed()
        await asyncio.sleep(0.01)
        done.append("done")

    async def changed_without_waiting(*arguments: object) -> None:
        await asyncio.sleep(0.01)
        done.append("done")

    wire, conn = await connect_both(server)
    for listener in (changed, changed_without_waiting):
        conn.on("readyStateChange", listener)
        server.on("readyStateChange", listener)
    if first == "close":
        conn.close()
    else:
        wire.write_close(1000)
    await wire.receive_close()
    wire.write_close(1000)
    await wire.receive_end()
    await wait_until(lambda: len(done) == 4)


# ---- the server


async def test_a_server_tells_that_it_closes_before_it_closes_its_connections(
    start_server: StartServer,
) -> None:
    server = await start_server()
    wire, conn = await connect_both(server)
    heard: list[Any] = []
    waiting = asyncio.create_task(server.wait_closing())

    @server.on("closing")
    def closing() -> None:
        heard.append((server.is_closing, conn.is_open))
        conn.send("farewell")
        server.close()  # it is closing already

    await let_arrive()
    assert not server.is_closing
    assert not waiting.done()
    closed = asyncio.ensure_future(server.close())
    assert server.is_closing
    assert await wire.receive_message() == "farewell"
    await end_from_here(wire)
    await waiting
    await closed
    assert heard == [(True, True)]
    assert server.is_closing
    await server.wait_closing()
    await server.wait_closed()


async def test_an_asynchronous_listener_of_closing_is_run(start_server: StartServer) -> None:
    server = await start_server()
    wire, _ = await connect_both(server)
    heard = asyncio.Event()

    @server.on("closing")
    async def closing() -> None:
        await asyncio.sleep(0)
        heard.set()

    closed = asyncio.ensure_future(server.close())
    await heard.wait()
    await end_from_here(wire)
    await closed


async def test_tasks_may_wait_before_the_server_runs(engine: str) -> None:
    server = sockwave.create_server(engine=engine).listen(0, "127.0.0.1")
    waits = [asyncio.create_task(one()) for one in (server.wait_closing, server.wait_closed)]
    cancelled = asyncio.create_task(server.wait_closing())
    await let_arrive()
    cancelled.cancel()
    async with server:
        await let_arrive()
        assert not any(wait.done() for wait in waits)
    await asyncio.gather(*waits)
    assert cancelled.cancelled()


async def test_the_end_of_a_server_is_waited_for_without_ending_it(
    start_server: StartServer,
) -> None:
    server = await start_server()
    heard: list[str] = []
    server.on("close", lambda: heard.append("close"))
    waiting = asyncio.create_task(server.wait_closed())
    wire, _ = await connect_both(server)
    await wire.receive_nothing()
    assert not waiting.done()
    server.close()
    await end_from_here(wire)
    await waiting
    assert heard == ["close"]


async def test_a_loop_of_another_thread_may_wait_for_a_server(start_server: StartServer) -> None:
    server = await start_server()
    told: list[str] = []
    begun = threading.Barrier(2)

    async def wait() -> None:
        begun.wait()
        await server.wait_closing()
        told.append("closing")
        await server.wait_closed()
        told.append("closed")

    thread = asyncio.create_task(asyncio.to_thread(lambda: asyncio.run(wait())))
    await asyncio.to_thread(begun.wait)
    await server.close()
    await thread
    assert told == ["closing", "closed"]


async def test_a_handler_that_waits_for_the_end_of_its_server_does_not_delay_it(
    engine: str, error_log: ErrorLog
) -> None:
    told: list[str] = []

    async def handler(conn: sockwave.Connection) -> None:
        await server.wait_closing()
        conn.close()
        await server.wait_closed()
        told.append("closed")

    server = sockwave.serve(
        handler, "127.0.0.1", engine=engine, cancel_on_close=False, finish_timeout=None
    )
    async with server:
        wire = await Wire.connect(server.addresses[0])
        closed = asyncio.ensure_future(server.close(drain=None))
        await end_from_here(wire)
        await closed
        await wait_until(lambda: told)


async def test_a_response_that_waits_for_the_end_of_the_server_ends_with_it(
    start_server: StartServer,
) -> None:
    server = await start_server()

    @server.on("request")
    async def stream(request: sockwave.Request, response: sockwave.Response) -> None:
        response.write_head(200)
        response.write("begun")
        await server.wait_closing()
        response.end(" ended")

    wire = await Wire.open(server.addresses[0])
    wire.write(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    await wire.receive_head()
    closed = asyncio.ensure_future(server.close(drain=None))
    assert b" ended" in await wire.receive_rest()
    await wire.close()
    await closed


def test_a_server_that_never_ran_is_closing_and_closed_at_once() -> None:
    server = sockwave.create_server()
    heard: list[str] = []
    server.on("closing", lambda: heard.append("closing"))
    server.on("close", lambda: heard.append("close"))
    server.close()
    server.close()
    assert heard == ["closing", "close"]
    assert server.is_closing
    asyncio.run(server.wait_closing())
    asyncio.run(server.wait_closed())


# ---- once only


async def test_a_server_that_has_closed_does_not_start_again(start_server: StartServer) -> None:
    server = await start_server()
    await server.start()  # it runs already
    await server.close()
    with pytest.raises(sockwave.SockwaveError, match="the server has been closed"):
        await server.start()
    await server.serve_forever()  # has nothing left to wait for
    with pytest.raises(sockwave.SockwaveError, match="the server has been closed"):
        async with server:
            pytest.fail("it runs")


def test_a_server_runs_once(engine: str) -> None:
    server = sockwave.create_server(engine=engine).listen(0, "127.0.0.1")
    server.on("listening", server.close)
    server.run()
    with pytest.raises(sockwave.SockwaveError, match="the server has been closed"):
        server.run()
    with pytest.raises(sockwave.SockwaveError, match="the server has been closed"):
        asyncio.run(server.serve_forever())


@pytest.mark.parametrize("way", ["run", "serve_forever"])
def test_a_server_that_was_run_before_it_listened_can_be_run_later(engine: str, way: str) -> None:
    server = sockwave.create_server(engine=engine)
    heard: list[str] = []
    server.on("listening", lambda: (heard.append("listening"), server.close()))
    for call in (server.run, lambda: asyncio.run(server.serve_forever())):
        with pytest.raises(sockwave.SockwaveError, match=r"expected a call of listen\(\) before"):
            call()
    server.listen(0, "127.0.0.1")
    if way == "run":
        server.run()
    else:
        asyncio.run(server.serve_forever())
    assert heard == ["listening"]

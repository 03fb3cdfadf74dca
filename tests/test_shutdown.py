"""How a server ends: what `close` waits for, and what it drops."""

import asyncio
import math
import socket
from collections.abc import Coroutine
from typing import Any

import pytest
from conftest import ErrorLog, StartServer
from http_wire import receive_answer
from reference import PING
from wire import Wire, connect_both, wait_until

import sockwave

GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"


@pytest.mark.parametrize("drain", [-1, -0.001, math.nan])
async def test_a_time_that_cannot_be_waited_closes_nothing(
    start_server: StartServer, drain: float
) -> None:
    server = await start_server()
    with pytest.raises(ValueError, match="drain: expected 0 or more seconds"):
        server.close(drain=drain)
    wire, _ = await connect_both(server)
    await wire.receive_nothing()


async def test_close_without_a_limit_waits_for_the_closing_handshake(
    start_server: StartServer,
) -> None:
    server = await start_server()
    wire, _ = await connect_both(server)
    closed = asyncio.ensure_future(server.close(1001, "so long", drain=None))
    assert await wire.receive_close() == (1001, "so long")
    await wire.receive_nothing()
    assert not closed.done()
    wire.write_close(1001)
    await wire.receive_end()
    await wire.close()
    await closed


async def test_a_request_without_an_answer_is_dropped_when_the_time_is_over(
    start_server: StartServer,
) -> None:
    server = await start_server()
    cancelled = asyncio.Event()
    asked = asyncio.Event()

    @server.on("request")
    async def request(req: sockwave.Request, res: sockwave.Response) -> None:
        asked.set()
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()

    wire = await Wire.open(server.addresses[0])
    wire.write(GET)
    await asked.wait()
    await server.close(drain=0)
    await cancelled.wait()
    await wire.receive_end()


async def test_an_address_added_as_the_server_closes_is_not_served(
    start_server: StartServer,
) -> None:
    server = await start_server()
    heard: list[str] = []
    server.on("listening", lambda: heard.append("listening"))
    server.listen(0, "127.0.0.1")
    address = server.addresses[-1]
    await server.close()
    assert heard == []
    with pytest.raises(ConnectionRefusedError):
        await Wire.open(address)


async def test_a_handler_whose_client_has_gone_ends_without_an_error(
    engine: str, error_log: ErrorLog
) -> None:
    ended = asyncio.Event()

    async def talk(conn: sockwave.Connection) -> None:
        try:
            while True:
                await conn.send(await conn.receive())
        finally:
            ended.set()

    async with sockwave.serve(talk, "127.0.0.1", engine=engine) as server:
        wire = await Wire.connect(server.addresses[0])
        wire.send("hello")
        assert await wire.receive_message() == "hello"
        wire.reset()
        await ended.wait()
        await wait_until(lambda: not server.connections)
    assert error_log.records == []


def test_a_server_that_never_ran_takes_no_asynchronous_listener() -> None:
    server = sockwave.create_server()

    @server.on("close")
    async def closed() -> None:
        pytest.fail("there is no loop")

    with pytest.raises(sockwave.SockwaveError, match="does not run"):
        server.close()


@pytest.mark.parametrize("style", ["function", "coroutine"])
async def test_a_request_listener_may_refuse(start_server: StartServer, style: str) -> None:
    server = await start_server()
    refused = sockwave.Refused(
        451, b'{"reason": "law"}', [("Content-Type", "application/json"), ("Date", "today")]
    )

    def refuse(req: sockwave.Request, res: sockwave.Response) -> None:
        raise refused

    async def refuse_later(req: sockwave.Request, res: sockwave.Response) -> None:
        await asyncio.sleep(0)
        raise refused

    server.on("request", refuse if style == "function" else refuse_later)
    wire = await Wire.open(server.addresses[0])
    wire.write(GET)
    answer = await receive_answer(wire)
    assert (answer.status, answer.body) == (451, refused.body)
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["date"] == "today"


@pytest.mark.slow
async def test_a_refused_peer_that_has_gone_is_not_waited_for(start_server: StartServer) -> None:
    # Longer than the end of a refused peer is waited for.
    server = await start_server(handshake_timeout=2.5)
    accepted: list[sockwave.AcceptedSocket] = []
    server.on("stream", accepted.append)
    for count in range(1, 11):
        with socket.create_connection(server.addresses[0]) as client:
            await wait_until(lambda count=count: len(accepted) == count)
            # All at once: our answer meets a peer that is not there, of which we have yet to hear.
            client.sendall(b"GET / HTTP/1.1\r\n\r\n")
    wire = await Wire.open(server.addresses[0])
    await wire.receive_end()
    await server.close(drain=None)


class Short(asyncio.Task[Any]):
    """A task for whose cancelling there is no memory, so many times."""

    missing_count = 3

    def cancel(self, msg: object = None) -> bool:
        if self.missing_count:
            self.missing_count -= 1
            raise MemoryError
        return super().cancel(msg)


def make_short(
    loop: asyncio.AbstractEventLoop, coroutine: Coroutine[Any, Any, Any], **settings: Any
) -> Short:
    """Make the next task a short one."""
    loop.set_task_factory(None)
    return Short(coroutine, loop=loop, **settings)


@pytest.mark.parametrize("request_is", ["plain", "upgrade"])
async def test_what_there_is_no_memory_for_at_the_end_is_done_later(
    start_server: StartServer, request_is: str
) -> None:
    server = await start_server()
    errors: list[BaseException] = []
    server.on("error", lambda error, _: errors.append(error))
    closes: list[int] = []
    asked, cancelled = asyncio.Event(), asyncio.Event()

    async def answer(*_: object) -> None:
        asked.set()
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()

    loop = asyncio.get_running_loop()
    if request_is == "plain":
        server.on("request", answer)
        wire = await Wire.open(server.addresses[0])
        loop.set_task_factory(make_short)
        wire.write(GET)
    else:
        wire, conn = await connect_both(server)
        conn.on("ping", answer)
        conn.on("close", closes.append)
        loop.set_task_factory(make_short)
        wire.write_frame(PING, b"go")
    await asked.wait()
    wire.reset()
    await cancelled.wait()
    assert [type(error) for error in errors] == 3 * [MemoryError]
    assert closes == ([] if request_is == "plain" else [1006])

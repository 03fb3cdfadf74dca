"""Handlers written for this server on the servers of others: uvicorn, hypercorn, and on our own."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import hypercorn.asyncio
import hypercorn.config
import pytest
import uvicorn
from asgi_apps import get
from http_wire import receive_answer
from wire import Wire, wait_until

import sockwave
from sockwave.asgi import endpoint

Serve = Callable[[Any], contextlib.AbstractAsyncContextManager[Any]]


@contextlib.asynccontextmanager
async def on_uvicorn(app: Any) -> AsyncIterator[Any]:
    config = uvicorn.Config(app, log_level="critical", lifespan="on", ws="wsproto", http="h11")
    server = uvicorn.Server(config)
    with socket.create_server(("127.0.0.1", 0)) as sock:
        serving = asyncio.ensure_future(server.serve(sockets=[sock]))
        await wait_until(lambda: server.started)
        yield sock.getsockname()
        server.should_exit = True
        await serving


@contextlib.asynccontextmanager
async def on_hypercorn(app: Any) -> AsyncIterator[Any]:
    ended = asyncio.Event()
    with socket.create_server(("127.0.0.1", 0)) as sock:
        config = hypercorn.config.Config()
        config.bind = [f"fd://{sock.fileno()}"]
        config.graceful_timeout = 1.0
        address = sock.getsockname()
        trigger: Callable[..., Awaitable[None]] = ended.wait  # type: ignore[assignment]
        serving = asyncio.ensure_future(
            hypercorn.asyncio.serve(app, config, shutdown_trigger=trigger)
        )
        sock.detach()
        yield address
        ended.set()
        await serving


@contextlib.asynccontextmanager
async def on_sockwave(app: Any) -> AsyncIterator[Any]:
    server = sockwave.create_server(asgi=app, lifespan="on")
    server.listen(0, "127.0.0.1")
    async with server:
        yield server.addresses[0]


pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


@pytest.fixture(params=[on_uvicorn, on_hypercorn, on_sockwave], ids=lambda one: one.__name__)
def serve(request: pytest.FixtureRequest) -> Serve:
    chosen: Serve = request.param
    return chosen


async def echo(conn: Any) -> None:
    async for message in conn:
        await conn.send(message)


async def test_handler_answers_messages_of_both_kinds(serve: Serve) -> None:
    async with serve(endpoint(echo)) as address, await Wire.connect(address) as wire:
        for message in ("text", b"bytes", "ü" * 1000):
            wire.send(message)
            assert await wire.receive_message() == message
        wire.write_close(1000)
        assert (await wire.receive_close())[0] == 1000


async def test_handler_says_and_hears_json(serve: Serve) -> None:
    async def handler(conn: Any) -> None:
        await conn.send_json({"first": await conn.receive_json()})
        async for value in conn.json():
            await conn.send_json([value])

    async with serve(endpoint(handler)) as address, await Wire.connect(address) as wire:
        wire.send('"a"')
        assert await wire.receive_message() == '{"first":"a"}'
        wire.send("1.5")
        assert await wire.receive_message() == "[1.5]"
        wire.send("no JSON")
        assert await wire.receive_close() == (1007, "not the JSON that is expected")
        wire.write_close(1007)


async def test_handler_finds_what_it_knows_of_a_connection(serve: Serve) -> None:
    seen: dict[str, Any] = {}

    async def handler(conn: Any) -> None:
        seen["id"] = conn.id
        seen["path"] = conn.request.path
        seen["room"] = conn.request.params["room"]
        seen["cookie"] = conn.request.cookies["a"]
        seen["origin"] = conn.request.origin
        seen["subprotocol"] = conn.subprotocol
        seen["host"] = conn.remote_address[0]
        seen["port"] = conn.local_address[1]
        seen["secure"] = conn.is_secure
        seen["carrier"] = conn.carrier
        seen["version"] = conn.version
        seen["state"] = conn.ready_state
        conn.data["mine"] = 1
        seen["repr"] = repr(conn)
        await conn.receive()

    app = endpoint(handler, subprotocol=["b", "c"])
    async with serve(app) as address:
        headers = {"Sec-WebSocket-Protocol": "a, c", "Cookie": "a=1", "Origin": "http://x"}
        wire = await Wire.connect(address, target="/chat%20x?room=7", headers=headers)
        assert wire.head.headers["sec-websocket-protocol"] == "c"
        await wait_until(lambda: "repr" in seen)
        wire.send("go")
        assert (await wire.receive_close())[0] == 1000
        await wire.close()
    assert isinstance(seen.pop("id"), int)
    assert "rfc6455 CONNECTED" in seen.pop("repr")
    assert seen == {
        "path": "/chat%20x",
        "room": "7",
        "cookie": "1",
        "origin": "http://x",
        "subprotocol": "c",
        "host": "127.0.0.1",
        "port": address[1],
        "secure": False,
        "carrier": "http/1.1",
        "version": "rfc6455",
        "state": sockwave.ReadyState.CONNECTED,
    }


async def test_handler_finds_what_the_router_has_found(serve: Serve) -> None:
    async def handler(conn: Any) -> None:
        await conn.send(repr(conn.path_params))

    inner = endpoint(handler)

    async def router(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "websocket":
            scope = {**scope, "path_params": {"room": "café"}}
        await inner(scope, receive, send)

    async with serve(router) as address:
        wire = await Wire.connect(address)
        assert await wire.receive_message() == "{'room': 'café'}"
        await wire.close()
    async with serve(endpoint(handler)) as address:
        wire = await Wire.connect(address)
        assert await wire.receive_message() == "{}"
        await wire.close()


async def test_messages_that_are_not_waited_for_leave_in_order(serve: Serve) -> None:
    async def handler(conn: Any) -> None:
        for number in range(100):
            conn.write(str(number))
        conn.close(3000, "done")
        with pytest.raises(sockwave.ConnectionClosed):
            conn.send("more")

    async with serve(endpoint(handler)) as address, await Wire.connect(address) as wire:
        for number in range(100):
            assert await wire.receive_message() == str(number)
        assert await wire.receive_close() == (3000, "done")
        wire.write_close(3000)


async def test_handler_closes_and_waits_for_the_end(serve: Serve) -> None:
    seen: list[Any] = []

    async def handler(conn: Any) -> None:
        seen.append(conn.is_open)
        closing = conn.close(4000, "so long")
        seen.append((conn.is_open, conn.ready_state))
        await closing
        await conn.wait_closed()
        seen.append(conn.ready_state)

    async with serve(endpoint(handler)) as address, await Wire.connect(address) as wire:
        assert await wire.receive_close() == (4000, "so long")
        wire.write_close(4000)
        await wait_until(lambda: len(seen) == 3)
    closed = sockwave.ReadyState.CLOSED
    assert seen == [True, (False, closed), closed]


async def test_handler_goes_on_behind_the_end_that_it_waits_for(serve: Serve) -> None:
    seen: list[Any] = []

    async def handler(conn: Any) -> None:
        await conn.wait_closed()
        await asyncio.sleep(0.01)
        seen.append(conn.is_open)

    async with serve(endpoint(handler)) as address, await Wire.connect(address) as wire:
        wire.write_close(1000)
        await wire.receive_close()
        await wait_until(lambda: seen)
    assert seen == [False]


async def test_handler_is_told_of_the_end(serve: Serve) -> None:
    seen: list[Any] = []
    waited: list[Any] = []

    async def handler(conn: Any) -> None:
        assert await conn.receive() == "one"
        with pytest.raises(TimeoutError):
            await conn.receive(timeout=0.01)
        waited.append(True)
        with pytest.raises(sockwave.ConnectionClosed) as caught:
            await conn.receive()
        with pytest.raises(sockwave.ConnectionClosed):
            conn.send("more")
        seen.append((caught.value.code, conn.close_code, conn.ready_state))

    async with serve(endpoint(handler)) as address, await Wire.connect(address) as wire:
        wire.send("one")
        await wait_until(lambda: waited)
        wire.write_close(4000, "bye")
        assert (await wire.receive_close())[0] == 4000
        await wait_until(lambda: seen)
    # hypercorn tells no code but 1006.
    code = 1006 if serve is on_hypercorn else 4000
    assert seen == [(code, code, sockwave.ReadyState.CLOSED)]


@pytest.mark.parametrize("serve", [on_uvicorn, on_hypercorn])
async def test_handler_that_only_sends_ends_with_its_client(serve: Serve) -> None:
    ended: list[bool] = []

    async def handler(conn: Any) -> None:
        try:
            conn.send("hello")
            await asyncio.Event().wait()
        finally:
            ended.append(True)

    async with serve(endpoint(handler)) as address:
        wire = await Wire.connect(address)
        assert await wire.receive_message() == "hello"
        wire.write_close(1000)
        await wait_until(lambda: ended)
        await wire.close()


@pytest.mark.parametrize("serve", [on_uvicorn, on_hypercorn])
async def test_handler_that_raises_closes_with_1011(
    serve: Serve, caplog: pytest.LogCaptureFixture
) -> None:
    async def handler(conn: Any) -> None:
        raise ZeroDivisionError

    async with serve(endpoint(handler)) as address, await Wire.connect(address) as wire:
        assert (await wire.receive_close())[0] == 1011
        wire.write_close(1011)


@pytest.mark.parametrize("serve", [on_uvicorn, on_hypercorn])
async def test_what_cannot_be_had_is_said(serve: Serve) -> None:
    seen: list[str] = []

    async def handler(conn: Any) -> None:
        for name in ("ping", "on", "broadcast", "nothing"):
            with pytest.raises(AttributeError) as caught:
                getattr(conn, name)
            seen.append(str(caught.value))
        with pytest.raises(TypeError, match="message: expected str or bytes-like"):
            conn.send(7)
        with pytest.raises(ValueError, match="lone surrogate"):
            conn.send("\ud800")
        with pytest.raises(ValueError, match="code"):
            conn.close(1006)

    async with serve(endpoint(handler)) as address, await Wire.connect(address) as wire:
        assert (await wire.receive_close())[0] == 1000
        wire.write_close(1000)
    assert all("expected sockwave's own server" in one for one in seen[:3])
    assert seen[3] == "a connection has no 'nothing'"


async def test_request_that_is_no_websocket_gets_426(serve: Serve) -> None:
    async with serve(endpoint(echo)) as address, await Wire.open(address) as wire:
        wire.write(get())
        assert (await receive_answer(wire)).status == 426


async def test_connection_on_our_own_server_is_the_real_one() -> None:
    async def handler(conn: Any) -> None:
        assert isinstance(conn, sockwave.Connection)
        conn.send("hello")

    async with on_sockwave(endpoint(handler)) as address, await Wire.connect(address) as wire:
        assert await wire.receive_message() == "hello"
        assert (await wire.receive_close())[0] == 1000


@pytest.mark.parametrize("serve", [on_uvicorn])
async def test_handler_that_reads_nothing_is_not_flooded(serve: Serve) -> None:
    connections: list[Any] = []
    go_on = asyncio.Event()

    async def handler(conn: Any) -> None:
        connections.append(conn)
        await conn.receive()
        await go_on.wait()
        for _ in range(49):
            await conn.receive()

    async with serve(endpoint(handler)) as address, await Wire.connect(address) as wire:
        for _ in range(50):
            wire.send("x")
        await wait_until(lambda: connections and len(connections[0]._inbox) == 16)
        go_on.set()
        assert (await wire.receive_close())[0] == 1000
        wire.write_close(1000)


@pytest.mark.parametrize(
    ("handler", "options", "error"),
    [
        (None, {}, TypeError),
        (lambda: None, {}, TypeError),
        (echo, {"subprotocol": "a b"}, ValueError),
        (echo, {"subprotocol": 7}, TypeError),
    ],
    ids=range(4),
)
def test_wrong_endpoint_is_refused(handler: Any, options: Any, error: type[Exception]) -> None:
    with pytest.raises(error, match="expected"):
        endpoint(handler, **options)

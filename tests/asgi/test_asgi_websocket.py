"""WebSockets of ASGI applications: the handshake, messages, the end, and what goes wrong."""

import asyncio
from typing import Any

import pytest
from asgi_apps import Recorder, accept, echo
from conftest import ErrorLog, StartServer
from http_wire import receive_answer
from wire import Wire, build_request, let_arrive, settle, upgrade_headers, wait_until

import sockwave
from sockwave.asgi import ClientDisconnected


def handshake(target: str = "/", headers: tuple[tuple[str, str], ...] = ()) -> bytes:
    return build_request([*upgrade_headers().items(), *headers], target=target)


async def take_head(server: sockwave.Server, request: bytes = b"") -> Any:
    """Give the answer to a handshake that is refused."""
    async with await Wire.open(server.addresses[0]) as wire:
        wire.write(request or handshake())
        found = await receive_answer(wire)
        assert found.headers["connection"] == "close"
        await wire.receive_end()
        return found


# ---- the scope and the handshake


async def test_scope_tells_what_the_handshake_says(start_server: StartServer) -> None:
    app = Recorder(echo)
    server = await start_server(asgi=app, root_path="/v1")
    offer = {"Sec-WebSocket-Protocol": "chat, superchat"}
    wire = await Wire.connect(server.addresses[0], target="/a%20b?c", headers=offer)
    (scope,) = app.scopes
    assert scope["type"] == "websocket"
    assert scope["asgi"] == {"version": "3.0", "spec_version": "2.4"}
    assert scope["http_version"] == "1.1"
    assert scope["scheme"] == "ws"
    assert scope["root_path"] == "/v1"
    assert scope["path"] == "/v1/a b"
    assert scope["raw_path"] == b"/v1/a%20b"
    assert scope["query_string"] == b"c"
    assert (b"upgrade", b"websocket") in scope["headers"]
    assert scope["client"] == tuple(wire.writer.get_extra_info("sockname"))
    assert scope["server"] == tuple(server.addresses[0])
    assert scope["subprotocols"] == ["chat", "superchat"]
    assert "method" not in scope


async def test_messages_of_both_kinds_come_back(start_server: StartServer) -> None:
    server = await start_server(asgi=echo, lifespan="off")
    wire = await Wire.connect(server.addresses[0])
    for message in ("text", b"bytes", "", b"", "ü" * 50_000):
        wire.send(message)
        assert await wire.receive_message() == message
    await wire.shake_close()


@pytest.mark.parametrize("draft", [75, 76])
async def test_drafts_are_spoken_too(start_server: StartServer, draft: int) -> None:
    app = Recorder(echo)
    server = await start_server(asgi=app)
    wire = await Wire.connect_hixie(server.addresses[0], draft)
    wire.write(b"\x00hello\xff")
    assert await wire.receive(7) == b"\x00hello\xff"
    assert app.scopes[0]["extensions"]["sockwave"]["connection"].version == f"draft{draft}"


async def test_messages_are_compressed_where_the_server_does_that(
    start_server: StartServer,
) -> None:
    server = await start_server(asgi=echo, lifespan="off", compression=True)
    offer = {"Sec-WebSocket-Extensions": "permessage-deflate"}
    wire = await Wire.connect(server.addresses[0], headers=offer)
    wire.send("x" * 10_000)
    frame = await wire.receive_frame()
    assert frame.rsv
    assert len(frame.payload) < 100


async def test_application_chooses_subprotocol_and_headers(start_server: StartServer) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        headers = [
            (b"X-Mine", b"1"),
            (b"set-cookie", b"a=b"),
            (b"Connection", b"close"),
            (b"Transfer-Encoding", b"chunked"),
        ]
        await accept(receive, send, subprotocol="superchat", headers=headers)
        connection = scope["extensions"]["sockwave"]["connection"]
        assert connection.subprotocol == "superchat"
        await receive()

    # The option is about the server's own connections.
    server = await start_server(asgi=app, lifespan="off", subprotocol="chat")
    wire = await Wire.connect(
        server.addresses[0], headers={"Sec-WebSocket-Protocol": "chat, superchat"}
    )
    assert wire.head.headers["sec-websocket-protocol"] == "superchat"
    assert wire.head.headers["x-mine"] == "1"
    assert wire.head.headers["set-cookie"] == "a=b"
    assert wire.head.headers["connection"] == "Upgrade"
    assert "transfer-encoding" not in wire.head.headers


async def test_no_subprotocol_is_chosen_unless_the_application_does(
    start_server: StartServer,
) -> None:
    server = await start_server(asgi=echo, lifespan="off", subprotocol="chat")
    wire = await Wire.connect(server.addresses[0], headers={"Sec-WebSocket-Protocol": "chat"})
    assert "sec-websocket-protocol" not in wire.head.headers


@pytest.mark.parametrize(
    "message",
    [
        {"subprotocol": "other"},
        {"headers": [(b"sec-websocket-accept", b"x")]},
        {"headers": [(b"sec-websocket-protocol", b"chat")]},
        {"headers": [(b"a", b"b\r\n")]},
    ],
)
async def test_accept_that_no_client_would_take_raises(
    start_server: StartServer, message: dict[str, Any]
) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        with pytest.raises(ValueError, match="expected"):
            await send({"type": "websocket.accept"} | message)
        await send({"type": "websocket.accept"})
        await receive()

    server = await start_server(asgi=app, lifespan="off")
    await Wire.connect(server.addresses[0], headers={"Sec-WebSocket-Protocol": "chat"})


async def test_messages_behind_the_handshake_wait_for_the_application(
    start_server: StartServer,
) -> None:
    go_on = asyncio.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        assert await receive() == {"type": "websocket.connect"}
        await go_on.wait()
        await send({"type": "websocket.accept"})
        assert await receive() == {"type": "websocket.receive", "text": "early"}
        await send({"type": "websocket.send", "text": "late"})

    server = await start_server(asgi=app, lifespan="off")
    async with await Wire.open(server.addresses[0]) as wire:
        wire.write(handshake())
        wire.send("early")
        await wire.receive_nothing()
        go_on.set()
        assert (await wire.receive_head()).status == 101
        assert await wire.receive_message() == "late"
        assert await wire.receive_close() == (1000, "")


# ---- refusing


async def test_close_before_accept_is_403(start_server: StartServer) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "websocket.close", "code": 3000})
        assert await receive() == {"type": "websocket.disconnect", "code": 1006, "reason": ""}
        with pytest.raises(RuntimeError):
            await send({"type": "websocket.accept"})

    app = Recorder(app)
    server = await start_server(asgi=app)
    assert (await take_head(server)).status == 403
    await wait_until(lambda: app.ended)
    assert not app.errors


async def test_denial_is_a_response_of_the_application(start_server: StartServer) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        assert "websocket.http.response" in scope["extensions"]
        await receive()
        start = {
            "type": "websocket.http.response.start",
            "status": 401,
            "headers": [(b"www-authenticate", b"Basic"), (b"content-length", b"4")],
        }
        await send(start)
        await send({"type": "websocket.http.response.body", "body": b"who?"})
        with pytest.raises(RuntimeError):
            await send({"type": "websocket.http.response.body", "body": b"who?"})
        assert (await receive())["type"] == "websocket.disconnect"

    app = Recorder(app)
    server = await start_server(asgi=app)
    found = await take_head(server)
    assert (found.status, found.body) == (401, b"who?")
    assert found.headers["www-authenticate"] == "Basic"
    await wait_until(lambda: app.ended)
    assert not app.errors


async def test_denial_may_come_in_parts(start_server: StartServer) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "websocket.http.response.start", "status": 404})
        for body in (b"one", b"", b"two"):
            await send(
                {"type": "websocket.http.response.body", "body": body, "more_body": body != b"two"}
            )

    server = await start_server(asgi=app, lifespan="off")
    found = await take_head(server)
    assert (found.status, found.body) == (404, b"onetwo")


@pytest.mark.parametrize("begun", [False, True])
async def test_denial_that_is_not_ended_is_no_whole_answer(
    start_server: StartServer, error_log: ErrorLog, begun: bool
) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "websocket.http.response.start", "status": 404})
        if begun:
            message = {"type": "websocket.http.response.body", "body": b"one", "more_body": True}
            await send(message)
            await let_arrive()

    server = await start_server(asgi=app, lifespan="off")
    if begun:
        async with await Wire.open(server.addresses[0]) as wire:
            wire.write(handshake())
            assert (await wire.receive_head()).status == 404
            assert await wire.receive(8) == b"3\r\none\r\n"
            await wire.receive_end()
    else:
        assert (await take_head(server)).status == 500
    assert "returned without accepting" in str(error_log.take()[0])


async def test_application_that_decides_nothing_is_answered_for(
    start_server: StartServer, error_log: ErrorLog
) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["path"] == "/raises":
            raise ZeroDivisionError
        if scope["path"] == "/refuses":
            raise sockwave.Refused(402)

    server = await start_server(asgi=app, lifespan="off")
    assert (await take_head(server)).status == 500
    assert "returned without accepting" in str(error_log.take()[0])
    assert (await take_head(server, handshake("/raises"))).status == 500
    assert [type(error) for error in error_log.take()] == [ZeroDivisionError]
    assert (await take_head(server, handshake("/refuses"))).status == 402


async def test_application_that_decides_too_late_is_told(start_server: StartServer) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        assert await receive() == {"type": "websocket.disconnect", "code": 1006, "reason": ""}
        with pytest.raises(ClientDisconnected):
            await send({"type": "websocket.accept"})

    app = Recorder(app)
    server = await start_server(asgi=app, handshake_timeout=0.2)
    assert (await take_head(server)).status == 503
    await wait_until(lambda: app.ended)
    assert not app.errors


async def test_application_is_told_when_the_client_goes_before_it_has_decided(
    start_server: StartServer,
) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        assert (await receive())["code"] == 1006

    app = Recorder(app)
    server = await start_server(asgi=app)
    async with await Wire.open(server.addresses[0]) as wire:
        wire.write(handshake())
        await wait_until(lambda: app.scopes)
        wire.reset()
        await server.close(drain=0.1)
    await wait_until(lambda: app.ended)
    assert not app.errors


async def test_hooks_and_origin_come_before_the_application(start_server: StartServer) -> None:
    app = Recorder(echo)

    async def authorize(handshake: sockwave.Handshake) -> bool:
        handshake.add_header("X-Hook", "1")
        handshake.connection.data["user"] = "me"
        return handshake.request.path != "/secret"

    server = await start_server(asgi=app, authorize=authorize, origin=["http://good", None])
    assert (await take_head(server, handshake("/secret"))).status == 403
    assert (await take_head(server, handshake(headers=(("Origin", "http://bad"),)))).status == 403
    assert not app.scopes
    wire = await Wire.connect(server.addresses[0], headers={"Origin": "http://good"})
    assert wire.head.headers["x-hook"] == "1"
    assert app.scopes[0]["extensions"]["sockwave"]["connection"].data == {"user": "me"}


# ---- flow


@pytest.mark.slow
async def test_client_is_not_read_while_the_application_receives_nothing(
    start_server: StartServer,
) -> None:
    go_on = asyncio.Event()
    received = 0

    async def app(scope: Any, receive: Any, send: Any) -> None:
        nonlocal received
        await accept(receive, send)
        await receive()
        await go_on.wait()
        while (await receive())["type"] == "websocket.receive":
            received += 1

    server = await start_server(asgi=app, lifespan="off", queue_count=4)
    wire = await Wire.connect(server.addresses[0])
    for _ in range(1000):
        wire.send("x" * 60_000)
    assert await settle(wire.writer.transport.get_write_buffer_size) > 10_000_000
    go_on.set()
    await wait_until(lambda: received == 999)


@pytest.mark.slow
async def test_send_waits_while_the_client_is_slow(start_server: StartServer) -> None:
    sent = 0

    async def app(scope: Any, receive: Any, send: Any) -> None:
        nonlocal sent
        await accept(receive, send)
        for _ in range(400):
            await send({"type": "websocket.send", "bytes": b"x" * 65536})
            sent += 1

    server = await start_server(asgi=app, lifespan="off")
    wire = await Wire.connect(server.addresses[0], receive_buffer_size=4096)
    wire.pause_reading()
    await wait_until(lambda: sent)
    assert await settle(lambda: sent) < 300
    wire.resume_reading()
    for _ in range(400):
        assert await wire.receive_message() == b"x" * 65536
    assert await wire.receive_close() == (1000, "")


@pytest.mark.slow
async def test_message_over_max_size_ends_the_connection(start_server: StartServer) -> None:
    codes: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await accept(receive, send)
        codes.append(await receive())

    server = await start_server(asgi=app, lifespan="off", max_size=1000)
    wire = await Wire.connect(server.addresses[0])
    wire.send("x" * 1001)
    await wire.expect_failure(1009)
    await wait_until(lambda: codes)
    assert codes[0]["type"] == "websocket.disconnect"
    assert codes[0]["code"] == 1009
    assert server.limit_hits["max_size"] == 1


async def test_connection_is_pinged_and_its_latency_known(start_server: StartServer) -> None:
    app = Recorder(echo)
    server = await start_server(asgi=app, ping_interval=0.1)
    wire = await Wire.connect(server.addresses[0])
    connection = app.scopes[0]["extensions"]["sockwave"]["connection"]
    assert isinstance(connection, sockwave.Connection)
    wire.write_frame(10, await wire.receive_ping())
    await wait_until(lambda: connection.latency is not None)


# ---- the end


async def end_of(server: sockwave.Server, app: Recorder, act: Any) -> Any:
    """Give what the application is told when its client does something."""
    wire = await Wire.connect(server.addresses[0])
    result = act(wire)
    if asyncio.iscoroutine(result):
        await result
    await wait_until(lambda: app.ended)
    return app.told


class Told(Recorder):
    """Accepts, and keeps the first end that it is told."""

    def __init__(self) -> None:
        super().__init__(self.answer)
        self.told: Any = None

    async def answer(self, scope: Any, receive: Any, send: Any) -> None:
        await accept(receive, send)
        while (message := await receive())["type"] == "websocket.receive":
            pass
        self.told = message["code"], message["reason"]
        # It is told again, and nothing can be sent.
        assert (await receive())["code"] == message["code"]
        with pytest.raises(OSError):  # noqa: PT011 - any text
            await send({"type": "websocket.send", "text": "more"})


@pytest.mark.parametrize(
    ("act", "told"),
    [
        (lambda wire: wire.shake_close(3001), (3001, "")),
        (lambda wire: wire.write_close(4000, "bye"), (4000, "bye")),
        (lambda wire: wire.write_close(None), (1005, "")),
        (lambda wire: wire.reset(), (1006, "")),
        (lambda wire: wire.write_frame(1, b"\xff"), (1007, None)),
    ],
    ids=["code", "reason", "none", "reset", "violation"],
)
async def test_application_is_told_how_the_connection_ended(
    start_server: StartServer, act: Any, told: Any
) -> None:
    app = Told()
    server = await start_server(asgi=app)
    code, reason = await end_of(server, app, act)
    assert code == told[0]
    assert reason == told[1] or told[1] is None
    assert not app.errors
    assert not app.tasks[0].cancelled()


async def test_messages_before_the_end_are_received_first(start_server: StartServer) -> None:
    go_on = asyncio.Event()
    seen: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await accept(receive, send)
        seen.append(await receive())
        await go_on.wait()
        while seen[-1]["type"] == "websocket.receive":
            seen.append(await receive())

    server = await start_server(asgi=app, lifespan="off")
    wire = await Wire.connect(server.addresses[0])
    for message in ("one", "two", "three"):
        wire.send(message)
    await wire.shake_close(3000)
    go_on.set()
    await wait_until(lambda: len(seen) == 4)
    assert [one.get("text") for one in seen] == ["one", "two", "three", None]
    assert seen[-1]["code"] == 3000


async def test_application_closes_with_its_own_code(start_server: StartServer) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await accept(receive, send)
        await send({"type": "websocket.close", "code": 3003, "reason": "enough"})
        for message in ({"type": "websocket.send", "text": ""}, {"type": "websocket.close"}):
            with pytest.raises(RuntimeError, match="expected"):
                await send(message)
        message = await receive()
        assert (message["type"], message["code"]) == ("websocket.disconnect", 3003)

    app = Recorder(app)
    server = await start_server(asgi=app)
    wire = await Wire.connect(server.addresses[0])
    assert await wire.receive_close() == (3003, "enough")
    wire.write_close(3003)
    await wait_until(lambda: app.ended)
    assert not app.errors


async def test_application_that_returns_closes_the_connection(start_server: StartServer) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await accept(receive, send)
        await send({"type": "websocket.send", "text": "bye"})

    server = await start_server(asgi=app, lifespan="off")
    wire = await Wire.connect(server.addresses[0])
    assert await wire.receive_message() == "bye"
    assert await wire.receive_close() == (1000, "")


async def test_application_that_raises_closes_with_1011_and_is_reported(
    start_server: StartServer, error_log: ErrorLog
) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await accept(receive, send)
        await receive()
        raise ZeroDivisionError

    server = await start_server(asgi=app, lifespan="off")
    wire = await Wire.connect(server.addresses[0])
    wire.send("go")
    assert (await wire.receive_close())[0] == 1011
    assert [type(error) for error in error_log.take()] == [ZeroDivisionError]
    errors: list[Any] = []
    server.on("error", lambda error, conn: errors.append(conn))
    wire = await Wire.connect(server.addresses[0])
    wire.send("go")
    assert (await wire.receive_close())[0] == 1011
    assert isinstance(errors[0], sockwave.Connection)


async def test_application_that_fails_because_its_client_has_gone_is_not_reported(
    start_server: StartServer,
) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await accept(receive, send)
        while True:
            await send({"type": "websocket.send", "text": "x" * 1000})
            await asyncio.sleep(0)

    app = Recorder(app)
    server = await start_server(asgi=app)
    wire = await Wire.connect(server.addresses[0])
    wire.reset()
    await wait_until(lambda: app.ended)
    assert [type(error) for error in app.errors] == [ClientDisconnected]


@pytest.mark.parametrize(
    ("message", "error"),
    [
        ({"type": "websocket.send"}, ValueError),
        ({"type": "websocket.send", "text": None, "bytes": None}, ValueError),
        ({"type": "websocket.send", "text": "a", "bytes": b"a"}, ValueError),
        ({"type": "websocket.send", "text": b"a"}, TypeError),
        ({"type": "websocket.send", "bytes": "a"}, TypeError),
        ({"type": "websocket.send", "text": "\ud800"}, ValueError),
        ({"type": "websocket.accept"}, RuntimeError),
        ({"type": "websocket.close", "code": 1006}, ValueError),
        ({"type": "http.response.start", "status": 200}, RuntimeError),
    ],
    ids=range(9),
)
async def test_wrong_message_raises_in_the_application_and_sends_nothing(
    start_server: StartServer, message: Any, error: type[Exception]
) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await accept(receive, send)
        with pytest.raises(error):
            await send(message)
        await send({"type": "websocket.send", "text": "as ever", "bytes": None})
        await receive()

    server = await start_server(asgi=app, lifespan="off")
    wire = await Wire.connect(server.addresses[0])
    assert await wire.receive_message() == "as ever"


# ---- beside the server's own connections


async def test_sockets_of_applications_are_not_the_servers_own(start_server: StartServer) -> None:
    app = Recorder(echo)
    server = await start_server(asgi=app)
    heard: list[Any] = []
    server.on("readyStateChange", heard.append)
    wire = await Wire.connect(server.addresses[0])
    assert len(server.connections) == 0
    assert server.broadcast("news") == 0
    wire.send("mine")
    assert await wire.receive_message() == "mine"
    assert heard == []
    # From here on they are the server's own: `connection` comes before `asgi`.
    server.on("connection", heard.append)
    own = await Wire.connect(server.addresses[0])
    await wait_until(lambda: heard)
    assert server.broadcast("news") == 1
    assert await own.receive_message() == "news"
    assert heard[-1].broadcast("others") == 0
    assert len(app.scopes) == 1


async def test_server_closes_sockets_of_applications_too(start_server: StartServer) -> None:
    app = Told()
    server = await start_server(asgi=app)
    wire = await Wire.connect(server.addresses[0])
    closing = server.close(1012, "restart")
    assert await wire.receive_close() == (1012, "restart")
    wire.write_close(1012)
    await closing
    assert app.told == (1012, "")
    assert not app.errors


async def test_memory_budget_counts_sockets_of_applications(start_server: StartServer) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await accept(receive, send)
        await receive()
        await asyncio.Event().wait()

    server = await start_server(
        asgi=app, lifespan="off", memory_budget=1_000_000, queue_size=4_000_000, queue_count=100
    )
    wire = await Wire.connect(server.addresses[0])
    for _ in range(12):
        wire.send("x" * 100_000)
    await wire.expect_failure(1013)
    await server.close(drain=0)


async def test_connection_of_the_scope_is_the_connection(start_server: StartServer) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        connection = scope["extensions"]["sockwave"]["connection"]
        assert connection.ready_state is sockwave.ReadyState.HANDSHAKING
        with pytest.raises(sockwave.ConnectionClosed):
            connection.send("too early")
        await accept(receive, send)
        connection.send("directly")
        await receive()

    server = await start_server(asgi=app, lifespan="off")
    wire = await Wire.connect(server.addresses[0])
    assert await wire.receive_message() == "directly"

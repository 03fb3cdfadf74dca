"""Requests to ASGI applications: scope, receive and send, and what an application does wrong."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
from asgi_apps import Recorder, answer, ask, echo, get, part, post, read_body, served, start
from conftest import ErrorLog, StartServer
from http_wire import receive_answer, receive_chunked, receive_refusal
from wire import Wire, build_request, let_arrive, settle, wait_until

import sockwave
from sockwave.asgi import ClientDisconnected

CHUNKED = (("Host", "a"), ("Transfer-Encoding", "chunked"))


async def hello(scope: Any, receive: Any, send: Any) -> None:
    await answer(send, b"hello")


def record(function: Any) -> Recorder:
    return Recorder(function)


# ---- the scope


async def test_scope_tells_what_the_request_says(start_server: StartServer) -> None:
    app = record(hello)
    server = await start_server(asgi=app)
    async with await Wire.open(server.addresses[0]) as wire:
        request = [("Host", "a"), ("X-Two", "1"), ("x-two", " 2 "), ("Cookie", "k=v")]
        await ask(wire, build_request(request, target="/a%20b/%C3%A9?q=%20&r", method="PUT"))
        local = wire.writer.get_extra_info("sockname")
    (scope,) = app.scopes
    assert scope["type"] == "http"
    assert scope["asgi"] == {"version": "3.0", "spec_version": "2.4"}
    assert scope["http_version"] == "1.1"
    assert scope["method"] == "PUT"
    assert scope["scheme"] == "http"
    assert scope["path"] == "/a b/é"
    assert scope["raw_path"] == b"/a%20b/%C3%A9"
    assert scope["query_string"] == b"q=%20&r"
    assert scope["root_path"] == ""
    assert scope["headers"] == [
        (b"host", b"a"),
        (b"x-two", b"1"),
        (b"x-two", b"2"),
        (b"cookie", b"k=v"),
    ]
    assert scope["client"] == tuple(local)
    assert scope["server"] == tuple(server.addresses[0])
    assert scope["state"] == {}
    assert "tls" not in scope["extensions"]


@pytest.mark.parametrize(
    ("target", "path", "raw_path", "query"),
    [
        ("/", "/", b"/", b""),
        ("/%FF", "/\ufffd", b"/%FF", b""),
        ("/a%2Fb%3Fc", "/a/b?c", b"/a%2Fb%3Fc", b""),
        ("//a", "//a", b"//a", b""),
        ("/?", "/", b"/", b""),
        ("http://a/b?c", "/b", b"/b", b"c"),
    ],
)
async def test_path_is_decoded_and_raw_path_is_not(
    start_server: StartServer, target: str, path: str, raw_path: bytes, query: bytes
) -> None:
    app = record(hello)
    async with served(start_server, app) as wire:
        await ask(wire, get(target))
    assert app.scopes[0]["path"] == path
    assert app.scopes[0]["raw_path"] == raw_path
    assert app.scopes[0]["query_string"] == query


async def test_options_of_the_server_as_a_whole_have_a_star_as_their_path(
    start_server: StartServer,
) -> None:
    app = record(hello)
    async with served(start_server, app) as wire:
        await ask(wire, get("*", method="OPTIONS"))
    assert app.scopes[0]["path"] == "*"


async def test_root_path_is_put_back_in_front_of_the_path(start_server: StartServer) -> None:
    app = record(hello)
    async with served(start_server, app, root_path="/v 1/") as wire:
        await ask(wire, get("/users"))
    assert app.scopes[0]["root_path"] == "/v 1"
    assert app.scopes[0]["path"] == "/v 1/users"
    assert app.scopes[0]["raw_path"] == b"/v%201/users"


async def test_client_and_scheme_are_those_that_a_trusted_proxy_tells(
    start_server: StartServer,
) -> None:
    app = record(hello)
    server = await start_server(asgi=app, trusted_proxies="127.0.0.1")
    forwarded = (("X-Forwarded-For", "192.0.2.7"), ("X-Forwarded-Proto", "https"))
    async with await Wire.open(server.addresses[0]) as wire:
        await ask(wire, get(headers=forwarded))
    assert app.scopes[0]["client"] == ("192.0.2.7", 0)
    assert app.scopes[0]["scheme"] == "https"
    assert "tls" not in app.scopes[0]["extensions"]


async def test_client_of_a_unix_socket_has_no_address(
    start_server: StartServer, tmp_path: Any
) -> None:
    app = record(hello)
    server = await start_server(asgi=app)
    path = str(tmp_path / "s")
    server.listen(path=path)
    await let_arrive()
    async with await Wire.open(path) as wire:
        await ask(wire)
    assert app.scopes[0]["client"] is None
    assert app.scopes[0]["server"] == (path, None)


# ---- the body of a request


async def test_request_without_a_body_has_an_empty_one_at_once(start_server: StartServer) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        message = await receive()
        assert message == {"type": "http.request", "body": b"", "more_body": False}
        await answer(send, b"ok")

    async with served(start_server, app) as wire:
        for _ in range(2):
            assert (await ask(wire)).body == b"ok"


async def test_body_comes_in_the_pieces_in_which_it_arrives(start_server: StartServer) -> None:
    pieces: list[tuple[bytes, bool]] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        while not pieces or pieces[-1][1]:
            message = await receive()
            pieces.append((message["body"], message["more_body"]))
        await answer(send, b"".join(body for body, _ in pieces))

    async with served(start_server, app) as wire:
        wire.write(build_request(CHUNKED, method="POST"))
        for count, chunk in enumerate((b"one", b"two"), 1):
            wire.write(b"3\r\n%b\r\n" % chunk)
            await wait_until(lambda count=count: len(pieces) == count)
        assert (await ask(wire, b"0\r\n\r\n")).body == b"onetwo"
    assert pieces == [(b"one", True), (b"two", True), (b"", False)]


async def test_request_behind_one_with_a_body_in_the_same_segment_is_answered(
    start_server: StartServer,
) -> None:
    async with served(start_server, echo) as wire:
        wire.write(post(b"one") + get() + post(b"two"))
        assert [(await receive_answer(wire)).body for _ in range(3)] == [b"one", b"", b"two"]


async def test_pipelined_requests_are_answered_in_their_order(start_server: StartServer) -> None:
    first = asyncio.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["path"] == "/0":
            await first.wait()
        await answer(send, scope["path"].encode())

    async with served(start_server, app) as wire:
        wire.write(b"".join(get(f"/{i}") for i in range(40)))
        await wire.receive_nothing()
        first.set()
        for i in range(40):
            assert (await receive_answer(wire)).body == b"/%d" % i


async def test_body_has_no_limit_unless_one_is_given(start_server: StartServer) -> None:
    size = 3 << 20

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await answer(send, str(len(await read_body(receive))).encode())

    async with served(start_server, app) as wire:
        assert (await ask(wire, post(b"x" * size))).body == str(size).encode()
        chunk = b"10000\r\n" + b"y" * 0x10000 + b"\r\n"
        request = build_request(CHUNKED, method="POST") + chunk * 48 + b"0\r\n\r\n"
        assert (await ask(wire, request)).body == str(size).encode()


async def test_body_over_a_limit_that_is_given_is_refused(start_server: StartServer) -> None:
    seen: list[str] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        while (message := await receive())["type"] == "http.request":
            pass
        seen.append(message["type"])
        with pytest.raises(ClientDisconnected):
            await answer(send)

    server = await start_server(asgi=app, lifespan="off", body_size=10)
    async with await Wire.open(server.addresses[0]) as wire:
        wire.write(post(b"x" * 11))
        await receive_refusal(wire, 413)
    async with await Wire.open(server.addresses[0]) as wire:
        wire.write(build_request(CHUNKED, method="POST") + b"5\r\nhello\r\n")
        await wire.receive_nothing()
        wire.write(b"6\r\n")
        await receive_refusal(wire, 413)
    await wait_until(lambda: seen == ["http.disconnect"])


async def test_listeners_of_requests_keep_their_limit_beside_an_application(
    start_server: StartServer,
) -> None:
    server = await start_server(asgi=echo, lifespan="off")
    server.on("request", lambda req, res: res.end("ours"))
    async with await Wire.open(server.addresses[0]) as wire:
        wire.write(build_request([("Host", "a"), ("Content-Length", str(2 << 20))], method="POST"))
        await receive_refusal(wire, 413)


async def test_client_is_not_read_while_the_application_reads_no_body(
    start_server: StartServer,
) -> None:
    go_on = asyncio.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await go_on.wait()
        await answer(send, str(len(await read_body(receive))).encode())

    server = await start_server(asgi=app, lifespan="off")
    size = 12 << 20
    async with await Wire.open(server.addresses[0]) as wire:
        wire.write(post(b"x" * size))
        assert await settle(wire.writer.transport.get_write_buffer_size) > size // 2
        go_on.set()
        assert 0 < int((await receive_answer(wire)).body) < size


async def test_unread_body_that_has_arrived_keeps_the_connection(start_server: StartServer) -> None:
    async with served(start_server, hello) as wire:
        for _ in range(2):
            found = await ask(wire, post(b"x" * 1000))
            assert found.body == b"hello"
            assert "connection" not in found.headers


async def test_unread_body_that_has_not_arrived_ends_the_connection(
    start_server: StartServer,
) -> None:
    async with served(start_server, hello) as wire:
        found = await ask(wire, build_request(CHUNKED, method="POST"))
        assert (found.status, found.headers["connection"]) == (200, "close")
        await wire.receive_end()


async def test_body_read_by_half_is_dropped_behind_the_answer(start_server: StartServer) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["method"] == "POST":
            assert (await receive())["more_body"]
        await answer(send, b"enough")
        assert await receive() == {"type": "http.disconnect"}

    async with served(start_server, app, body_size=1 << 20) as wire:
        head = build_request([("Host", "a"), ("Content-Length", "10")], method="POST")
        assert (await ask(wire, head + b"12345")).body == b"enough"
        assert (await ask(wire, b"67890" + get())).body == b"enough"


# ---- 100 (Continue)

EXPECTING = build_request(
    [("Host", "a"), ("Content-Length", "5"), ("Expect", "100-continue")], method="POST"
)


async def test_client_is_told_to_continue_when_the_application_asks_for_the_body(
    start_server: StartServer,
) -> None:
    go_on = asyncio.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await go_on.wait()
        await answer(send, await read_body(receive))

    async with served(start_server, app) as wire:
        wire.write(EXPECTING)
        await wire.receive_nothing()
        go_on.set()
        assert (await wire.receive_head()).status == 100
        assert (await ask(wire, b"hello")).body == b"hello"


async def test_connection_ends_where_the_application_never_asked_for_the_body(
    start_server: StartServer,
) -> None:
    async with served(start_server, hello) as wire:
        found = await ask(wire, EXPECTING)
        assert (found.body, found.headers["connection"]) == (b"hello", "close")
        await wire.receive_end()


async def test_client_is_not_told_to_continue_in_the_middle_of_the_answer(
    start_server: StartServer,
) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await start(send)
        await part(send, b"one")
        reading = asyncio.ensure_future(receive())
        await asyncio.sleep(0)
        await part(send, b"two", more_body=False)
        assert (await reading)["type"] == "http.disconnect"

    async with served(start_server, app) as wire:
        assert (await ask(wire, EXPECTING)).body == b"onetwo"


# ---- the response


async def test_head_leaves_before_a_body_that_is_long_in_coming(start_server: StartServer) -> None:
    go_on = asyncio.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        length = [(b"Content-Length", b"7")] if scope["query_string"] else []
        await start(send, 201, *length)
        await go_on.wait()
        await send({"type": "http.response.body", "body": b"content"})

    async with served(start_server, app) as wire:
        for target in ("/", "/?length"):
            wire.write(get(target))
            head = await wire.receive_head()
            assert head.status == 201
            await wire.receive_nothing()
            go_on.set()
            if target == "/":
                assert head.headers["transfer-encoding"] == "chunked"
                assert await receive_chunked(wire) == b"content"
            else:
                assert await wire.receive(7) == b"content"
            go_on.clear()


async def test_error_behind_a_head_that_has_left_drops_the_connection(
    start_server: StartServer, error_log: ErrorLog
) -> None:
    go_on = asyncio.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await start(send)
        await go_on.wait()
        raise ZeroDivisionError

    async with served(start_server, app) as wire:
        wire.write(get())
        assert (await wire.receive_head()).status == 200
        go_on.set()
        await wire.receive_end()
    assert [type(error) for error in error_log.take()] == [ZeroDivisionError]


async def test_head_waits_for_a_body_that_comes_at_once(start_server: StartServer) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await start(send)
        if scope["path"] == "/fails":
            raise sockwave.Refused(409, "refused\n")
        await send({"type": "http.response.body", "body": b"content"})

    async with served(start_server, app) as wire:
        assert (await ask(wire)).headers["content-length"] == "7"
        assert (await ask(wire, get("/fails"))).status == 409


async def test_parts_of_a_body_leave_as_they_are_sent(start_server: StartServer) -> None:
    more = asyncio.Queue[bytes]()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await start(send, 200, (b"content-type", b"text/plain"))
        while body := await more.get():
            await part(send, body)
        await part(send, b"", more_body=False)

    async with served(start_server, app) as wire:
        wire.write(get() + get())
        more.put_nowait(b"one")
        head = await wire.receive_head()
        assert head.headers["transfer-encoding"] == "chunked"
        assert await wire.receive(8) == b"3\r\none\r\n"
        more.put_nowait(b"four")
        assert await wire.receive(9) == b"4\r\nfour\r\n"
        more.put_nowait(b"")
        assert await wire.receive(5) == b"0\r\n\r\n"
        more.put_nowait(b"")
        assert (await receive_answer(wire)).body == b""


async def test_framing_and_connection_fields_of_the_application_are_left_out(
    start_server: StartServer,
) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await answer(
            send,
            b"ok",
            200,
            (b"Transfer-Encoding", b"chunked"),
            (b"Connection", b"keep-alive, x-mine"),
            (b"Keep-Alive", b"timeout=5"),
            (b"x-mine", b"1"),
        )

    async with served(start_server, app) as wire:
        for _ in range(2):
            found = await ask(wire)
            assert found.headers["content-length"] == "2"
            assert found.headers["x-mine"] == "1"
            assert not {"transfer-encoding", "connection", "keep-alive"} & set(found.headers)


async def test_application_may_have_the_connection_closed(start_server: StartServer) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await answer(send, b"ok", 200, (b"connection", b"Close"))

    async with served(start_server, app) as wire:
        assert (await ask(wire)).headers["connection"] == "close"
        await wire.receive_end()


async def test_head_request_and_statuses_without_content_get_none(
    start_server: StartServer,
) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        status = int(scope["path"][1:])
        if scope["query_string"]:
            await start(send, status)
            await part(send, b"some")
            await part(send, b"thing", more_body=False)
        else:
            await answer(send, b"something", status, (b"content-length", b"9"))

    async with served(start_server, app) as wire:
        for method, target, length in (
            ("HEAD", "/200", "9"),
            ("HEAD", "/200?parts", None),
            ("GET", "/204", None),
            ("GET", "/204?parts", None),
            ("GET", "/304", "9"),
            ("GET", "/304?parts", None),
            ("HEAD", "/404", "9"),
        ):
            found = await ask(wire, get(target, method=method) + get("/200"), method=method)
            assert found.headers.get("content-length") == length, target
            assert (await receive_answer(wire)).body == b"something"


@pytest.mark.parametrize("kind", ["http.response.body", "http.response.pathsend"])
async def test_head_answer_without_a_body_claims_no_length(
    start_server: StartServer, tmp_path: Path, kind: str
) -> None:
    """RFC 9110, 8.6: no Content-Length that is not that of the answer to GET."""
    (tmp_path / "file").write_bytes(b"content")

    async def app(scope: Any, receive: Any, send: Any) -> None:
        length = [(b"Content-Length", b"7")] if scope["query_string"] else []
        await start(send, 200, *length)
        await send({"type": kind, "path": str(tmp_path / "file")})

    async with served(start_server, app) as wire:
        for target, length in (("/", None), ("/?length", "7"), ("/", None)):
            wire.write(get(target, method="HEAD"))
            found = await receive_answer(wire, method="HEAD")
            assert found.headers.get("content-length") == length
            assert "connection" not in found.headers


async def test_client_of_http_1_0_gets_a_body_up_to_the_end(start_server: StartServer) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        assert scope["http_version"] == "1.0"
        assert "http.response.trailers" not in scope["extensions"]
        await start(send)
        await part(send, b"one")
        await send({"type": "http.response.body", "body": b"two"})

    async with served(start_server, app) as wire:
        assert (await ask(wire, b"GET / HTTP/1.0\r\n\r\n")).body == b"onetwo"
        await wire.receive_end()


async def test_header_values_may_be_any_text_but_controls(start_server: StartServer) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await answer(send, b"", 200, (b"x-name", "À là".encode()), (b"X-Empty", b""))

    async with served(start_server, app) as wire:
        found = await ask(wire)
        assert found.headers["x-name"].encode("latin-1").decode() == "À là"
        assert found.headers["x-empty"] == ""


@pytest.mark.slow
async def test_send_waits_while_the_client_is_slow(start_server: StartServer) -> None:
    sent = 0

    async def app(scope: Any, receive: Any, send: Any) -> None:
        nonlocal sent
        await start(send)
        for _ in range(400):
            await part(send, b"x" * 65536)
            sent += 1
        await part(send, b"", more_body=False)

    server = await start_server(asgi=app, lifespan="off")
    async with await Wire.open(server.addresses[0], receive_buffer_size=4096) as wire:
        wire.pause_reading()
        wire.write(get())
        await wait_until(lambda: sent)
        assert await settle(lambda: sent) < 300
        wire.resume_reading()
        await wire.receive_head()
        assert len(await receive_chunked(wire)) == 400 * 65536


async def test_responses_of_a_crowd_do_not_mix(start_server: StartServer) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        mark = scope["path"][1:].encode()
        await start(send, 200, (b"x-mark", mark))
        for _ in range(8):
            await asyncio.sleep(0)
            await part(send, mark * 700)
        await part(send, b"", more_body=False)

    server = await start_server(asgi=app, lifespan="off")

    async def ask_often(number: int) -> None:
        async with await Wire.open(server.addresses[0]) as wire:
            for turn in range(5):
                mark = f"<{number}.{turn}>"
                found = await ask(wire, get("/" + mark))
                assert found.headers["x-mark"] == mark
                assert found.body == mark.encode() * 5600

    async with asyncio.TaskGroup() as group:
        for number in range(60):
            group.create_task(ask_often(number))


# ---- the end


async def test_receive_tells_the_end_behind_the_response_and_ever_after(
    start_server: StartServer,
) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await answer(send, b"ok")
        for _ in range(3):
            assert await receive() == {"type": "http.disconnect"}

    app = record(app)
    async with served(start_server, app) as wire:
        await ask(wire)
    await wait_until(lambda: app.ended)
    assert not app.errors


async def test_receive_that_waits_is_told_when_another_task_ends_the_response(
    start_server: StartServer,
) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await read_body(receive)
        waiting = [asyncio.ensure_future(receive()) for _ in range(3)]
        await asyncio.sleep(0)
        assert not any(one.done() for one in waiting)
        await answer(send, b"ok")
        assert [(await one)["type"] for one in waiting] == ["http.disconnect"] * 3

    app = record(app)
    async with served(start_server, app) as wire:
        await ask(wire)
        await wait_until(lambda: app.ended)
    assert not app.errors


async def test_receive_tells_that_the_client_has_gone(start_server: StartServer) -> None:
    for request in (get(), build_request(CHUNKED, method="POST"), post(b"hello")[:-1]):
        app = record(_wait_for_disconnect)
        async with served(start_server, app) as wire:
            wire.write(request)
            await wait_until(lambda app=app: app.scopes)
            wire.reset()
            await wait_until(lambda app=app: app.ended)
        assert not app.errors
        assert not app.tasks[0].cancelled()


async def _wait_for_disconnect(scope: Any, receive: Any, send: Any) -> None:
    while (await receive())["type"] == "http.request":
        pass
    for message in ({"type": "http.response.start", "status": 200}, {"type": "http.response.body"}):
        with pytest.raises(OSError, match="the client has gone"):
            await send(message)


async def test_client_that_goes_before_its_application_begins_is_told_of(
    start_server: StartServer,
) -> None:
    scopes: list[Any] = []
    seen: list[str] = []
    streams: list[Any] = []
    ended = asyncio.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        scopes.append(scope)
        seen.extend([(await receive())["type"], (await receive())["type"]])
        with pytest.raises(ClientDisconnected):
            await start(send)
        ended.set()

    def factory(loop: Any, coroutine: Any, **options: Any) -> Any:
        if type(coroutine).__name__ == "HttpCall":
            streams[0].close()  # the task takes its first step in a later turn
        return asyncio.Task(coroutine, loop=loop, **options)

    server = await start_server(asgi=app, lifespan="off")
    server.on("stream", streams.append)
    asyncio.get_running_loop().set_task_factory(factory)
    try:
        async with await Wire.open(server.addresses[0]) as wire:
            address = wire.writer.get_extra_info("sockname")
            wire.write(get("/gone"))
            await ended.wait()
    finally:
        asyncio.get_running_loop().set_task_factory(None)
    assert [scope["client"] for scope in scopes] == [tuple(address)]
    assert seen == ["http.request", "http.disconnect"]


async def test_half_closed_client_is_still_there(start_server: StartServer) -> None:
    go_on = asyncio.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await read_body(receive)
        waiting = asyncio.ensure_future(receive())
        await go_on.wait()
        assert not waiting.done()
        await answer(send, b"ok")
        assert (await waiting)["type"] == "http.disconnect"

    app = record(app)
    async with served(start_server, app) as wire:
        wire.write(get())
        wire.write_eof()
        await wait_until(lambda: app.scopes)
        await wire.receive_nothing()
        go_on.set()
        assert (await receive_answer(wire)).body == b"ok"
    await wait_until(lambda: app.ended)
    assert not app.errors


async def test_send_raises_when_the_client_goes_while_it_waits(start_server: StartServer) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await start(send)
        while True:
            await part(send, b"x" * 65536)

    app = record(app)
    async with served(start_server, app) as wire:
        wire.pause_reading()
        wire.write(get())
        await wait_until(lambda: app.scopes)
        await let_arrive()
        wire.reset()
        await wait_until(lambda: app.ended)
    # It is no error of the application: nothing has been logged.
    assert [type(error) for error in app.errors] == [ClientDisconnected]


async def test_whole_body_of_a_client_that_has_gone_is_given(start_server: StartServer) -> None:
    go_on = asyncio.Event()
    seen: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await go_on.wait()
        seen.extend([await receive(), await receive()])

    app = record(app)
    async with served(start_server, app) as wire:
        wire.write(post(b"hello"))
        await wait_until(lambda: app.scopes)
        wire.reset()
        await let_arrive()
    go_on.set()
    await wait_until(lambda: app.ended)
    assert seen == [
        {"type": "http.request", "body": b"hello", "more_body": False},
        {"type": "http.disconnect"},
    ]


# ---- what an application does wrong


async def expect_500(server: sockwave.Server, request: bytes = b"") -> None:
    async with await Wire.open(server.addresses[0]) as wire:
        found = await ask(wire, request or get())
        assert (found.status, found.body) == (500, b"internal server error\n")


async def expect_drop(server: sockwave.Server, *, behind: bytes) -> None:
    """Expect a response that is cut off behind some bytes of its body."""
    async with await Wire.open(server.addresses[0]) as wire:
        wire.write(get())
        await wire.receive_head()
        assert await wire.receive(len(behind)) == behind
        await wire.receive_end()


async def test_error_before_the_response_is_answered_with_500_and_reported(
    start_server: StartServer, error_log: ErrorLog
) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["path"] == "/started":
            await start(send)
        raise ZeroDivisionError("mine")

    server = await start_server(asgi=app, lifespan="off")
    for target in ("/", "/started"):
        await expect_500(server, get(target))
        (error,) = error_log.take()
        assert isinstance(error, ZeroDivisionError)
    errors: list[Any] = []
    server.on("error", lambda error, conn: errors.append((str(error), conn)))
    await expect_500(server)
    assert errors == [("mine", None)]


async def test_error_in_the_middle_of_the_response_drops_the_connection(
    start_server: StartServer, error_log: ErrorLog
) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await start(send, 200, (b"content-length", b"10"))
        await part(send, b"12345")
        await let_arrive()
        raise ZeroDivisionError("mine")

    server = await start_server(asgi=app, lifespan="off")
    await expect_drop(server, behind=b"12345")
    assert [type(error) for error in error_log.take()] == [ZeroDivisionError]


async def test_error_behind_the_response_is_reported_and_no_more(
    start_server: StartServer, error_log: ErrorLog
) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await answer(send, b"ok")
        raise ZeroDivisionError("mine")

    async with served(start_server, app) as wire:
        for _ in range(2):
            assert (await ask(wire)).body == b"ok"
            await wait_until(lambda: error_log.records)
            assert [type(error) for error in error_log.take()] == [ZeroDivisionError]


async def test_application_that_returns_without_a_response_is_answered_for(
    start_server: StartServer, error_log: ErrorLog
) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["path"] != "/":
            await start(send)

    server = await start_server(asgi=app, lifespan="off")
    for target in ("/", "/started"):
        await expect_500(server, get(target))
        (error,) = error_log.take()
        assert isinstance(error, sockwave.SockwaveError)
        assert "returned without ending the response" in str(error)


async def test_application_that_returns_in_the_middle_of_the_response_is_cut_off(
    start_server: StartServer, error_log: ErrorLog
) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await start(send)
        await part(send, b"12345")
        await let_arrive()

    server = await start_server(asgi=app, lifespan="off")
    await expect_drop(server, behind=b"5\r\n12345\r\n")
    assert "returned without ending" in str(error_log.take()[0])


@pytest.mark.parametrize("parts", [(b"123456",), (b"123",), (b"12", b"1")])
async def test_body_against_its_own_content_length_is_an_error(
    start_server: StartServer, error_log: ErrorLog, parts: tuple[bytes, ...]
) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await start(send, 200, (b"content-length", b"5"))
        for one in parts[:-1]:
            await part(send, one)
            await let_arrive()
        await part(send, parts[-1], more_body=False)

    app = record(app)
    server = await start_server(asgi=app)
    if len(parts) == 1:
        await expect_500(server)
    else:
        await expect_drop(server, behind=b"12")
    assert [type(error) for error in error_log.take()] == [ValueError]
    assert "Content-Length: expected 5 bytes" in str(app.errors[0])


async def test_part_over_the_content_length_is_an_error_and_not_sent(
    start_server: StartServer, error_log: ErrorLog
) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await start(send, 200, (b"content-length", b"5"))
        await part(send, b"123")
        await let_arrive()
        await part(send, b"456")

    server = await start_server(asgi=app, lifespan="off")
    await expect_drop(server, behind=b"123")
    assert [type(error) for error in error_log.take()] == [ValueError]


async def test_second_answer_raises_in_the_application(start_server: StartServer) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await start(send)
        with pytest.raises(RuntimeError, match=r"expected http\.response\.body"):
            await start(send)
        await part(send, b"ok", more_body=False)
        for again in (start(send), part(send, b"more")):
            with pytest.raises(RuntimeError, match="the response is complete"):
                await again

    app = record(app)
    async with served(start_server, app) as wire:
        assert (await ask(wire, get() + get())).body == b"ok"
        assert (await receive_answer(wire)).body == b"ok"
    assert not app.errors


@pytest.mark.parametrize(
    ("message", "error"),
    [
        ({"type": "http.response.body", "body": b""}, RuntimeError),
        ({"type": "http.response.trailers"}, RuntimeError),
        ({"type": "websocket.accept"}, RuntimeError),
        ({"type": "http.response.start"}, TypeError),
        ({"type": "http.response.start", "status": "200"}, TypeError),
        ({"type": "http.response.start", "status": 101}, ValueError),
        ({"type": "http.response.start", "status": 600}, ValueError),
        ({"type": "http.response.start", "status": 200, "headers": [("a", "b")]}, TypeError),
        ({"type": "http.response.start", "status": 200, "headers": [b"ab"]}, TypeError),
        ({"type": "http.response.start", "status": 200, "headers": 7}, TypeError),
        ({"type": "http.response.start", "status": 200, "headers": [(b"a b", b"")]}, ValueError),
        (
            {"type": "http.response.start", "status": 200, "headers": [(b"a", b"1\r\nb: 2")]},
            ValueError,
        ),
        ({"type": "http.response.start", "status": 200, "headers": [(b"a", b"\0")]}, ValueError),
        (
            {"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"-1")]},
            ValueError,
        ),
        (
            {
                "type": "http.response.start",
                "status": 200,
                "headers": [(b"content-length", b"2"), (b"Content-Length", b"2")],
            },
            ValueError,
        ),
    ],
    ids=range(15),
)
async def test_wrong_message_raises_in_the_application_and_sends_nothing(
    start_server: StartServer, message: Any, error: type[Exception]
) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        with pytest.raises(error, match="expected"):
            await send(message)
        await answer(send, b"ok")

    async with served(start_server, app) as wire:
        assert (await ask(wire)).body == b"ok"


async def test_body_of_str_is_a_type_error(start_server: StartServer) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await start(send)
        with pytest.raises(TypeError, match="body: expected bytes, given str"):
            await send({"type": "http.response.body", "body": "text"})
        await send({"type": "http.response.body", "body": memoryview(b"ok")})

    async with served(start_server, app) as wire:
        assert (await ask(wire)).body == b"ok"


async def test_refused_is_an_answer_for_an_application_too(start_server: StartServer) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        raise sockwave.Refused(402, "pay first\n", {"X-Price": "1"})

    async with served(start_server, app) as wire:
        found = await ask(wire)
        assert (found.status, found.body, found.headers["x-price"]) == (402, b"pay first\n", "1")


async def test_application_that_takes_too_long_is_answered_for_and_told(
    start_server: StartServer, error_log: ErrorLog
) -> None:
    app = record(_wait_for_disconnect)
    server = await start_server(asgi=app, answer_timeout=0.2)
    await expect_500(server)
    await wait_until(lambda: app.ended)
    assert not app.errors
    assert "answer_timeout" in str(error_log.take()[0])

"""Which function takes a path: of requests, and of WebSockets (RFC 3986, section 3.3)."""

import asyncio
from typing import Any

import pytest
from asgi_apps import get
from conftest import ErrorLog, StartServer
from http_wire import Answer, receive_answer
from wire import Wire, build_request, case, upgrade_headers, wait_until

import sockwave


async def ask(
    server: sockwave.Server, target: str, method: str = "GET", body: bytes | None = None
) -> Answer:
    """Ask once, by a connection of its own."""
    async with await Wire.open(server.addresses[0]) as wire:
        headers = () if body is None else (("Content-Length", str(len(body))),)
        wire.write(get(target, method=method, headers=headers) + (body or b""))
        return await receive_answer(wire, method=method)


async def say(server: sockwave.Server, target: str, method: str = "GET") -> str:
    """Give the body of an answer with 200, and any other status."""
    answer = await ask(server, target, method)
    return answer.body.decode() if answer.status == 200 else str(answer.status)


async def ask_socket(server: sockwave.Server, target: str, *, version: int = 13) -> str:
    """Give the first message of a WebSocket, or the status of the refusal."""
    async with await Wire.open(server.addresses[0]) as wire:
        wire.write(build_request(upgrade_headers(version), target=target))
        head = await wire.receive_head()
        return str(await wire.receive_message()) if head.status == 101 else str(head.status)


def named(name: str) -> Any:
    """Give an ASGI application that says its name."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "websocket":
            await receive()
            await send({"type": "websocket.accept"})
            await send({"type": "websocket.send", "text": name})
            await receive()
        else:
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": name.encode()})

    return app


def told(name: str) -> Any:
    """Give a function for a route, which says its name and what stands in the path."""

    def answer(request: sockwave.Request) -> str:
        params = ",".join(f"{key}={value}" for key, value in request.path_params.items())
        return f"{name} {params}".strip()

    return answer


# ---- which path


async def test_exact_name_comes_before_any_name(start_server: StartServer) -> None:
    server = await start_server()
    for path in (
        "/",
        "/health",
        "/users/me",
        "/users/{id}",
        "/users/{id}/photo",
        "/users/me/{thing}",
        "/{kind}/{id}/photo/{size}",
        "/chat/",
        "/é/{é}",
    ):
        server.get(path, told(path))
    for target, said in {
        "/": "/",
        "/?x=/health": "/",
        "/health": "/health",
        "/health?x": "/health",
        "/users/me": "/users/me",
        "/users/ME": "/users/{id} id=ME",
        "/users/me/photo": "/users/me/{thing} thing=photo",
        "/users/7/photo": "/users/{id}/photo id=7",
        "/users/me/photo/1": "/{kind}/{id}/photo/{size} kind=users,id=me,size=1",
        "/chat/": "/chat/",
        "/%C3%A9/%C3%A9": "/é/{é} é=é",
        "http://a/users/7": "/users/{id} id=7",
        "http://a": "/",
        # Split as it was sent, and each segment decoded once.
        "/he%61lth": "/health",
        "/users/a%2Fb": "/users/{id} id=a/b",
        "/users/a%252Fb": "/users/{id} id=a%2Fb",
        "/users/a%20b+c": "/users/{id} id=a b+c",
        "/users/%zz": "/users/{id} id=%zz",
        # No names, and no segments of these.
        "/users": "404",
        "/users/": "404",
        "/users//photo": "404",
        "/health/": "404",
        "//health": "404",
        "/chat": "404",
        "/users/7/photo/1/2": "404",
        "/users/%FF": "404",
        "/users%2Fme": "404",
        # Dot segments, written and escaped.
        "/users/..": "404",
        "/users/.": "404",
        "/users/%2e%2E": "404",
        "/users/../health": "404",
        "/./health": "404",
        "/users/...": "/users/{id} id=...",
        "/users/..%2F..": "/users/{id} id=../..",
    }.items():
        with case(target):
            assert await say(server, target) == said


async def test_path_of_thousands_of_segments_has_no_route(start_server: StartServer) -> None:
    server = await start_server()
    server.get("/{a}/{b}", told("two"))
    assert await say(server, "/x" * 2000) == "404"
    assert await say(server, "/" * 4000) == "404"


@pytest.mark.parametrize(
    ("path", "said"),
    [
        (None, "given NoneType"),
        (b"/x", "given bytes"),
        ("", "expected a path such as"),
        ("chat", "expected a path such as"),
        ("http://a/x", "expected a path such as"),
        ("/a//b", "no empty segment but the last"),
        ("//", "no empty segment but the last"),
        ("/a/../b", "no dot segment"),
        ("/.", "no dot segment"),
        ("/a?b", "without a query"),
        ("/a#b", "without a query"),
        ("/a%20b", "decoded"),
        ("/a\nb", "no control characters"),
        ("/{}", "the name of a variable in braces"),
        ("/{a b}", "the name of a variable in braces"),
        ("/{1}", "the name of a variable in braces"),
        ("/x{a}", "the name of a variable in braces"),
        ("/{a}x", "the name of a variable in braces"),
        ("/{a}{b}", "the name of a variable in braces"),
        ("/{a", "the name of a variable in braces"),
        ("/a}", "the name of a variable in braces"),
        ("/{a:int}", "the name of a variable in braces"),
        ("/{a}/{a}", "each name once"),
    ],
)
def test_malformed_path_says_what_was_expected(path: Any, said: str) -> None:
    server = sockwave.create_server()
    for register in (server.get, server.route):
        with pytest.raises((TypeError, ValueError), match=r"^path: expected") as raised:
            register(path)
        assert said in str(raised.value)
        assert "given" in str(raised.value)


def test_decorator_without_its_path_says_so() -> None:
    server = sockwave.create_server()
    for register in (server.get, server.post, server.options, server.route):
        with pytest.raises(TypeError, match=r"path: expected str, such as .*given <function"):

            @register
            def answer() -> None: ...


def test_path_that_is_taken_is_refused() -> None:
    server = sockwave.create_server()
    server.get("/users/{id}", told("one")).post("/users/{id}", told("two"))
    server.route("/users/{id}", lambda conn: None)
    with pytest.raises(ValueError, match=r"one that is free, given 'GET /users/\{id\}' again$"):
        server.get("/users/{id}")(told("three"))
    with pytest.raises(ValueError, match=r"takes the same paths as '/users/\{id\}'"):
        server.get("/users/{name}", told("three"))
    with pytest.raises(ValueError, match=r"given '/users/\{name\}' again, which takes the same"):
        server.route("/users/{name}", lambda conn: None)
    server.delete("/users/{name}", told("three"))


def test_function_that_cannot_be_called_is_refused() -> None:
    server = sockwave.create_server()

    def of_three(request: Any, response: Any, other: Any) -> None: ...

    def generator(request: Any) -> Any:
        yield "x"

    for one, said in ((of_three, "takes 3 arguments"), (generator, "a generator"), (7, "callable")):
        with pytest.raises(TypeError, match=said):
            server.get("/x", one)  # type: ignore[call-overload]
    for one, said in (
        (lambda: None, "expected a function of a connection, .* there are `server.get`"),
        (lambda request, response: None, "takes 2 arguments, but 'connection' has 1"),
        (generator, "a generator"),
        (7, "callable"),
    ):
        with pytest.raises(TypeError, match=said):
            server.route("/x", one)  # type: ignore[call-overload]

    async def no_connection() -> None: ...

    with pytest.raises(TypeError, match="expected an async function of one connection"):
        server.route("/x", no_connection)
    with pytest.raises(ValueError, match="cancel_on_close: expected an async function"):
        server.route("/x", lambda conn: None, cancel_on_close=False)
    # What was refused has taken no path.
    server.get("/x", told("x")).route("/x", lambda conn: None)


# ---- which method


async def test_each_method_has_a_function_of_its_own(start_server: StartServer) -> None:
    server = await start_server()
    for method in ("get", "post", "put", "patch", "delete", "head", "options"):
        getattr(server, method)("/item")(told(method))
    assert server.options.version == {"draft75", "draft76", "hybi-07", "hybi-08", "rfc6455"}
    for method in ("GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"):
        assert await say(server, "/item", method) == method.lower()
    answer = await ask(server, "/item", "HEAD")
    assert (answer.status, answer.headers["content-length"]) == (200, "4")


async def test_wrong_method_is_405_with_those_that_are_there(start_server: StartServer) -> None:
    server = await start_server()
    server.on("request", lambda req, res: res.end("listener"))
    server.get("/users/me", told("me")).put("/users/{id}", told("put"))
    server.post("/only", told("post"))
    for method, target, allowed in (
        ("POST", "/users/me", "GET, HEAD, PUT"),
        ("GET", "/users/7", "PUT"),
        ("HEAD", "/only", "POST"),
        ("OPTIONS", "/only", "POST"),
        ("BREW", "/only", "POST"),
    ):
        with case((method, target)):
            answer = await ask(server, target, method)
            assert (answer.status, answer.headers["allow"]) == (405, allowed)
            assert method == "HEAD" or allowed in answer.body.decode()
    # An exact name has no claim on methods that it lacks.
    assert await say(server, "/users/me", "PUT") == "put id=me"
    assert await say(server, "/else", "BREW") == "listener"
    assert await say(server, "*", "OPTIONS") == "listener"


async def test_connection_goes_on_behind_405_and_its_body(start_server: StartServer) -> None:
    server = await start_server()
    server.get("/", told("here"))
    async with await Wire.open(server.addresses[0]) as wire:
        length = (("Content-Length", "3"),)
        wire.write(get("/", method="POST", headers=length) + b"abc" + get("/"))
        assert (await receive_answer(wire)).status == 405
        assert (await receive_answer(wire)).body == b"here"


async def test_get_answers_head_without_content(start_server: StartServer) -> None:
    server = await start_server()
    server.get("/", lambda: "hello")
    async with await Wire.open(server.addresses[0]) as wire:
        wire.write(get("/", method="HEAD") + get("/"))
        answer = await receive_answer(wire, method="HEAD")
        assert (answer.status, answer.headers["content-length"]) == (200, "5")
        assert (await receive_answer(wire)).body == b"hello"


# ---- what comes first


async def test_order_is_routes_mounts_listeners_and_the_option(
    start_server: StartServer, engine: str
) -> None:
    server = sockwave.create_server(engine=engine, lifespan="off", asgi=named("rest"))
    server.mount("/api", named("api")).listen(0, "127.0.0.1")
    server.get("/api/health", told("route")).get("/api/{x}/y", told("named"))
    server.route("/api/chat", lambda conn: conn.send("route"))
    async with server:
        for target, said in {
            "/api/health": "route",
            "/api/1/y": "named x=1",
            "/api/x": "api",
            "/api": "api",
            "/x": "rest",
            "/": "rest",
        }.items():
            assert await say(server, target) == said
        assert await ask_socket(server, "/api/chat") == "route"
        assert await ask_socket(server, "/api/health") == "api"
        assert await ask_socket(server, "/x") == "rest"
        assert await say(server, "/api/chat") == "api"
        server.on("request", lambda req, res: res.end("listener"))
        server.on("connection", lambda conn: conn.send("listener"))
        assert await say(server, "/x") == "listener"
        assert await say(server, "/api/health") == "route"
        assert await ask_socket(server, "/x") == "listener"
        assert await ask_socket(server, "/api/chat") == "route"
        assert await ask_socket(server, "/api/x") == "api"


async def test_route_of_requests_does_not_cost_the_websocket(start_server: StartServer) -> None:
    server = await start_server()
    server.get("/health", lambda: "ok")
    await (await Wire.connect(server.addresses[0])).shake_close()
    await (await Wire.connect(server.addresses[0], target="/health")).shake_close()
    server.on("connection", lambda conn: conn.send("hello"))
    assert await ask_socket(server, "/") == "hello"
    assert await ask_socket(server, "/health") == "hello"
    assert await say(server, "/") == "404"


async def test_route_of_websockets_does_not_cost_the_requests(start_server: StartServer) -> None:
    server = await start_server()
    server.route("/chat/{room}", lambda conn: conn.send("chat"))
    assert await say(server, "/") == "426"
    assert await say(server, "/chat/x") == "426"
    server.get("/health", lambda: "ok")
    assert await say(server, "/") == "404"
    assert await say(server, "/chat/x") == "426"
    assert await ask_socket(server, "/chat/x") == "chat"
    assert await ask_socket(server, "/health") == "404"
    assert await ask_socket(server, "/") == "404"
    assert await ask_socket(server, "/chat/%2e%2e") == "404"
    server.on("request", lambda req, res: res.end("listener"))
    assert await say(server, "/chat/x") == "listener"


async def test_routes_that_are_added_later_are_seen(start_server: StartServer) -> None:
    server = await start_server()
    assert await say(server, "/late") == "426"
    server.get("/late", lambda: "late").route("/late", lambda conn: conn.send("late"))
    assert await say(server, "/late") == "late"
    assert await ask_socket(server, "/late") == "late"


async def test_listeners_of_request_do_not_hear_routes(start_server: StartServer) -> None:
    server = await start_server()
    heard: list[str] = []
    server.get("/", lambda: "route")
    server.on("request", lambda req, res: (heard.append(req.path), res.end("listener"))[1])
    assert await say(server, "/") == "route"
    assert await say(server, "/x") == "listener"
    assert heard == ["/x"]


# ---- what a function returns


@pytest.mark.parametrize("kind", ["plain", "async", "awaitable"])
async def test_what_is_returned_is_the_answer(start_server: StartServer, kind: str) -> None:
    server = await start_server()
    answers: dict[str, tuple[Any, int, str | None, bytes]] = {
        "/str": ("é", 200, "text/plain; charset=utf-8", "é".encode()),
        "/empty": ("", 200, "text/plain; charset=utf-8", b""),
        "/bytes": (b"\xff", 200, "application/octet-stream", b"\xff"),
        "/array": (bytearray(b"x"), 200, "application/octet-stream", b"x"),
        "/dict": ({"a": ["é", None]}, 200, "application/json", '{"a":["é",null]}'.encode()),
        "/list": ([], 200, "application/json", b"[]"),
        "/created": ((201, {"id": 1}), 201, "application/json", b'{"id":1}'),
        "/missing": ((404, "no"), 404, "text/plain; charset=utf-8", b"no"),
        "/nothing": ((204, None), 204, None, b""),
        "/none-with-text": ((204, "dropped"), 204, None, b""),
        "/status-alone": ((202, None), 202, None, b""),
    }

    def returning(value: Any) -> Any:
        async def later() -> Any:
            await asyncio.sleep(0)
            return value

        if kind == "plain":
            return lambda: value
        return later if kind == "async" else lambda: asyncio.ensure_future(later())

    for path, (value, *_) in answers.items():
        server.get(path, returning(value))
    async with await Wire.open(server.addresses[0]) as wire:
        for path, (_, status, content_type, body) in answers.items():
            with case(path):
                wire.write(get(path))
                answer = await receive_answer(wire)
                assert (answer.status, answer.body) == (status, body)
                assert answer.headers.get("content-type") == content_type


async def test_what_is_returned_goes_behind_the_head_that_is_set(
    start_server: StartServer,
) -> None:
    server = await start_server()

    @server.get("/html")
    def html(request: sockwave.Request, response: sockwave.Response) -> str:
        response.write_head(203, {"content-type": "text/html", "X-One": "1"})
        return "<p>"

    @server.get("/json")
    async def json(request: sockwave.Request, response: sockwave.Response) -> dict[str, int]:
        response.write_head(200, {"X-One": "1"})
        return {"a": 1}

    found = await ask(server, "/html")
    assert (found.status, found.headers["content-type"], found.body) == (203, "text/html", b"<p>")
    found = await ask(server, "/json")
    assert (found.headers["content-type"], found.headers["x-one"]) == ("application/json", "1")


async def test_function_may_use_the_response_in_place_of_an_answer(
    start_server: StartServer,
) -> None:
    server = await start_server()
    kept: list[sockwave.Response] = []

    async def later(request: sockwave.Request, response: sockwave.Response) -> Any:
        await response.write("a")
        return response.end("b")

    async def returned(request: sockwave.Request, response: sockwave.Response) -> Any:
        response.end("ab")
        return response

    server.get("/end", lambda request, response: response.end("ab"))
    server.get("/response", lambda request, response: (response.end("ab"), response)[1])
    server.get("/later", later).get("/returned", returned)
    server.get("/kept", lambda request, response: kept.append(response))
    for path in ("/end", "/response", "/later", "/returned"):
        with case(path):
            assert await say(server, path) == "ab"
    asking = asyncio.ensure_future(say(server, "/kept"))
    await wait_until(lambda: kept)
    kept.pop().end("ab")
    assert await asking == "ab"


async def test_answer_that_cannot_be_sent_is_500_and_an_error(
    start_server: StartServer, error_log: ErrorLog
) -> None:
    server = await start_server()

    def both(request: sockwave.Request, response: sockwave.Response) -> str:
        response.end("sent")
        return "returned"

    async def both_later(request: sockwave.Request, response: sockwave.Response) -> str:
        response.end("sent")
        return "returned"

    answers: dict[str, tuple[Any, str]] = {
        "/int": (lambda: 7, "expected str, bytes, dict, list, .* given int"),
        "/true": (lambda: True, "given bool"),
        "/pair": (lambda: ("a", 1), "status: expected int, given str"),
        "/status": (lambda: (99, "x"), "status: expected 200 to 599, given 99"),
        "/triple": (lambda: (200, "a", {}), "given a tuple of 3"),
        "/set": (lambda: {"a": {1}}, "given set"),
        "/nan": (lambda: [float("nan")], "JSON can say"),
        "/surrogate": (lambda: "\ud800", "without lone surrogates"),
        "/json-surrogate": (lambda: ["\ud800"], "without lone surrogates"),
    }
    for path, (handler, _) in answers.items():
        server.get(path, handler)
    for path, (_, said) in answers.items():
        with case(path):
            assert (await ask(server, path)).status == 500
            (error,) = error_log.take()
            with pytest.raises((TypeError, ValueError), match=said):
                raise error
    for function in (both, both_later):
        server.get(f"/{function.__name__}", function)
        assert await say(server, f"/{function.__name__}") == "sent"
        await wait_until(lambda: error_log.records)
        (error,) = error_log.take()
        with pytest.raises(RuntimeError, match="given both: str is returned"):
            raise error


async def test_function_that_answers_nothing_or_fails_is_answered_for(
    start_server: StartServer, error_log: ErrorLog
) -> None:
    server = await start_server()

    async def nothing() -> None:
        await asyncio.sleep(0)

    async def fails() -> None:
        await asyncio.sleep(0)
        raise ZeroDivisionError

    async def refuses() -> None:
        raise sockwave.Refused(403, "not you\n")

    def drops() -> None: ...

    server.get("/nothing", nothing).get("/fails", fails).get("/drops", drops)
    server.get("/refuses", refuses)
    for path in ("/nothing", "/fails", "/drops"):
        with case(path):
            assert (await ask(server, path)).status == 500
            await wait_until(lambda: error_log.records)
            (error,) = error_log.take()
            assert isinstance(error, ZeroDivisionError) or f"no answer to GET {path}" in str(error)
    answer = await ask(server, "/refuses")
    assert (answer.status, answer.body) == (403, b"not you\n")


async def test_client_that_leaves_cancels_the_function(start_server: StartServer) -> None:
    server = await start_server()
    ends: list[str] = []

    @server.get("/")
    async def waits() -> str:
        try:
            ends.append("began")
            await asyncio.get_running_loop().create_future()
        finally:
            ends.append("cancelled")
        return "never"

    wire = await Wire.open(server.addresses[0])
    wire.write(get("/"))
    await wait_until(lambda: ends)
    wire.reset()
    await wait_until(lambda: ends == ["began", "cancelled"])


async def test_body_size_holds_for_routes_beside_an_application(start_server: StartServer) -> None:
    server = await start_server(asgi=named("rest"), lifespan="off")

    @server.post("/")
    async def size(request: sockwave.Request) -> str:
        return str(len(await request.body()))

    most = server.options.limits.body_size
    assert most is not None
    assert (await ask(server, "/", "POST", b"x" * most)).body.decode() == str(most)
    head = f"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {most + 1}\r\n\r\n".encode()
    async with await Wire.open(server.addresses[0]) as wire:
        wire.write(head)
        assert (await receive_answer(wire)).status == 413


async def test_pipelined_requests_of_routes_are_answered_in_order(
    start_server: StartServer,
) -> None:
    server = await start_server()

    @server.get("/slow/{n}")
    async def slow(request: sockwave.Request) -> str:
        await asyncio.sleep(0)
        return request.path_params["n"]

    server.get("/{n}", lambda request: request.path_params["n"])
    async with await Wire.open(server.addresses[0]) as wire:
        wire.write(b"".join(get(f"/slow/{n}" if n % 2 else f"/{n}") for n in range(12)))
        assert [(await receive_answer(wire)).body.decode() for _ in range(12)] == [
            str(n) for n in range(12)
        ]


# ---- WebSockets


@pytest.mark.parametrize("version", [7, 8, 13])
async def test_handler_of_a_route_reads_its_connection(
    start_server: StartServer, version: int
) -> None:
    server = await start_server()

    @server.route("/chat/{room}")
    async def chat(conn: sockwave.Connection) -> None:
        assert conn.request.path_params is conn.path_params
        await conn.send(conn.path_params["room"])
        async for message in conn:
            if message == "end":
                return
            await conn.send(message)

    wire = await Wire.connect(
        server.addresses[0], target="/chat/caf%C3%A9%2F1?x=1", version=version
    )
    assert await wire.receive_message() == "café/1"
    wire.send("hello")
    assert await wire.receive_message() == "hello"
    wire.send("end")
    assert await wire.receive_close() == (1000, "")


async def test_listener_of_a_route_adds_listeners(start_server: StartServer) -> None:
    server = await start_server()
    elsewhere: list[sockwave.Connection] = []
    server.on("connection", elsewhere.append)

    @server.route("/echo")
    def connected(conn: sockwave.Connection) -> None:
        conn.on("message", lambda message: conn.send(f"{message} {conn.path_params}"))

    wire = await Wire.connect(server.addresses[0], target="/echo")
    wire.send("hello")
    assert await wire.receive_message() == "hello {}"
    assert not elsewhere
    assert len(server.connections) == 1
    assert server.broadcast("all") == 1
    assert await wire.receive_message() == "all"
    await Wire.connect(server.addresses[0], target="/echoes")
    await wait_until(lambda: len(elsewhere) == 1)
    assert elsewhere[0].path_params == {}


@pytest.mark.parametrize("draft", [75, 76])
async def test_routes_take_the_drafts_too(start_server: StartServer, draft: int) -> None:
    server = await start_server()
    rooms: list[str] = []
    server.route("/chat/{room}", lambda conn: rooms.append(conn.path_params["room"]))
    await Wire.connect_hixie(server.addresses[0], draft, target="/chat/x")
    await wait_until(lambda: rooms == ["x"])


async def test_handler_that_raises_closes_its_connection_with_1011(
    start_server: StartServer, error_log: ErrorLog
) -> None:
    server = await start_server()

    async def handler(conn: sockwave.Connection) -> None:
        raise ZeroDivisionError

    def listener(conn: sockwave.Connection) -> None:
        raise ZeroDivisionError

    server.route("/handler", handler).route("/listener", listener)
    for path in ("/handler", "/listener"):
        wire = await Wire.connect(server.addresses[0], target=path)
        assert (await wire.receive_close())[0] == 1011
        (error,) = error_log.take()
        assert isinstance(error, ZeroDivisionError)


async def test_hooks_know_the_path(start_server: StartServer) -> None:
    async def authorize(handshake: sockwave.Handshake) -> bool:
        assert handshake.connection.path_params == handshake.request.path_params
        return handshake.request.path_params.get("room") == "open"

    server = await start_server(authorize=authorize)
    server.route("/chat/{room}", lambda conn: conn.send(f"in {conn.path_params['room']}"))
    assert await ask_socket(server, "/chat/open") == "in open"
    assert await ask_socket(server, "/chat/closed") == "403"
    assert await ask_socket(server, "/") == "404"


async def test_cancel_on_close_is_that_of_handlers(start_server: StartServer) -> None:
    server = await start_server()
    ends: list[str] = []
    gate = asyncio.Event()

    def handler(name: str) -> Any:
        async def waits(conn: sockwave.Connection) -> None:
            try:
                await gate.wait()
                ends.append(f"{name} done")
            except asyncio.CancelledError:
                ends.append(f"{name} cancelled")
                raise

        return waits

    server.route("/one", handler("one"))
    server.route("/two", handler("two"), cancel_on_close=False)
    for path in ("/one", "/two"):
        wire = await Wire.connect(server.addresses[0], target=path)
        await wire.wait_until_read()
        await wire.close()
    await wait_until(lambda: ends == ["one cancelled"])
    gate.set()
    await wait_until(lambda: ends == ["one cancelled", "two done"])


async def test_subscriptions_need_no_route(start_server: StartServer) -> None:
    server = await start_server(subprotocol="sockwave.1")
    server.route("/chat", lambda conn: conn.send("chat"))
    server.on("subscribe", lambda conn, topic: True)
    wire = await Wire.connect(server.addresses[0], target="/anywhere")
    await wire.wait_until_read()


def test_registering_is_for_the_loops_thread_alone() -> None:
    server = sockwave.create_server(engine="asyncio")
    server.listen(0, "127.0.0.1")

    async def check() -> None:
        async with server:
            for register in (server.get, server.options, server.route):
                with pytest.raises(sockwave.SockwaveError, match="thread"):
                    await asyncio.to_thread(register, "/x", told("x"))

    asyncio.run(check())

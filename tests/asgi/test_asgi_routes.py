"""Which of listeners and applications takes a request or a WebSocket, and what is refused."""

from typing import Any

import pytest
from asgi_apps import accept, answer, get, read_body
from conftest import StartServer
from http_wire import receive_answer
from wire import Wire, build_request, upgrade_headers, wait_until

import sockwave


def named(name: str) -> Any:
    """Give an application that says its name and what it was told of its place."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        text = f"{name} {scope['root_path']} {scope['path']}"
        if scope["type"] == "http":
            await read_body(receive)
            await answer(send, text.encode())
        else:
            await accept(receive, send)
            await send({"type": "websocket.send", "text": text})
            await receive()

    return app


async def ask(server: sockwave.Server, target: str) -> str:
    async with await Wire.open(server.addresses[0]) as wire:
        wire.write(get(target))
        found = await receive_answer(wire)
        return found.body.decode() if found.status == 200 else str(found.status)


async def ask_socket(server: sockwave.Server, target: str) -> str:
    async with await Wire.open(server.addresses[0]) as wire:
        wire.write(build_request(upgrade_headers(), target=target))
        head = await wire.receive_head()
        return str(await wire.receive_message()) if head.status == 101 else str(head.status)


async def start(start_server: StartServer, **options: Any) -> sockwave.Server:
    """Start a server with mounted applications."""
    server = sockwave.create_server(lifespan="off", **options)
    for prefix in ("/api", "/api/v2", "/é"):
        server.mount(prefix, named(prefix))
    server.listen(0, "127.0.0.1")
    await server.start()
    return server


@pytest.mark.parametrize("asks", [ask, ask_socket])
async def test_longest_prefix_of_whole_segments_takes_the_path(
    start_server: StartServer, engine: str, asks: Any
) -> None:
    async with await start(start_server, engine=engine, asgi=named("rest")) as server:
        for target, said in {
            "/api": "/api /api /api",
            "/api/": "/api /api /api/",
            "/api/x?y=/api/v2": "/api /api /api/x",
            "/api/v2": "/api/v2 /api/v2 /api/v2",
            "/api/v2/x": "/api/v2 /api/v2 /api/v2/x",
            "/api/v22": "/api /api /api/v22",
            "/%61pi/x": "/api /api /api/x",
            "/%C3%A9/x": "/é /é /é/x",
            "/apix": "rest  /apix",
            "/": "rest  /",
            "//api": "rest  //api",
        }.items():
            assert await asks(server, target) == said


async def test_root_path_of_a_mount_is_behind_that_of_the_server(
    start_server: StartServer, engine: str
) -> None:
    async with await start(start_server, engine=engine, root_path="/v1") as server:
        assert await ask(server, "/api/x") == "/api /v1/api /v1/api/x"


async def test_mount_at_the_root_takes_everything(start_server: StartServer, engine: str) -> None:
    server = sockwave.create_server(engine=engine, lifespan="off")
    server.mount("/", named("root")).listen(0, "127.0.0.1")
    server.on("request", lambda req, res: res.end("ours"))
    async with server:
        assert await ask(server, "/x") == "root  /x"


async def test_listeners_come_behind_mounts_and_before_the_option(
    start_server: StartServer, engine: str
) -> None:
    async with await start(start_server, engine=engine, asgi=named("rest")) as server:
        assert await ask(server, "/x") == "rest  /x"
        assert await ask_socket(server, "/x") == "rest  /x"
        server.on("request", lambda req, res: res.end("ours"))
        assert await ask(server, "/x") == "ours"
        assert await ask(server, "/api/x") == "/api /api /api/x"
        assert await ask_socket(server, "/x") == "rest  /x"
        server.on("connection", lambda conn: conn.send("ours"))
        assert await ask_socket(server, "/x") == "ours"
        assert await ask_socket(server, "/api/x") == "/api /api /api/x"


async def test_connections_of_our_own_are_opened_at_once_beside_the_option(
    start_server: StartServer,
) -> None:
    server = await start_server(asgi=named("rest"), lifespan="off")
    server.on("connection", lambda conn: conn.on("message", conn.send))
    wire = await Wire.connect(server.addresses[0])
    wire.send("ours")
    assert await wire.receive_message() == "ours"
    await wait_until(lambda: len(server.connections) == 1)


async def test_nothing_is_found_where_nothing_takes_it(
    start_server: StartServer, engine: str
) -> None:
    async with await start(start_server, engine=engine) as server:
        assert await ask(server, "/x") == "404"
        assert await ask_socket(server, "/x") == "404"
        server.on("connection", lambda conn: conn.send("ours"))
        assert await ask_socket(server, "/x") == "ours"
        assert await ask(server, "/x") == "404"


async def test_server_without_applications_says_what_it_is(start_server: StartServer) -> None:
    server = await start_server()
    assert await ask(server, "/x") == "426"


async def test_listener_for_one_request_only_leaves_the_next_to_the_application(
    start_server: StartServer,
) -> None:
    server = await start_server(asgi=named("rest"), lifespan="off")
    server.once("request", lambda req, res: res.end("ours"))
    assert await ask(server, "/x") == "ours"
    assert await ask(server, "/x") == "rest  /x"


# ---- what is refused


class Asgi2:
    def __init__(self, scope: Any) -> None: ...

    async def __call__(self, receive: Any, send: Any) -> None: ...


async def generator(scope: Any, receive: Any, send: Any) -> Any:
    yield


@pytest.mark.parametrize(
    ("app", "sentence"),
    [
        ("main:app", "asgi: expected an ASGI application, given str"),
        (Asgi2, "expected an ASGI 3 application"),
        (lambda scope: None, "Applications of ASGI 2"),
        (generator, "given an async generator"),
    ],
    ids=["text", "class", "function", "generator"],
)
def test_what_is_no_application_is_refused(app: Any, sentence: str) -> None:
    with pytest.raises(TypeError, match=sentence):
        sockwave.create_server(asgi=app)
    with pytest.raises(TypeError, match="expected an ASGI"):
        sockwave.create_server().mount("/x", app)


class CallInSlot:
    """An application whose call is chosen when it is made, as that of Sentry's middleware is."""

    __slots__ = ("__call__",)

    def __init__(self, call: Any) -> None:
        self.__call__ = call


async def test_application_whose_call_lies_in_a_slot_is_one(start_server: StartServer) -> None:
    server = await start_server(asgi=CallInSlot(named("slot")))
    async with await Wire.open(server.addresses[0]) as wire:
        wire.write(get("/x"))
        assert (await receive_answer(wire)).body == b"slot  /x"


@pytest.mark.parametrize("prefix", ["", "api", "/a//b", "/a?b", "/a#b"])
def test_what_is_no_prefix_is_refused(prefix: str) -> None:
    with pytest.raises(ValueError, match="prefix: expected a path"):
        sockwave.create_server().mount(prefix, named("x"))


def test_prefix_is_a_text_and_has_one_application() -> None:
    server = sockwave.create_server()
    with pytest.raises(TypeError, match="prefix: expected str, given bytes"):
        server.mount(b"/x", named("x"))  # type: ignore[arg-type]
    server.mount("/x", named("x"))
    with pytest.raises(ValueError, match="prefix: expected one that is free"):
        server.mount("/x/", named("y"))


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"root_path": "v1"}, ValueError),
        ({"root_path": b"/v1"}, TypeError),
        ({"lifespan": "maybe"}, ValueError),
        ({"lifespan": True}, TypeError),
    ],
    ids=range(4),
)
def test_wrong_option_is_refused(options: dict[str, Any], error: type[Exception]) -> None:
    with pytest.raises(error, match="expected"):
        sockwave.create_server(**options)


async def test_mount_is_too_late_once_the_server_runs(start_server: StartServer) -> None:
    server = await start_server()
    with pytest.raises(sockwave.SockwaveError, match="before its start"):
        server.mount("/x", named("x"))

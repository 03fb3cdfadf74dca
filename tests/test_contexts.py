"""Each connection and each request has context variables of its own (PEP 567)."""

import asyncio
import contextvars
import gc
import subprocess
import sys
from typing import Any

import pytest
from conftest import BothEnds, StartServer
from http_wire import receive_answer
from reference import serialize_hixie
from wire import Wire, connect_both, wait_until

import sockwave

variable: contextvars.ContextVar[object] = contextvars.ContextVar("variable", default="unset")

GET = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"


def count_contexts(server: sockwave.Server) -> int:
    """Count the connections that have a context of their own."""
    return sum(
        type(thing) is contextvars.Context
        for conn in server.connections
        for thing in gc.get_referents(conn)
    )


@pytest.fixture(autouse=True)
def unset() -> None:
    """Let no test leave anything to the next."""
    assert variable.get() == "unset"


def answer_variable(server: sockwave.Server) -> None:
    """Answer each request and message with what the variable is, and set it to the message."""

    @server.on("connection")
    def connected(conn: sockwave.Connection) -> None:
        @conn.on("message")
        def message(message: str) -> None:
            conn.send(str(variable.get()))
            variable.set(message)

    @server.on("request")
    def request(request: sockwave.Request, response: sockwave.Response) -> None:
        response.end(str(variable.get()))
        variable.set(request.path)


async def ask(wire: Wire, message: str) -> str | bytes:
    wire.send(message)
    return await wire.receive_message()


async def get(wire: Wire, path: str) -> bytes:
    wire.write(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
    return (await receive_answer(wire)).body


async def test_what_a_listener_sets_is_seen_by_its_connection_and_by_nobody_else(
    start_server: StartServer,
) -> None:
    server = await start_server()
    answer_variable(server)
    one, two = [await Wire.connect(server.addresses[0]) for _ in range(2)]
    visitor = await Wire.open(server.addresses[0])
    assert await ask(one, "one") == "unset"
    assert await ask(two, "two") == "unset"
    assert await get(visitor, "/a") == b"unset"
    assert await get(visitor, "/b") == b"unset"
    assert await ask(one, "another") == "one"
    assert await ask(two, "x") == "two"
    assert await ask(one, "x") == "another"
    three = await Wire.connect(server.addresses[0])
    assert await ask(three, "three") == "unset"
    assert variable.get() == "unset"


@pytest.mark.parametrize("version", [75, 76, 7, 8, 13])
async def test_connections_of_every_version_have_contexts(
    start_server: StartServer, version: int
) -> None:
    server = await start_server()
    seen: list[tuple[str, object]] = []

    @server.on("connection")
    def connected(conn: sockwave.Connection) -> None:
        seen.append(("connection", variable.get()))
        variable.set(conn.id)
        conn.on("message", lambda: seen.append(("message", variable.get())))
        conn.on("readyStateChange", lambda: seen.append(("state", variable.get())))
        conn.on("close", lambda: seen.append(("close", variable.get())))

    for _ in range(2):
        address = server.addresses[0]
        if version > 70:
            wire = await Wire.connect_hixie(address, version)
            wire.write(serialize_hixie("x"))
        else:
            wire = await Wire.connect(address, version=version)
            wire.send("x")
        (conn,) = server.connections
        number = conn.id
        await wait_until(lambda: seen[-1][0] == "message")
        wire.reset()
        await wait_until(lambda: seen[-1][0] == "close")
        expected: list[tuple[str, object]] = [("connection", "unset"), ("message", number)]
        assert seen == [*expected, ("state", number), ("close", number)]
        seen.clear()


async def test_listeners_of_the_server_about_a_connection_run_in_its_context(
    start_server: StartServer,
) -> None:
    server = await start_server()
    seen: list[tuple[str, object]] = []

    @server.on("readyStateChange")
    def changed(conn: sockwave.Connection, state: sockwave.ReadyState) -> None:
        seen.append((state.name, variable.get()))
        if state is sockwave.ReadyState.HANDSHAKING:
            variable.set("early")

    @server.on("connection")
    def connected(conn: sockwave.Connection) -> None:
        seen.append(("connection", variable.get()))
        variable.set("connected")

        @conn.on("message")
        def message() -> None:
            variable.set("failing")
            raise LookupError

    server.on("error", lambda: seen.append(("error", variable.get())))
    wire = await Wire.connect(server.addresses[0])
    wire.send("x")
    await wait_until(lambda: seen[-1][0] == "CLOSED" or wire.write_close())
    assert [pair for pair in seen if pair[0] != "OPENING"] == [
        ("HANDSHAKING", "unset"),
        ("CONNECTED", "early"),
        ("connection", "early"),
        ("error", "failing"),
        ("CLOSED", "failing"),
    ]


async def test_token_is_reset_in_a_later_listener(both_ends: BothEnds) -> None:
    wire, conn = both_ends
    tokens: list[contextvars.Token[object]] = []

    @conn.on("message")
    def message(message: str) -> None:
        if message == "set":
            tokens.append(variable.set("set"))
        elif message == "again":
            tokens.append(variable.set(variable.get()))
        else:
            variable.reset(tokens.pop())
        conn.send(str(variable.get()))

    for _ in range(2):
        assert await ask(wire, "again") == "unset"
        assert await ask(wire, "set") == "set"
        assert await ask(wire, "again") == "set"
        for expected in ("set", "unset", "unset"):
            assert await ask(wire, "reset") == expected


@pytest.mark.parametrize("debug", [False, True])
async def test_async_call_copies_the_context_and_keeps_what_it_sets(
    both_ends: BothEnds, debug: bool
) -> None:
    asyncio.get_running_loop().set_debug(debug)
    wire, conn = both_ends
    seen: list[object] = []

    @conn.on("message")
    def set_it(message: str) -> None:
        seen.append(variable.get())
        variable.set(message)

    @conn.on("message")
    async def call(message: str) -> None:
        seen.append(variable.get())
        variable.set("in a call")
        await asyncio.sleep(0)
        seen.append(variable.get())
        await conn.send("done")

    assert await ask(wire, "one") == "done"
    assert await ask(wire, "two") == "done"
    assert seen == ["unset", "one", "in a call", "one", "two", "in a call"]


async def test_handler_has_the_context_of_its_connection(start_server: StartServer) -> None:
    server = await start_server()
    server.on("connection", lambda conn: variable.set(f"of {conn.id}") and None)

    async def handle(conn: sockwave.Connection) -> None:
        async for _ in conn:
            await conn.send(str(variable.get()))
            variable.set("in the handler")

    server.handle_with(handle)
    for _ in range(2):
        wire, conn = await connect_both(server)
        assert await ask(wire, "x") == f"of {conn.id}"
        assert await ask(wire, "x") == "in the handler"


@pytest.mark.parametrize("hook", ["origin", "subprotocol", "authorize", "async", "handshake"])
async def test_what_a_hook_of_the_handshake_sets_is_seen_by_its_connection(
    start_server: StartServer, hook: str
) -> None:
    def set_it(*_: object) -> Any:
        assert variable.get() == "unset"
        variable.set("by the hook")
        return {"origin": True}.get(hook)

    async def set_later(_: object) -> None:
        await asyncio.sleep(0)
        set_it()

    options: dict[str, Any] = {} if hook == "handshake" else {hook: set_it}
    server = await start_server(**({"authorize": set_later} if hook == "async" else options))
    if hook == "handshake":
        server.on("handshake", set_it)
    answer_variable(server)
    for _ in range(2):
        wire = await Wire.connect(server.addresses[0])
        assert await ask(wire, "x") == "by the hook"
        assert await ask(wire, "x") == "x"


async def test_connections_begin_with_what_the_start_of_the_server_saw(engine: str) -> None:
    token = variable.set("before")
    server = sockwave.create_server(engine=engine).listen(0, "127.0.0.1")
    answer_variable(server)
    later: contextvars.ContextVar[str] = contextvars.ContextVar("later", default="unset")
    server.on("listening", lambda: later.set("by listening") and None)
    server.on("connection", lambda conn: conn.send(later.get()))
    async with server:
        variable.set("after")
        wire = await Wire.connect(server.addresses[0])
        visitor = await Wire.open(server.addresses[0])
        assert await wire.receive_message() == "by listening"
        assert await ask(wire, "x") == "before"
        assert await get(visitor, "/") == b"before"
        await Wire.close_all()
    variable.reset(token)


@pytest.mark.parametrize("event", ["close", "readyStateChange"])
async def test_listener_of_another_connection_runs_in_that_ones_context(
    start_server: StartServer, event: str
) -> None:
    server = await start_server()
    seen: dict[int, list[object]] = {}

    @server.on("connection")
    def connected(conn: sockwave.Connection) -> None:
        heard = seen[conn.id] = []

        @conn.on(event)
        def ended() -> None:
            heard.append(variable.get())
            variable.set(f"ended {conn.id}")

        @conn.on("message")
        def message(message: str) -> None:
            variable.set(message)
            for other in list(server.connections):
                if other is not conn:
                    other.abort()
            conn.send(str(variable.get()))

    wires = [await Wire.connect(server.addresses[0]) for _ in range(3)]
    await wait_until(lambda: len(server.connections) == 3)
    first = min(seen)
    assert await ask(wires[0], "mine") == "mine"
    await wait_until(lambda: all(heard for number, heard in seen.items() if number != first))
    assert [heard[0] for number, heard in seen.items() if number != first] == ["unset"] * 2
    assert await ask(wires[0], "still") == "still"


async def test_listener_that_comes_back_by_way_of_another_sees_its_own_variables(
    start_server: StartServer,
) -> None:
    server = await start_server()
    seen: list[object] = []
    conns: list[sockwave.Connection] = []

    @server.on("connection")
    def connected(conn: sockwave.Connection) -> None:
        conns.append(conn)
        variable.set(f"of {len(conns)}")

    wires = [await Wire.connect(server.addresses[0]) for _ in range(2)]
    await wait_until(lambda: len(conns) == 2)
    one, two = conns
    one.on("message", two.abort)
    one.on("readyStateChange", lambda: seen.append(variable.get()))
    two.on("readyStateChange", lambda: (seen.append(variable.get()), one.abort()))
    states = [variable.get()]
    wires[0].send("x")
    await wait_until(lambda: len(seen) == 2)
    assert set(seen) == {"of 1", "of 2"}
    assert states == ["unset"]


async def test_what_a_request_sets_is_seen_by_its_other_listeners_and_by_its_errors(
    start_server: StartServer,
) -> None:
    server = await start_server()
    errors: list[object] = []

    @server.on("request")
    def look_first(request: sockwave.Request, response: sockwave.Response) -> None:
        variable.set(request.path)

    @server.on("request")
    async def fail_or_answer(request: sockwave.Request, response: sockwave.Response) -> None:
        await asyncio.sleep(0)
        if request.path == "/fail":
            raise LookupError
        response.end(str(variable.get()))
        variable.set("answered")

    server.on("error", lambda: errors.append(variable.get()))
    wire = await Wire.open(server.addresses[0])
    # In one write, so that the second is begun in the task that answers the first.
    wire.write(GET.replace(b"/ ", b"/one ") + GET.replace(b"/ ", b"/two "))
    assert (await receive_answer(wire)).body == b"/one"
    assert (await receive_answer(wire)).body == b"/two"
    assert await get(wire, "/fail")
    assert errors == ["/fail"]


async def test_pipelined_requests_do_not_see_each_other(start_server: StartServer) -> None:
    server = await start_server()
    answer_variable(server)
    wire = await Wire.open(server.addresses[0])
    wire.write(GET * 5)
    for _ in range(5):
        assert (await receive_answer(wire)).body == b"unset"


async def test_error_of_an_async_call_is_heard_in_the_calls_context(
    both_ends: BothEnds, start_server: StartServer
) -> None:
    server = await start_server()
    seen: list[object] = []
    server.on("error", lambda: seen.append(variable.get()))

    @server.on("connection")
    def connected(conn: sockwave.Connection) -> None:
        variable.set("of the connection")

        @conn.on("message")
        async def message(message: str) -> None:
            seen.append(variable.get())
            await asyncio.sleep(0)
            variable.set("of the call")
            raise LookupError

    wire = await Wire.connect(server.addresses[0])
    wire.send("x")
    await wait_until(lambda: len(seen) == 2)
    assert seen == ["of the connection", "of the call"]


async def test_drain_and_ping_are_heard_in_the_connections_context(
    start_server: StartServer,
) -> None:
    wire, conn = await connect_both(await start_server(max_backlog=None))
    seen: list[tuple[str, object]] = []

    @conn.on("message")
    def message(message: str) -> None:
        variable.set("mine")
        while conn.backlog_size <= 1 << 20:
            conn.send("x" * 65536)

    conn.on("drain", lambda: seen.append(("drain", variable.get())))
    conn.on("ping", lambda: seen.append(("ping", variable.get())))
    wire.pause_reading()
    wire.send("x")
    await wait_until(lambda: conn.backlog_size > 1 << 20)
    wire.resume_reading()
    while not seen:
        await wire.receive_message()
    wire.write_frame(9, b"?")
    await wait_until(lambda: len(seen) == 2)
    assert seen == [("drain", "mine"), ("ping", "mine")]


async def test_stream_listener_sets_nothing_for_others(start_server: StartServer) -> None:
    server = await start_server()
    server.on("stream", lambda stream: variable.set("by stream") and None)
    answer_variable(server)
    for _ in range(2):
        wire = await Wire.connect(server.addresses[0])
        assert await ask(wire, "x") == "unset"
        assert await get(await Wire.open(server.addresses[0]), "/") == b"unset"


async def test_late_listener_hears_what_waited_in_the_connections_context(
    start_server: StartServer,
) -> None:
    server = await start_server()
    server.on("connection", lambda conn: variable.set("mine") and None)
    wire, conn = await connect_both(server)
    seen: list[object] = []
    wire.send("x")
    await wire.wait_until_read()
    conn.on("message", lambda: seen.append(variable.get()))
    await wait_until(lambda: seen == ["mine"])
    assert variable.get() == "unset"


@pytest.mark.parametrize("way", ["plain", "hooks", "hybi-08"])
async def test_context_is_made_only_where_a_variable_was_set(
    start_server: StartServer, way: str
) -> None:
    hooks: dict[str, Any] = {"origin": lambda _: True, "authorize": lambda _: None}
    server = await start_server(**(hooks if way == "hooks" else {}))
    version = 8 if way == "hybi-08" else 13

    # Without a listener, nothing gives back what the handshake has left behind.
    silent = [await Wire.connect(server.addresses[0], version=version) for _ in range(3)]
    assert len(server.connections) == len(silent)
    assert count_contexts(server) == 0

    @server.on("connection")
    def connected(conn: sockwave.Connection) -> None:
        conn.on("message", lambda message: variable.set(message) and None if message else None)
        conn.on("message", conn.send)

    wires = [await Wire.connect(server.addresses[0], version=version) for _ in range(20)]
    for wire in wires:
        assert await ask(wire, "") == ""
    assert count_contexts(server) == 0
    for wire in wires[:5]:
        assert await ask(wire, "set") == "set"
    assert count_contexts(server) == 5


async def test_context_that_refers_to_its_connection_goes_with_it(
    start_server: StartServer,
) -> None:
    server = await start_server()
    server.on("connection", lambda conn: variable.set(conn) and None)
    wire, conn = await connect_both(server)
    gc.collect()
    gc.disable()
    try:
        references = sys.getrefcount(conn)
        wire.reset()
        await wait_until(lambda: conn.ready_state is sockwave.ReadyState.CLOSED)
        await wait_until(lambda: sys.getrefcount(conn) < references)
        assert not any(type(one) is contextvars.Context for one in gc.get_referrers(conn))
    finally:
        gc.enable()


RUN = """
import contextvars, socket, sys, threading
import sockwave

variable = contextvars.ContextVar("variable", default="unset")
variable.set("before run")
server = sockwave.create_server(engine=sys.argv[1])
seen = []

@server.on("request")
def request(request, response):
    response.end(variable.get())
    variable.set("by a request")

server.listen(0, "127.0.0.1")

def visit():
    for _ in range(2):
        with socket.create_connection(server.addresses[0]) as client:
            client.sendall(b"GET / HTTP/1.1\\r\\nHost: x\\r\\nConnection: close\\r\\n\\r\\n")
            answer = b""
            while data := client.recv(4096):
                answer += data
            seen.append(answer.rpartition(b"\\r\\n\\r\\n")[2].decode())
    server.loop.call_soon_threadsafe(server.close)

threading.Thread(target=visit).start()
server.run()
assert seen == ["before run"] * 2, seen
"""


def test_contexts_are_kept_apart_under_run(engine: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", RUN, engine], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr

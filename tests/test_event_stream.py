"""Server-sent events: HTML Living Standard, section 9.2."""

import asyncio
from typing import Any

import pytest
from asgi_apps import get
from conftest import ErrorLog, StartServer
from http_wire import receive_answer
from wire import PATIENCE_S, Wire, case, let_arrive, wait_until

import sockwave

Streams = list[sockwave.EventStream]


async def serve_streams(start_server: StartServer, **options: Any) -> tuple[Any, Streams]:
    """Start a server whose streams are kept, and end with it."""
    server = await start_server(**options)
    streams: Streams = []
    server.get("/", lambda request, response: streams.append(response.event_stream(keepalive=None)))
    return server, streams


async def open_stream(server: sockwave.Server, target: str = "/") -> Wire:
    """Ask for a stream, and read its head."""
    wire = await Wire.open(server.addresses[0])
    wire.write(get(target))
    head = await wire.receive_head()
    assert head.status == 200
    assert head.headers["content-type"] == "text/event-stream"
    assert head.headers["transfer-encoding"] == "chunked"
    return wire


async def receive_chunk(wire: Wire) -> bytes:
    """Read one chunk, b"" for the last one."""
    async with asyncio.timeout(PATIENCE_S):
        size = int(await wire.reader.readuntil(b"\r\n"), 16)
        return (await wire.reader.readexactly(size + 2))[:-2]


def parse(text: str) -> list[dict[str, str]]:
    """Give the events of a stream as a page gets them: section 9.2.6, told again."""
    events, last_id = [], ""
    kind, data = "", ""
    for line in text.replace("\r\n", "\n").replace("\r", "\n").split("\n"):
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if not line:
            if data:
                events.append({"type": kind or "message", "data": data[:-1], "id": last_id})
            kind, data = "", ""
        elif name == "event":
            kind = value
        elif name == "data":
            data += value + "\n"
        elif name == "id":
            last_id = value
    return events


# ---- what is sent


async def test_head_leaves_at_once_and_no_cache_keeps_it(start_server: StartServer) -> None:
    server, streams = await serve_streams(start_server)
    wire = await open_stream(server)
    assert wire.head.headers["cache-control"] == "no-store"
    assert wire.head.headers["x-accel-buffering"] == "no"
    assert "content-length" not in wire.head.headers
    assert streams[0].is_open
    assert repr(streams[0]) == "<EventStream open>"


async def test_events_arrive_as_a_page_reads_them(start_server: StartServer) -> None:
    server, streams = await serve_streams(start_server)
    wire = await open_stream(server)
    sent: list[tuple[dict[str, Any], bytes]] = [
        ({"data": "hello"}, b"data: hello\n\n"),
        ({"data": ""}, b"data: \n\n"),
        ({"data": " a: b"}, b"data:  a: b\n\n"),
        ({"data": "a\nb\r\nc\rd\n"}, b"data: a\ndata: b\ndata: c\ndata: d\ndata: \n\n"),
        ({"data": {"é": [1]}}, 'data: {"é":[1]}\n\n'.encode()),
        ({"data": ["a\nb"]}, b'data: ["a\\nb"]\n\n'),
        ({"data": "x", "event": "tick", "id": "7", "retry": 0}, None),  # type: ignore[list-item]
        ({"id": 8}, b"id: 8\n\n"),
        ({"id": ""}, b"id: \n\n"),
        ({"retry": 1500}, b"retry: 1500\n\n"),
    ]
    text = ""
    for arguments, expected in sent:
        with case(arguments):
            data = arguments.pop("data", None)
            await streams[0].send(data, **arguments)
            chunk = await receive_chunk(wire)
            assert expected is None or chunk == expected
            text += chunk.decode()
    assert parse(text) == [
        {"type": "message", "data": data, "id": ""}
        for data in ("hello", "", " a: b", "a\nb\nc\nd\n", '{"é":[1]}', '["a\\nb"]')
    ] + [{"type": "tick", "data": "x", "id": "7"}]


async def test_what_is_no_event_raises_and_sends_nothing(start_server: StartServer) -> None:
    server, streams = await serve_streams(start_server)
    wire = await open_stream(server)
    for arguments, said in (
        ({}, "data: expected str, dict or list, given none"),
        ({"event": "x"}, "data: expected str, dict or list, given none"),
        ({"data": 7}, "data: expected str, or dict or list as JSON, given int"),
        ({"data": b"x"}, "given bytes"),
        ({"data": "\ud800"}, "without lone surrogates"),
        ({"data": [float("nan")]}, "JSON can say"),
        ({"data": "x", "event": "a\nb"}, "event: expected one line"),
        ({"data": "x", "event": "a\rdata: b"}, "event: expected one line"),
        ({"data": "x", "event": 7}, "event: expected str, given int"),
        ({"data": "x", "id": "a\n"}, "id: expected one line"),
        ({"data": "x", "id": "a\0"}, "id: expected no NUL"),
        ({"data": "x", "id": True}, "id: expected str, given bool"),
        ({"data": "x", "retry": -1}, "retry: expected 0 or more milliseconds"),
        ({"data": "x", "retry": 1.5}, "retry: expected int, milliseconds"),
    ):
        data = arguments.pop("data", None)
        with case(arguments), pytest.raises((TypeError, ValueError), match=said):
            streams[0].send(data, **arguments)  # type: ignore[arg-type]
    streams[0].send("still here")
    assert await receive_chunk(wire) == b"data: still here\n\n"


async def test_head_that_is_set_goes_with_the_stream(start_server: StartServer) -> None:
    server = await start_server()

    @server.get("/")
    async def events(request: sockwave.Request, response: sockwave.Response) -> None:
        response.write_head(200, {"X-One": "1", "Cache-Control": "no-cache"})
        response.set_cookie("a", "b")
        async with response.event_stream() as stream:
            await stream.send("one")
            with pytest.raises(RuntimeError, match="event_stream: expected before write"):
                response.event_stream()

    wire = await open_stream(server)
    assert wire.head.headers["x-one"] == "1"
    assert wire.head.headers["cache-control"] == "no-cache"
    assert "set-cookie" in wire.head.headers
    assert await receive_chunk(wire) == b"data: one\n\n"
    assert await receive_chunk(wire) == b""


async def test_last_event_id_is_what_the_page_had(start_server: StartServer) -> None:
    server = await start_server()
    server.get("/", lambda request: {"id": request.last_event_id})
    async with await Wire.open(server.addresses[0]) as wire:
        for header, expected in (
            ((), b'{"id":null}'),
            ((("Last-Event-ID", ""),), b'{"id":null}'),
            ((("last-event-id", "7"),), b'{"id":"7"}'),
            ((("Last-Event-ID", "é".encode().decode("latin-1")),), '{"id":"é"}'.encode()),
            ((("Last-Event-ID", "\xff"),), '{"id":"\ufffd"}'.encode()),
        ):
            wire.write(get(headers=header))
            assert (await receive_answer(wire)).body == expected


async def test_comments_keep_a_quiet_stream_alive(start_server: StartServer) -> None:
    server = await start_server()
    streams: Streams = []
    server.get("/", lambda request, response: streams.append(response.event_stream(keepalive=0.01)))
    wire = await open_stream(server)
    for _ in range(3):
        assert await receive_chunk(wire) == b":\n\n"
    await streams[0].send("x")
    while (chunk := await receive_chunk(wire)) == b":\n\n":
        pass
    assert chunk == b"data: x\n\n"


async def test_keepalive_is_checked_before_the_head(start_server: StartServer) -> None:
    server = await start_server()

    @server.get("/")
    def events(request: sockwave.Request, response: sockwave.Response) -> str:
        for seconds in (0, -1, float("inf"), float("nan")):
            with pytest.raises(ValueError, match="keepalive: expected more than 0 seconds"):
                response.event_stream(keepalive=seconds)
        for wrong in ("15", True):
            with pytest.raises(TypeError, match="keepalive: expected seconds or None"):
                response.event_stream(keepalive=wrong)  # type: ignore[arg-type]
        return "no stream"

    async with await Wire.open(server.addresses[0]) as wire:
        wire.write(get())
        assert (await receive_answer(wire)).body == b"no stream"


# ---- its end


async def test_stream_ends_with_the_function_that_has_it(start_server: StartServer) -> None:
    server = await start_server()

    @server.get("/route")
    async def route(request: sockwave.Request, response: sockwave.Response) -> None:
        await response.event_stream().send("one")

    @server.on("request")
    async def listener(request: sockwave.Request, response: sockwave.Response) -> None:
        await response.event_stream().send("one")

    for path in ("/route", "/listener"):
        wire = await open_stream(server, path)
        assert await receive_chunk(wire) == b"data: one\n\n"
        assert await receive_chunk(wire) == b""
        wire.write(get(path))  # the connection goes on
        await wire.receive_head()


async def test_stream_of_a_plain_function_goes_on(start_server: StartServer) -> None:
    server, streams = await serve_streams(start_server)
    wires = [await open_stream(server) for _ in range(3)]
    for stream in streams:
        stream.send("to all")
    for wire in wires:
        assert await receive_chunk(wire) == b"data: to all\n\n"
    await streams[1].end()
    await streams[1].end()
    assert await receive_chunk(wires[1]) == b""
    assert [stream.is_open for stream in streams] == [True, False, True]
    with pytest.raises(ConnectionError, match="has ended"):
        streams[1].send("late")


@pytest.mark.parametrize("how", ["close", "reset"])
async def test_client_that_leaves_ends_its_stream(start_server: StartServer, how: str) -> None:
    server, streams = await serve_streams(start_server)
    heard: list[int] = []
    wires = [await open_stream(server) for _ in range(2)]
    for number, stream in enumerate(streams):
        assert stream.on("close", lambda number=number: heard.append(number)) is stream
    # Nothing has to be written for that.
    if how == "close":
        await wires[0].close()
    else:
        wires[0].reset()
    await wait_until(lambda: heard == [0])
    assert [stream.is_open for stream in streams] == [False, True]
    with pytest.raises(ConnectionError):
        streams[0].send("late")
    streams[1].send("still")
    assert await receive_chunk(wires[1]) == b"data: still\n\n"


async def test_client_that_leaves_cancels_its_function_alone(start_server: StartServer) -> None:
    server = await start_server()
    streams: Streams = []
    ends: list[str] = []

    @server.get("/")
    async def events(request: sockwave.Request, response: sockwave.Response) -> None:
        streams.append(response.event_stream())
        try:
            while True:
                await streams[0].send("x" * 100_000)
        except asyncio.CancelledError:
            ends.append("cancelled")
            raise

    async def other() -> None:
        try:
            while True:
                await streams[0].send("y" * 100_000)
        except ConnectionError:
            ends.append("told")

    wire = await open_stream(server)
    wire.pause_reading()
    telling = asyncio.create_task(other())
    await let_arrive()
    wire.reset()
    await telling
    await wait_until(lambda: len(ends) == 2)
    assert sorted(ends) == ["cancelled", "told"]


async def test_slow_client_makes_its_sender_wait(start_server: StartServer) -> None:
    server = await start_server(write_timeout=None)
    sent = 0

    @server.get("/")
    async def events(request: sockwave.Request, response: sockwave.Response) -> None:
        nonlocal sent
        stream = response.event_stream()
        for _ in range(100):
            await stream.send("x" * 100_000)
            sent += 1

    wire = await Wire.open(server.addresses[0], receive_buffer_size=4096)
    wire.pause_reading()
    wire.write(get())
    await wait_until(lambda: sent)
    await let_arrive()
    assert sent < 100
    wire.resume_reading()
    await wire.receive_head()
    size = 0
    while chunk := await receive_chunk(wire):
        size += len(chunk)
    assert size == 100 * len("data: \n\n" + "x" * 100_000)


async def test_client_that_takes_nothing_is_dropped_at_max_backlog(
    start_server: StartServer,
) -> None:
    server, streams = await serve_streams(start_server, max_backlog=1 << 20, write_timeout=None)
    heard: list[str] = []
    wire = await Wire.open(server.addresses[0], receive_buffer_size=4096)
    wire.pause_reading()
    wire.write(get())
    await wait_until(lambda: streams)
    streams[0].on("close", lambda: heard.append("close"))

    async def send_all() -> None:
        for _ in range(1000):  # what `send` returns is not awaited: the backlog grows
            streams[0].send("x" * 100_000)
            await asyncio.sleep(0)

    with pytest.raises(ConnectionError, match="max_backlog"):
        await send_all()
    assert server.limit_hits["max_backlog"] == 1
    await wait_until(lambda: heard == ["close"])
    assert not streams[0].is_open


async def test_head_request_gets_the_head_alone(start_server: StartServer) -> None:
    server = await start_server()
    ends: list[str] = []

    @server.get("/")
    async def events(request: sockwave.Request, response: sockwave.Response) -> None:
        stream = response.event_stream()
        ends.append(f"{stream.is_open}")
        await stream.send("x")

    async with await Wire.open(server.addresses[0]) as wire:
        wire.write(get(method="HEAD"))
        answer = await receive_answer(wire, method="HEAD")
        assert answer.headers["content-type"] == "text/event-stream"
        wire.write(get("/nothing"))
        assert (await receive_answer(wire)).status == 404
    assert ends == ["False"]


async def test_stream_has_no_content_length(start_server: StartServer) -> None:
    server = await start_server()

    @server.get("/")
    def events(request: sockwave.Request, response: sockwave.Response) -> str:
        response.write_head(200, {"Content-Length": "3"})
        with pytest.raises(ValueError, match="Content-Length: expected none"):
            response.event_stream()
        return "abc"

    async with await Wire.open(server.addresses[0]) as wire:
        wire.write(get())
        assert (await receive_answer(wire)).body == b"abc"


async def test_stream_without_content_ends_at_once(start_server: StartServer) -> None:
    server = await start_server()

    @server.get("/")
    def events(request: sockwave.Request, response: sockwave.Response) -> None:
        response.write_head(204)
        assert not response.event_stream().is_open

    async with await Wire.open(server.addresses[0]) as wire:
        wire.write(get() + get())
        for _ in range(2):
            assert (await receive_answer(wire)).status == 204


async def test_stream_to_http_1_0_ends_with_its_connection(start_server: StartServer) -> None:
    server = await start_server()

    @server.get("/")
    async def events(request: sockwave.Request, response: sockwave.Response) -> None:
        await response.event_stream().send("x")

    async with await Wire.open(server.addresses[0]) as wire:
        wire.write(b"GET / HTTP/1.0\r\n\r\n")
        assert (await receive_answer(wire)).body == b"data: x\n\n"


async def test_stream_that_nothing_refers_to_is_an_error(
    start_server: StartServer, error_log: ErrorLog
) -> None:
    server = await start_server()

    @server.get("/")
    def events(request: sockwave.Request, response: sockwave.Response) -> None:
        response.event_stream()

    async with await Wire.open(server.addresses[0]) as wire:
        wire.write(get())
        await wire.receive_head()
        await wire.receive_end()
    (error,) = error_log.take()
    assert "dropped its response" in str(error)


@pytest.mark.parametrize("kind", ["plain", "async"])
async def test_server_that_closes_ends_its_streams(start_server: StartServer, kind: str) -> None:
    server, streams = await serve_streams(start_server)
    ends: list[str] = []

    @server.get("/async")
    async def events(request: sockwave.Request, response: sockwave.Response) -> None:
        streams.append(response.event_stream())
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            ends.append("cancelled")

    wire = await open_stream(server, "/" if kind == "plain" else "/async")
    heard: list[str] = []
    streams[0].on("close", lambda: heard.append("close"))
    streams[0].send("last")
    await server.close(drain=None)
    assert await receive_chunk(wire) == b"data: last\n\n"
    assert await receive_chunk(wire) == b""
    await wire.receive_end()
    assert heard == ["close"]
    assert ends == ([] if kind == "plain" else ["cancelled"])
    assert not streams[0].is_open

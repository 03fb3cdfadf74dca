"""Responses as they go on the wire, and what an application may not do (RFC 9110, RFC 9112)."""

import asyncio
import email.utils
import time
import tracemalloc
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from http_wire import receive_answer
from wire import Wire, count_descriptors, let_arrive, settle, wait_until

import sockwave
from sockwave.http import serialize_response

Listener = Callable[[sockwave.Request, sockwave.Response], Awaitable[None] | None]


def get(target: str = "/", *fields: str, method: str = "GET", version: str = "1.1") -> bytes:
    return "\r\n".join([f"{method} {target} HTTP/{version}", "Host: a", *fields, "", ""]).encode()


async def open_wire(start_server: Any, listener: Listener, **options: Any) -> Wire:
    """Start a server with one request listener, and connect to it."""
    server = await start_server(**options)
    server.on("request", listener)
    return await Wire.open(server.addresses[0])


# ---- framing ----


async def test_whole_body_has_a_content_length(start_server: Any) -> None:
    def request(req: sockwave.Request, res: sockwave.Response) -> None:
        res.write_head(201, {"Content-Type": "text/plain", "X-Y": "z"})
        res.end("größer")

    async with await open_wire(start_server, request) as wire:
        wire.write(get())
        answer = await receive_answer(wire)
        assert (answer.status, answer.head.reason) == (201, "Created")
        assert answer.headers["content-length"] == "8"
        assert answer.headers["content-type"] == "text/plain"
        assert answer.headers["x-y"] == "z"
        assert answer.body == "größer".encode()


async def test_end_without_a_head_is_200(start_server: Any) -> None:
    async with await open_wire(start_server, lambda req, res: res.end()) as wire:
        wire.write(get())
        answer = await receive_answer(wire)
        assert (answer.status, answer.head.reason, answer.body) == (200, "OK", b"")
        assert answer.headers["content-length"] == "0"


async def test_response_is_dated(start_server: Any) -> None:
    async with await open_wire(start_server, lambda req, res: res.end()) as wire:
        wire.write(get())
        date = (await receive_answer(wire)).headers["date"]
        assert date.endswith(" GMT")
        assert abs(email.utils.parsedate_to_datetime(date).timestamp() - time.time()) < 5


async def test_pieces_are_chunks(start_server: Any) -> None:
    async def request(req: sockwave.Request, res: sockwave.Response) -> None:
        res.write("one ")
        await asyncio.sleep(0)
        await res.write(bytearray(b""))
        await res.write(memoryview(b"two "))
        await res.end(b"three")

    async with await open_wire(start_server, request) as wire:
        for _ in range(2):
            wire.write(get())
            answer = await receive_answer(wire)
            assert answer.headers["transfer-encoding"] == "chunked"
            assert answer.body == b"one two three"


async def test_pieces_for_http_1_0_end_with_the_connection(start_server: Any) -> None:
    def request(req: sockwave.Request, res: sockwave.Response) -> None:
        res.write("one ")
        res.end("two")

    async with await open_wire(start_server, request) as wire:
        wire.write(get("/", "Connection: keep-alive", version="1.0"))
        answer = await receive_answer(wire)
        assert "transfer-encoding" not in answer.headers
        assert answer.headers["connection"] == "close"
        assert answer.body == b"one two"


async def test_empty_write_sends_the_head_alone(start_server: Any) -> None:
    go_on = asyncio.Event()

    async def request(req: sockwave.Request, res: sockwave.Response) -> None:
        res.write_head(200, {"Content-Type": "text/event-stream"})
        assert not res.headers_sent
        res.write(b"")
        assert res.headers_sent
        await go_on.wait()
        res.end("data: x\n\n")

    async with await open_wire(start_server, request) as wire:
        wire.write(get())
        head = await wire.receive_head()
        assert head.headers["content-type"] == "text/event-stream"
        go_on.set()
        assert (await wire.receive(14)) == b"9\r\ndata: x\n\n\r\n"


async def test_head_request_gets_the_head_alone(start_server: Any) -> None:
    def request(req: sockwave.Request, res: sockwave.Response) -> None:
        if req.path == "/pieces":
            res.write("hello ")
        res.end("world")

    async with await open_wire(start_server, request) as wire:
        wire.write(get("/", method="HEAD") + get("/pieces", method="HEAD") + get("/"))
        answer = await receive_answer(wire, method="HEAD")
        assert answer.headers["content-length"] == "5"
        answer = await receive_answer(wire, method="HEAD")
        assert answer.headers["transfer-encoding"] == "chunked"
        assert (await receive_answer(wire)).body == b"world"


@pytest.mark.parametrize("status", [204, 304])
async def test_some_statuses_have_no_body(start_server: Any, status: int) -> None:
    def request(req: sockwave.Request, res: sockwave.Response) -> None:
        res.write_head(status)
        if req.path == "/pieces":
            res.write("dropped")
        res.end("dropped")

    async with await open_wire(start_server, request) as wire:
        for target in ("/", "/pieces"):
            wire.write(get(target))
            answer = await receive_answer(wire)
            assert answer.status == status
            assert "content-length" not in answer.headers
            assert "transfer-encoding" not in answer.headers


async def test_promised_content_length_frames_the_pieces(start_server: Any) -> None:
    def request(req: sockwave.Request, res: sockwave.Response) -> None:
        res.write_head(200, {"Content-Length": 10})
        res.write("hello")
        res.end("world")

    async with await open_wire(start_server, request) as wire:
        for _ in range(2):
            wire.write(get())
            answer = await receive_answer(wire)
            assert answer.headers["content-length"] == "10"
            assert answer.body == b"helloworld"


async def test_headers_may_repeat(start_server: Any) -> None:
    def request(req: sockwave.Request, res: sockwave.Response) -> None:
        if req.path == "/list":
            res.write_head(200, {"Set-Cookie": ["a=1", "b=2"]})
        else:
            res.write_head(200, [("Set-Cookie", "a=1"), ("Set-Cookie", "b=2")])
        res.end()

    async with await open_wire(start_server, request) as wire:
        for target in ("/list", "/pairs"):
            wire.write(get(target))
            raw = (await receive_answer(wire)).head.raw
            assert b"Set-Cookie: a=1\r\nSet-Cookie: b=2\r\n" in raw


async def test_reason_and_unknown_status_go_out_as_given(start_server: Any) -> None:
    def request(req: sockwave.Request, res: sockwave.Response) -> None:
        if req.path == "/reason":
            res.write_head(200, reason="Fine By Me")
        else:
            res.write_head(299)
        res.end()

    async with await open_wire(start_server, request) as wire:
        wire.write(get("/reason"))
        assert (await receive_answer(wire)).head.reason == "Fine By Me"
        wire.write(get("/"))
        answer = await receive_answer(wire)
        assert (answer.status, answer.head.reason) == (299, "")


async def test_application_can_end_the_connection(start_server: Any) -> None:
    def request(req: sockwave.Request, res: sockwave.Response) -> None:
        res.write_head(200, {"Connection": "Close"})
        res.end("bye")

    async with await open_wire(start_server, request) as wire:
        wire.write(get() + get())
        answer = await receive_answer(wire)
        assert (answer.body, answer.headers["connection"]) == (b"bye", "Close")
        await wire.receive_end()


async def test_upgrade_offer_is_named_in_connection(start_server: Any) -> None:
    def request(req: sockwave.Request, res: sockwave.Response) -> None:
        res.write_head(426, {"Upgrade": "websocket"})
        res.end()

    async with await open_wire(start_server, request) as wire:
        wire.write(get() + get("/", "Connection: close"))
        assert (await receive_answer(wire)).headers["connection"] == "Upgrade"
        assert (await receive_answer(wire)).headers["connection"] == "Upgrade, close"


async def test_large_body_arrives_whole(start_server: Any) -> None:
    data = bytes(range(256)) * 40_000

    async def request(req: sockwave.Request, res: sockwave.Response) -> None:
        if req.path == "/at-once":
            await res.end(data)
        else:
            for start in range(0, len(data), 100_000):
                await res.write(data[start : start + 100_000])
            res.end()

    async with await open_wire(start_server, request) as wire:
        wire.write(get("/at-once") + get("/"))
        assert (await receive_answer(wire)).body == data
        assert (await receive_answer(wire)).body == data


async def test_write_waits_while_the_reader_is_behind(start_server: Any) -> None:
    written = 0

    async def request(req: sockwave.Request, res: sockwave.Response) -> None:
        nonlocal written
        for _ in range(1000):
            await res.write(bytes(50_000))
            written += 50_000
        res.end()

    wire = await open_wire(start_server, request)
    async with wire:
        wire.writer.transport.pause_reading()
        wire.write(get())
        await wait_until(lambda: written, "a first piece")
        assert await settle(lambda: written) < 25_000_000
        wire.writer.transport.resume_reading()
        assert len((await receive_answer(wire)).body) == 50_000_000


# ---- what the application may not do ----

UNSENDABLE = ["\r", "\n", "\0", "\x0b", "\x0c", "\x1c", "\x1d", "\x1e", "\x7f", "\x85", "\u2028"]


def record(errors: list[BaseException], call: Callable[[], object]) -> None:
    """Keep what a call raises."""
    try:
        call()
    except Exception as error:
        errors.append(error)


async def collect(
    start_server: Any, calls: Callable[[sockwave.Response], list[Callable[[], object]]]
) -> list[BaseException]:
    """Give what the calls raise; nothing of them may be on the wire."""
    errors: list[BaseException] = []

    def request(req: sockwave.Request, res: sockwave.Response) -> None:
        for call in calls(res):
            record(errors, call)
        assert not res.headers_sent
        res.write_head(200, {"X": "y"})
        res.end("clean")

    async with await open_wire(start_server, request) as wire:
        wire.write(get())
        answer = await receive_answer(wire)
        assert (answer.status, answer.body) == (200, b"clean")
        assert set(answer.headers) == {"x", "date", "content-length"}
        await wire.receive_nothing()
    return errors


async def test_header_injection_raises_value_error(start_server: Any) -> None:
    def calls(res: sockwave.Response) -> list[Callable[[], object]]:
        return [
            call
            for bad in UNSENDABLE
            for call in (
                lambda bad=bad: res.write_head(200, {"A": f"b{bad}c"}),
                lambda bad=bad: res.write_head(200, {f"A{bad}": "b"}),
                lambda bad=bad: res.write_head(200, [("A", "b"), ("C", ["d", bad])]),
                lambda bad=bad: res.write_head(200, reason=f"OK{bad}X: y"),
            )
        ]

    errors = await collect(start_server, calls)
    assert len(errors) == 4 * len(UNSENDABLE)
    assert {type(error) for error in errors} == {ValueError}


async def test_wrong_types_raise_type_error(start_server: Any) -> None:
    def calls(res: sockwave.Response) -> list[Callable[[], object]]:
        anything: Any = res
        return [
            lambda: anything.write_head("200"),
            lambda: anything.write_head(True),
            lambda: anything.write_head(200, "A: b"),
            lambda: anything.write_head(200, 5),
            lambda: anything.write_head(200, ["A: b"]),
            lambda: anything.write_head(200, {"A": None}),
            lambda: anything.write_head(200, {"A": 1.5}),
            lambda: anything.write_head(200, {5: "a"}),
            lambda: anything.write_head(200, reason=b"OK"),
            lambda: anything.write(5),
            lambda: anything.end(None),
            lambda: anything.end([b"a"]),
        ]

    errors = await collect(start_server, calls)
    assert [type(error) for error in errors] == [TypeError] * 12
    assert all("expected" in str(error) and "given" in str(error) for error in errors)


async def test_wrong_values_raise_value_error(start_server: Any) -> None:
    def calls(res: sockwave.Response) -> list[Callable[[], object]]:
        return [
            lambda: res.write_head(99),
            lambda: res.write_head(101),
            lambda: res.write_head(600),
            lambda: res.write_head(200, {"Transfer-Encoding": "chunked"}),
            lambda: res.write_head(200, {"Content-Length": "-1"}),
            lambda: res.write_head(200, {"Content-Length": "1e3"}),
            lambda: res.write_head(200, [("Content-Length", 1), ("Content-Length", 1)]),
            lambda: res.write_head(200, {"A b": "c"}),
            lambda: res.write_head(200, {"": "c"}),
            lambda: res.write("\ud800"),
            lambda: res.end("\ud800"),
        ]

    errors = await collect(start_server, calls)
    assert [type(error) for error in errors] == [ValueError] * 11
    assert all("expected" in str(error) and "given" in str(error) for error in errors)


async def test_order_of_calls_is_held_to(start_server: Any) -> None:
    errors: list[BaseException] = []

    def request(req: sockwave.Request, res: sockwave.Response) -> None:
        res.write_head(200)
        record(errors, lambda: res.write_head(200))
        res.write("a")
        record(errors, lambda: res.write_head(200))
        record(errors, lambda: res.send_file(__file__))
        res.end("b")
        record(errors, lambda: res.write_head(200))
        record(errors, lambda: res.write("c"))
        record(errors, lambda: res.end("d"))
        record(errors, lambda: res.send_file(__file__))

    async with await open_wire(start_server, request) as wire:
        wire.write(get())
        assert (await receive_answer(wire)).body == b"ab"
        await wire.receive_nothing()
    assert [type(error) for error in errors] == [RuntimeError] * 7


async def test_more_or_less_than_the_promised_length_raises(start_server: Any) -> None:
    errors: list[BaseException] = []

    def request(req: sockwave.Request, res: sockwave.Response) -> None:
        res.write_head(200, {"Content-Length": 5})
        record(errors, lambda: res.end("hell"))
        record(errors, lambda: res.end("hello!"))
        record(errors, lambda: res.write("hello!"))
        assert not res.headers_sent
        if req.path == "/partly":
            res.write("hel")
            record(errors, lambda: res.write("lo!"))
            record(errors, lambda: res.end("l"))
        else:
            res.end("hello")

    async with await open_wire(start_server, request) as wire:
        wire.write(get())
        assert (await receive_answer(wire)).body == b"hello"
        wire.write(get("/partly"))
        # What is partly sent cannot be saved.
        with pytest.raises((asyncio.IncompleteReadError, ConnectionError)):
            await receive_answer(wire)
    assert [type(error) for error in errors] == [ValueError] * 8


# ---- failures ----


async def test_listener_that_raises_is_answered_with_500(start_server: Any) -> None:
    server = await start_server()
    errors: list[BaseException] = []
    server.on("error", errors.append)

    @server.on("request")
    async def request(req: sockwave.Request, res: sockwave.Response) -> None:
        if req.path == "/late":
            await asyncio.sleep(0.01)
        res.write_head(200, {"X-Secret": "y"})
        raise LookupError("secret")

    for target in ("/", "/late"):
        async with await Wire.open(server.addresses[0]) as wire:
            wire.write(get(target))
            answer = await receive_answer(wire)
            assert (answer.status, answer.headers["connection"]) == (500, "close")
            assert b"secret" not in answer.body.lower()
            assert "x-secret" not in answer.headers
            await wire.receive_end()
    assert [type(error) for error in errors] == [LookupError] * 2


async def test_listener_that_raises_amid_its_answer_drops_the_connection(
    start_server: Any,
) -> None:
    server = await start_server()
    errors: list[BaseException] = []
    server.on("error", errors.append)

    @server.on("request")
    def request(req: sockwave.Request, res: sockwave.Response) -> None:
        res.write("half of")
        raise LookupError

    async with await Wire.open(server.addresses[0]) as wire:
        wire.write(get())
        with pytest.raises((asyncio.IncompleteReadError, ConnectionError)):
            await receive_answer(wire)
    assert [type(error) for error in errors] == [LookupError]


async def test_listener_that_raises_behind_its_answer_changes_nothing(start_server: Any) -> None:
    server = await start_server()
    errors: list[BaseException] = []
    server.on("error", errors.append)

    @server.on("request")
    def request(req: sockwave.Request, res: sockwave.Response) -> None:
        res.end("done")
        raise LookupError

    async with await Wire.open(server.addresses[0]) as wire:
        wire.write(get())
        assert (await receive_answer(wire)).body == b"done"
    assert [type(error) for error in errors] == [LookupError]


async def test_writing_to_a_client_that_is_gone_ends_the_writer_quietly(start_server: Any) -> None:
    server = await start_server()
    started, ended = asyncio.Event(), asyncio.Event()
    tasks = []

    @server.on("request")
    def request(req: sockwave.Request, res: sockwave.Response) -> None:
        async def write_on() -> None:
            try:
                while True:
                    started.set()
                    await res.write(b"x" * 1000)
                    await asyncio.sleep(0.001)
            finally:
                ended.set()

        # A task of the application's own, which no connection holds.
        tasks.append(asyncio.create_task(write_on()))

    async with await Wire.open(server.addresses[0]) as wire:
        wire.write(get())
        await asyncio.wait_for(started.wait(), 10)
        wire.reset()
        await asyncio.wait_for(ended.wait(), 10)
    await asyncio.wait(tasks)
    assert tasks[0].cancelled()


async def test_what_is_written_after_the_end_of_the_client_is_dropped(start_server: Any) -> None:
    server = await start_server()
    kept: list[tuple[sockwave.Request, sockwave.Response]] = []
    server.on("request", lambda req, res: kept.append((req, res)))
    async with await Wire.open(server.addresses[0]) as wire:
        wire.write(get("/", "Content-Length: 5", method="POST"))
        await wait_until(lambda: kept, "the request")
        wire.reset()
        await wait_until(lambda: not server._host.engine.transport_count, "the end of the client")
    request, response = kept[0]
    with pytest.raises(asyncio.CancelledError):
        await request.body()
    response.write_head(200)
    response.write("x")
    response.end("y")
    with pytest.raises(RuntimeError):
        response.end("z")


async def test_file_for_a_client_that_is_gone_is_not_sent(
    start_server: Any, tmp_path: Path
) -> None:
    path = tmp_path / "large"
    path.write_bytes(bytes(2**20))
    server = await start_server()
    kept: list[sockwave.Response] = []
    server.on("request", lambda req, res: kept.append(res))
    async with await Wire.open(server.addresses[0]) as wire:
        wire.write(get())
        await wait_until(lambda: kept, "the request")
        await server.close(drain=0)
    before = count_descriptors()
    with pytest.raises(asyncio.CancelledError):
        await kept[0].send_file(path)
    assert count_descriptors() == before


async def test_listener_that_answers_and_goes_on_is_cancelled_with_its_client(
    start_server: Any,
) -> None:
    server = await start_server()
    ended = asyncio.Event()

    @server.on("request")
    async def request(req: sockwave.Request, res: sockwave.Response) -> None:
        try:
            res.end("here you are")
            await asyncio.Event().wait()
        finally:
            ended.set()

    async with await Wire.open(server.addresses[0]) as wire:
        wire.write(get())
        assert (await receive_answer(wire)).body == b"here you are"
        wire.reset()
        await asyncio.wait_for(ended.wait(), 10)


async def test_response_may_have_a_date_of_its_own(start_server: Any) -> None:
    server = await start_server()
    date = "Thu, 01 Jan 1970 00:00:00 GMT"

    @server.on("request")
    def request(req: sockwave.Request, res: sockwave.Response) -> None:
        res.write_head(200, {"date": date})
        res.end()

    async with await Wire.open(server.addresses[0]) as wire:
        wire.write(get())
        assert (await receive_answer(wire)).headers["date"] == date  # and no other one


# ---- reading the body ----


async def test_body_has_one_reader(start_server: Any) -> None:
    server = await start_server()

    @server.on("request")
    async def request(req: sockwave.Request, res: sockwave.Response) -> None:
        pieces = aiter(req)
        first = asyncio.ensure_future(anext(pieces))
        await asyncio.sleep(0)
        with pytest.raises(RuntimeError, match="expected one reader"):
            await anext(pieces)
        with pytest.raises(RuntimeError, match="expected to be read once"):
            await req.body()
        res.end(await first)

    async with await Wire.open(server.addresses[0]) as wire:
        wire.write(get("/", "Content-Length: 4", "Expect: 100-continue", method="POST"))
        assert (await wire.receive_head()).status == 100
        wire.write(b"body")
        assert (await receive_answer(wire)).body == b"body"


async def test_body_can_be_read_whole_and_again(start_server: Any) -> None:
    async def request(req: sockwave.Request, res: sockwave.Response) -> None:
        first, second = await req.body(), await req.body()
        assert first is second
        with pytest.raises(RuntimeError):
            async for _ in req:
                pass
        res.end(first)

    async with await open_wire(start_server, request) as wire:
        wire.write(get("/", "Content-Length: 5", method="POST") + b"hel")
        await let_arrive()
        wire.write(b"lo" + get())
        assert (await receive_answer(wire)).body == b"hello"
        assert (await receive_answer(wire)).body == b""


async def test_body_can_be_read_in_pieces(start_server: Any) -> None:
    async def request(req: sockwave.Request, res: sockwave.Response) -> None:
        pieces = [piece async for piece in req]
        with pytest.raises(RuntimeError):
            await req.body()
        assert all(pieces)
        res.end(b"".join(pieces))

    async with await open_wire(start_server, request) as wire:
        wire.write(get("/", "Transfer-Encoding: chunked", method="POST") + b"3\r\nhel\r\n")
        await let_arrive()
        wire.write(b"2\r\nlo\r\n0\r\n\r\n" + get())
        assert (await receive_answer(wire)).body == b"hello"
        assert (await receive_answer(wire)).body == b""


async def test_body_can_still_be_read_behind_the_response(start_server: Any) -> None:
    bodies = []

    async def request(req: sockwave.Request, res: sockwave.Response) -> None:
        res.write_head(202)
        res.end()
        bodies.append(await req.body())

    for fields in ((), ("Connection: close",)):
        async with await open_wire(start_server, request) as wire:
            wire.write(get("/", "Content-Length: 5", *fields, method="POST") + b"hello")
            answer = await receive_answer(wire)
            assert answer.status == 202
            if fields:
                await wire.receive_end()
    assert bodies == [b"hello"] * 2


async def test_body_that_is_being_read_is_waited_for_behind_the_response(
    start_server: Any,
) -> None:
    bodies = []

    async def request(req: sockwave.Request, res: sockwave.Response) -> None:
        reading = asyncio.ensure_future(req.body())
        await asyncio.sleep(0)
        res.end("early")
        bodies.append(await reading)

    for fields in ((), ("Connection: close",)):
        async with await open_wire(start_server, request) as wire:
            wire.write(get("/", "Content-Length: 5", *fields, method="POST"))
            assert (await receive_answer(wire)).body == b"early"
            wire.write(b"hello")
            if fields:
                await wire.receive_end()
            else:
                wire.write(get("/", "Content-Length: 1", method="POST") + b"x")
                assert (await receive_answer(wire)).body == b"early"
    await wait_until(lambda: len(bodies) == 3)
    assert bodies == [b"hello", b"x", b"hello"]


@pytest.mark.slow
async def test_body_in_tiny_segments_takes_no_more_memory_than_it_has_bytes(
    start_server: Any,
) -> None:
    server = await start_server()
    kept: list[Any] = []
    server.on("request", lambda req, res: kept.extend((req, res)))
    async with await Wire.open(server.addresses[0]) as wire:
        wire.write(get("/", "Content-Length: 40000", method="POST"))
        await wait_until(lambda: kept, "the request")
        tracemalloc.start()
        try:
            for _ in range(20_000):
                wire.write(b"xy")
                await asyncio.sleep(0)
            await asyncio.wait_for(kept[0].body(), 10)
            # As many objects as segments would take about a megabyte.
            assert tracemalloc.get_traced_memory()[1] < 500_000
        finally:
            tracemalloc.stop()
        wire.reset()


async def test_request_knows_whom_it_is_from(start_server: Any) -> None:
    def request(req: sockwave.Request, res: sockwave.Response) -> None:
        res.end(repr(tuple(req.remote_address)))

    async with await open_wire(start_server, request) as wire:
        wire.write(get())
        local = wire.writer.get_extra_info("sockname")
        assert (await receive_answer(wire)).body.decode() == repr(tuple(local))


# ---- the refusals that need no request ----


def test_serialized_response_is_complete() -> None:
    raw = serialize_response(426, {"Upgrade": "websocket"}, b"no")
    head, _, body = raw.partition(b"\r\n\r\n")
    lines = head.decode().split("\r\n")
    assert lines[0] == "HTTP/1.1 426 Upgrade Required"
    assert body == b"no"
    fields = dict(line.split(": ", 1) for line in lines[1:])
    assert fields.pop("Date").endswith(" GMT")
    assert fields == {
        "Upgrade": "websocket",
        "Content-Type": "text/plain; charset=utf-8",
        "Content-Length": "2",
        "Connection": "Upgrade, close",
    }


def test_serialized_response_keeps_to_its_arguments() -> None:
    raw = serialize_response(403, [("Content-Type", "a/b")], b"x").decode()
    assert raw.startswith("HTTP/1.1 403 Forbidden\r\nContent-Type: a/b\r\n")
    assert "\r\nConnection: close\r\n" in raw
    assert serialize_response(304, (), b"x").endswith(b"\r\n\r\n")
    assert b"Content-Length" not in serialize_response(204)
    with pytest.raises(ValueError, match="expected"):
        serialize_response(200, {"A": "b\r\nc"})

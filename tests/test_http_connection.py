"""An HTTP/1.1 connection on the wire: order, persistence, refusals, limits and deadlines."""

import asyncio
import contextlib
import time
from typing import Any

import pytest
from conftest import StartServer, echo
from http_wire import receive_answer, receive_refusal
from wire import Wire, build_request, let_arrive, settle, upgrade_headers, wait_until

import sockwave

GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
POST = b"POST / HTTP/1.1\r\nHost: a\r\n"


def get(target: str, *fields: str, version: str = "1.1") -> bytes:
    return "\r\n".join([f"GET {target} HTTP/{version}", "Host: a", *fields, "", ""]).encode()


class Recorder:
    """Requests as they come, answered with their target and body."""

    def __init__(self, server: sockwave.Server) -> None:
        self.targets: list[str] = []
        server.on("request", self.answer)

    async def answer(self, request: sockwave.Request, response: sockwave.Response) -> None:
        self.targets.append(request.target)
        body = await request.body()
        response.end(request.target.encode() + b" " + body)


# ---- persistence and order ----


async def test_connection_carries_one_request_after_another(start_server: Any) -> None:
    server = await start_server()
    Recorder(server)
    async with await Wire.open(server.addresses[0]) as wire:
        for i in range(5):
            wire.write(get(f"/{i}"))
            answer = await receive_answer(wire)
            assert (answer.status, answer.body) == (200, b"/%d " % i)
            assert "connection" not in answer.headers


async def test_pipelined_requests_are_answered_in_order(start_server: Any) -> None:
    server = await start_server()

    @server.on("request")
    async def request(req: sockwave.Request, res: sockwave.Response) -> None:
        await asyncio.sleep(0.03 if req.target == "/0" else 0)
        res.end(req.target)

    async with await Wire.open(server.addresses[0]) as wire:
        wire.write(b"".join(get(f"/{i}") for i in range(40)))
        for i in range(40):
            assert (await receive_answer(wire)).body == b"/%d" % i


async def test_pipelined_requests_with_bodies_are_told_apart(start_server: Any) -> None:
    server = await start_server()
    Recorder(server)
    async with await Wire.open(server.addresses[0]) as wire:
        wire.write(
            POST.replace(b"/ ", b"/1 ")
            + b"Content-Length: 31\r\n\r\nGET /evil HTTP/1.1\r\nHost: a\r\n\r\n"
            + POST.replace(b"/ ", b"/2 ")
            + b"Transfer-Encoding: chunked\r\n\r\n6\r\nGET / \r\n0\r\nA: b\r\n\r\n"
            + get("/3")
        )
        assert (await receive_answer(wire)).body == b"/1 GET /evil HTTP/1.1\r\nHost: a\r\n\r\n"
        assert (await receive_answer(wire)).body == b"/2 GET / "
        assert (await receive_answer(wire)).body == b"/3 "


CONVERSATION = (
    b"\r\n"
    + POST
    + b"Content-Length: 5\r\n\r\nhello"
    + POST
    + b"Transfer-Encoding: chunked\r\n\r\n3;x=y\r\nabc\r\n0\r\nA: b\r\n\r\n\r\n"
    + get("/last", "Connection: close")
)
CONVERSATION_BODIES = [b"/ hello", b"/ abc", b"/last "]


async def test_requests_are_understood_byte_by_byte(start_server: Any) -> None:
    server = await start_server()
    Recorder(server)
    async with await Wire.open(server.addresses[0]) as wire:
        await wire.write_slowly(CONVERSATION)
        for body in CONVERSATION_BODIES:
            assert (await receive_answer(wire)).body == body
        await wire.receive_end()


async def test_requests_are_understood_wherever_they_are_cut(start_server: Any) -> None:
    server = await start_server()
    Recorder(server)
    for step in (2, 3, 7, 31):
        async with await Wire.open(server.addresses[0]) as wire:
            await wire.write_pieces(CONVERSATION, range(0, len(CONVERSATION), step))
            for body in CONVERSATION_BODIES:
                assert (await receive_answer(wire)).body == body
            await wire.receive_end()


@pytest.mark.parametrize(
    "fields", [["Connection: close"], ["Connection: x, Close"]], ids=["close", "list"]
)
async def test_connection_ends_when_the_client_asks_for_it(
    start_server: Any, fields: list[str]
) -> None:
    server = await start_server()
    Recorder(server)
    async with await Wire.open(server.addresses[0]) as wire:
        wire.write(get("/1", *fields) + get("/2"))
        answer = await receive_answer(wire)
        assert (answer.body, answer.headers["connection"]) == (b"/1 ", "close")
        await wire.receive_end()


async def test_http_1_0_ends_after_one_response_unless_asked_otherwise(start_server: Any) -> None:
    server = await start_server()
    Recorder(server)
    async with await Wire.open(server.addresses[0]) as wire:
        wire.write(get("/1", "Connection: Keep-Alive", version="1.0"))
        answer = await receive_answer(wire)
        assert (answer.body, answer.headers["connection"]) == (b"/1 ", "keep-alive")
        wire.write(b"GET /2 HTTP/1.0\r\n\r\n")
        answer = await receive_answer(wire)
        assert (answer.body, answer.headers["connection"]) == (b"/2 ", "close")
        await wire.receive_end()


async def test_request_without_a_listener_gets_426(start_server: Any) -> None:
    server = await start_server()
    async with await Wire.open(server.addresses[0]) as wire:
        wire.write(GET)
        answer = await receive_answer(wire)
        assert answer.status == 426
        assert answer.headers["upgrade"] == "websocket"
        assert "upgrade" in answer.headers["connection"].lower()


async def test_request_that_upgrades_to_something_else_is_an_ordinary_one(
    start_server: Any,
) -> None:
    server = await start_server()
    Recorder(server)
    async with await Wire.open(server.addresses[0]) as wire:
        wire.write(get("/", "Upgrade: h2c", "Connection: Upgrade, HTTP2-Settings"))
        assert (await receive_answer(wire)).body == b"/ "


async def test_websocket_can_be_opened_behind_pipelined_requests(start_server: Any) -> None:
    server = await start_server()

    @server.on("request")
    async def request(req: sockwave.Request, res: sockwave.Response) -> None:
        await asyncio.sleep(0.02)
        res.end(req.target)

    @server.on("connection")
    def connected(conn: sockwave.Connection) -> None:
        conn.send("welcome")

    async with await Wire.open(server.addresses[0]) as wire:
        wire.write(
            get("/1")
            + get("/2")
            + get(
                "/3",
                "Upgrade: websocket",
                "Connection: Upgrade",
                "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
                "Sec-WebSocket-Version: 13",
            )
        )
        assert (await receive_answer(wire)).body == b"/1"
        assert (await receive_answer(wire)).body == b"/2"
        assert (await wire.receive_head()).status == 101
        assert await wire.receive_message() == "welcome"


async def test_messages_that_outrun_an_answer_before_their_handshake_are_kept(
    start_server: Any,
) -> None:
    server = await start_server()
    echo(server)
    go_on = asyncio.Event()

    @server.on("request")
    async def request(req: sockwave.Request, res: sockwave.Response) -> None:
        await go_on.wait()
        res.end("first")

    messages = [f"{i} ".ljust(1000, ".") for i in range(200)]
    async with await Wire.open(server.addresses[0]) as wire:
        wire.write(get("/1") + build_request(upgrade_headers()))
        for message in messages:
            wire.send(message)
        await wire.receive_nothing()  # by now the server has stopped to read
        go_on.set()
        assert (await receive_answer(wire)).body == b"first"
        assert (await wire.receive_head()).status == 101
        assert [await wire.receive_message() for _ in messages] == messages


async def test_client_that_has_ended_its_side_still_gets_its_answers(start_server: Any) -> None:
    server = await start_server()

    @server.on("request")
    async def request(req: sockwave.Request, res: sockwave.Response) -> None:
        await asyncio.sleep(0.02)
        res.end(req.target)

    async with await Wire.open(server.addresses[0]) as wire:
        wire.write(get("/1") + get("/2"))
        wire.write_eof()
        assert (await receive_answer(wire)).body == b"/1"
        assert (await receive_answer(wire)).body == b"/2"
        await wire.receive_end()


async def test_client_that_ends_without_a_request_is_let_go(start_server: Any) -> None:
    server = await start_server()
    for raw in (b"", b"\r\n", b"GET / HTT"):
        async with await Wire.open(server.addresses[0]) as wire:
            wire.write(raw)
            wire.write_eof()
            await wire.receive_end()


async def test_connection_is_unused_behind_as_many_requests_as_a_turn_has(
    start_server: Any,
) -> None:
    server = await start_server(pipelined_count=4, keep_alive_timeout=0.2)
    server.on("request", lambda req, res: res.end(req.target))
    for count in (3, 4, 5, 8):
        async with await Wire.open(server.addresses[0]) as wire:
            wire.write(b"".join(get(f"/{i}") for i in range(count)))
            for i in range(count):
                assert (await receive_answer(wire)).body == b"/%d" % i
            await wire.receive_end()


# ---- refusals ----


@pytest.mark.parametrize(
    "raw",
    [b"GET / HTTP/1.1\nHost: a\n\n", b"GET / HTTP/1.1\r\nA: b\rC", b"\n", b"GET / HTTP/1.1\r\n\n"],
)
async def test_wrong_line_end_is_refused_before_the_head_is_whole(
    start_server: Any, raw: bytes
) -> None:
    server = await start_server()
    for slowly in (False, True):
        async with await Wire.open(server.addresses[0]) as wire:
            if slowly:
                await wire.write_slowly(raw)
            else:
                wire.write(raw)
            await receive_refusal(wire, 400)


async def test_coding_that_is_refused_ends_the_connection(start_server: StartServer) -> None:
    server = await start_server()
    heard: list[str] = []
    server.on("request", lambda req, res: heard.append(req.target))
    for value, status in {
        "gzip, chunked": 501,
        "gzip": 400,
        "chunked, gzip": 400,
        "chunked, chunked": 400,
    }.items():
        async with await Wire.open(server.addresses[0]) as wire:
            wire.write(f"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: {value}\r\n\r\n".encode())
            wire.write(b"0\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n")
            await receive_refusal(wire, status)
    assert not heard


async def test_refusal_comes_behind_the_answers_that_are_owed(start_server: Any) -> None:
    server = await start_server()
    Recorder(server)
    async with await Wire.open(server.addresses[0]) as wire:
        wire.write(get("/1") + b"GET / HTTP/1.1\r\n\r\n" + get("/2"))
        assert (await receive_answer(wire)).body == b"/1 "
        await receive_refusal(wire, 400)


async def test_refused_body_of_a_head_request_is_answered_without_content(
    start_server: Any,
) -> None:
    server = await start_server()
    Recorder(server)
    for size_line in (b"x", b"5\r\nhello", b"99999999"):
        async with await Wire.open(server.addresses[0]) as wire:
            wire.write(b"HEAD / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
            wire.write(size_line + b"\r\n" + b"oops\r\n")
            answer = await receive_answer(wire, method="HEAD")
            assert answer.status in (400, 413)
            assert int(answer.headers["content-length"]) > 0
            await wire.receive_end()


async def test_refused_request_hurts_nobody_else(start_server: Any) -> None:
    server = await start_server()
    Recorder(server)
    async with (
        await Wire.open(server.addresses[0]) as good,
        await Wire.open(server.addresses[0]) as bad,
    ):
        good.write(get("/1"))
        bad.write(b"\0")
        await receive_refusal(bad, 400)
        assert (await receive_answer(good)).body == b"/1 "
        good.write(get("/2"))
        assert (await receive_answer(good)).body == b"/2 "


async def test_unknown_expectation_is_refused_with_417(start_server: Any) -> None:
    server = await start_server()
    Recorder(server)
    async with await Wire.open(server.addresses[0]) as wire:
        wire.write(get("/", "Expect: a-miracle"))
        await receive_refusal(wire, 417)


# ---- limits ----


async def test_request_line_over_its_limit_is_414(start_server: Any) -> None:
    server = await start_server(request_line_size=200)
    Recorder(server)
    fit = "/" + "a" * (200 - len("GET / HTTP/1.1"))
    async with await Wire.open(server.addresses[0]) as wire:
        wire.write(get(fit))
        assert (await receive_answer(wire)).status == 200
        wire.write(get(fit + "a"))
        await receive_refusal(wire, 414)
    async with await Wire.open(server.addresses[0]) as wire:
        wire.write(b"GET /" + b"a" * 200)
        await receive_refusal(wire, 414)
    async with await Wire.open(server.addresses[0]) as wire:
        wire.write(get(fit + "a")[:-2])
        await receive_refusal(wire, 414)


async def test_header_block_over_its_limit_is_431(start_server: Any) -> None:
    server = await start_server(header_block_size=1000)
    Recorder(server)
    room = 1000 - len("Host: a\r\nA: \r\n\r\n")
    async with await Wire.open(server.addresses[0]) as wire:
        wire.write(get("/", "A: " + "x" * room))
        assert (await receive_answer(wire)).status == 200
        wire.write(get("/", "A: " + "x" * (room + 1)))
        await receive_refusal(wire, 431)
    async with await Wire.open(server.addresses[0]) as wire:
        wire.write(GET[:-2] + b"A: " + b"x" * 1000)
        await receive_refusal(wire, 431)


@pytest.mark.parametrize("count", [1, 2, 100, 101])
async def test_header_count_over_its_limit_is_431(start_server: Any, count: int) -> None:
    server = await start_server(header_block_size=1 << 20)
    Recorder(server)
    async with await Wire.open(server.addresses[0]) as wire:
        wire.write(get("/", *["A: b"] * (count - 1), version="1.1"))
        if count <= 100:
            assert (await receive_answer(wire)).status == 200
        else:
            await receive_refusal(wire, 431)


async def test_body_over_its_limit_is_413(start_server: Any) -> None:
    server = await start_server(body_size=10)
    recorder = Recorder(server)
    for length in (b"Content-Length: 10\r\n\r\n", b"Transfer-Encoding: chunked\r\n\r\n"):
        chunked = b"chunked" in length
        async with await Wire.open(server.addresses[0]) as wire:
            wire.write(POST + length + (b"a\r\n0123456789\r\n0\r\n\r\n" if chunked else b"0" * 10))
            assert (await receive_answer(wire)).status == 200
            if chunked:
                wire.write(POST + length + b"a\r\n0123456789\r\n")
                wire.write(b"1\r\n")
            else:
                wire.write(POST + length.replace(b"10", b"11"))
            await receive_refusal(wire, 413)
    assert recorder.targets.count("/") in (2, 3)


async def test_body_that_is_refused_ends_whoever_waits_for_it(start_server: Any) -> None:
    server = await start_server(body_size=10)
    tasks: list[asyncio.Task[bytes]] = []
    kept: list[sockwave.Response] = []

    @server.on("request")
    def request(req: sockwave.Request, res: sockwave.Response) -> None:
        # A task of the application's own, which no connection holds.
        tasks.append(asyncio.ensure_future(req.body()))
        kept.append(res)

    async with await Wire.open(server.addresses[0]) as wire:
        wire.write(POST + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n")
        await wire.receive_nothing()
        wire.write(b"6\r\n")
        await receive_refusal(wire, 413)
    await wait_until(tasks[0].cancelled, "the end of the reader")


async def test_flood_of_pipelined_requests_is_not_read_ahead(start_server: Any) -> None:
    server = await start_server()
    waiting: list[sockwave.Response] = []
    server.on("request", lambda req, res: waiting.append(res))
    async with await Wire.open(server.addresses[0]) as wire:
        flood = GET * 400_000
        wire.write(flood)
        await wait_until(lambda: waiting, "the first request")
        # The server's and the kernel's buffers take some; the rest stays with the client.
        assert await settle(wire.writer.transport.get_write_buffer_size) > 1_000_000
        assert len(waiting) == 1
        wire.reset()
        waiting[0].end()


async def test_flood_of_answered_requests_waits_for_the_reader(start_server: Any) -> None:
    server = await start_server()
    served = 0

    @server.on("request")
    def request(req: sockwave.Request, res: sockwave.Response) -> None:
        nonlocal served
        served += 1
        res.end("x" * 20_000)

    wire = await Wire.open(server.addresses[0], receive_buffer_size=4096)
    async with wire:
        wire.writer.transport.pause_reading()
        wire.write(GET * 20_000)
        await wait_until(lambda: served, "the first request")
        assert await settle(lambda: served) < 2000
        wire.reset()


async def test_trickle_of_requests_waits_for_the_reader(start_server: Any) -> None:
    server = await start_server()
    server.on("request", lambda req, res: res.end(bytes(2_000_000)))
    wire = await Wire.open(server.addresses[0], receive_buffer_size=4096)
    async with wire:
        wire.writer.transport.pause_reading()
        wire.write(GET * 3)
        # Few enough for the server to read on at first, while the answers wait.
        for _ in range(200):
            await let_arrive(2)
            wire.write(b"A: " + b"x" * 100_000 + b"\r\n")
        assert await settle(wire.writer.transport.get_write_buffer_size) > 1_000_000
        wire.reset()


async def test_server_that_closes_lets_the_running_answer_end(start_server: Any) -> None:
    server = await start_server()
    go_on = asyncio.Event()

    @server.on("request")
    async def request(req: sockwave.Request, res: sockwave.Response) -> None:
        if req.target == "/slow":
            await go_on.wait()
        res.end(req.target)

    async with (
        await Wire.open(server.addresses[0]) as busy,
        await Wire.open(server.addresses[0]) as idle,
    ):
        idle.write(get("/"))
        await receive_answer(idle)
        busy.write(get("/slow") + get("/never"))
        await busy.receive_nothing()
        closing = asyncio.ensure_future(server.close())
        await idle.receive_end()
        await idle.close()
        go_on.set()
        answer = await receive_answer(busy)
        assert (answer.body, answer.headers["connection"]) == (b"/slow", "close")
        await busy.receive_end()
        await busy.close()
        await asyncio.wait_for(closing, 10)


async def test_client_that_has_ended_its_side_gets_no_websocket(start_server: Any) -> None:
    server = await start_server()
    server.on("request", lambda req, res: asyncio.get_running_loop().call_later(0.1, res.end))
    upgrade = get(
        "/",
        "Upgrade: websocket",
        "Connection: Upgrade",
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
        "Sec-WebSocket-Version: 13",
    )
    async with await Wire.open(server.addresses[0]) as wire:
        wire.write(GET + upgrade)
        wire.write_eof()
        assert (await receive_answer(wire)).status == 200
        await wire.receive_end()


async def test_slow_reading_listener_slows_the_sender(start_server: Any) -> None:
    server = await start_server(body_size=64 << 20)
    go_on = asyncio.Event()
    sizes = []

    @server.on("request")
    async def request(req: sockwave.Request, res: sockwave.Response) -> None:
        await go_on.wait()
        sizes.extend([len(chunk) async for chunk in req])
        res.end(str(sum(sizes)))

    size = 32 << 20
    async with await Wire.open(server.addresses[0]) as wire:
        wire.write(POST + b"Content-Length: %d\r\n\r\n" % size + bytes(size))
        assert await settle(wire.writer.transport.get_write_buffer_size) > 1 << 20
        go_on.set()
        assert (await receive_answer(wire)).body == b"%d" % size
    assert len(sizes) > 10


# ---- deadlines ----


async def test_slow_first_head_is_408_counted_from_accept(start_server: Any) -> None:
    server = await start_server(handshake_timeout=0.5)
    async with await Wire.open(server.addresses[0]) as wire:

        async def drip() -> None:
            with contextlib.suppress(ConnectionError):
                for byte in GET * 10:
                    wire.write(bytes([byte]))
                    await asyncio.sleep(0.1)

        dripping = asyncio.create_task(drip())
        await receive_refusal(wire, 408)
        dripping.cancel()


async def test_silent_connection_is_closed_without_a_word(start_server: Any) -> None:
    server = await start_server(handshake_timeout=0.3)
    async with await Wire.open(server.addresses[0]) as wire:
        await wire.receive_end()


async def test_idle_connection_is_closed_without_a_word(start_server: Any) -> None:
    server = await start_server(keep_alive_timeout=0.3)
    Recorder(server)
    async with await Wire.open(server.addresses[0]) as wire:
        wire.write(get("/"))
        await receive_answer(wire)
        await wire.receive_end()


@pytest.mark.slow
async def test_slow_later_head_is_408(start_server: Any) -> None:
    server = await start_server(handshake_timeout=0.4)
    Recorder(server)
    async with await Wire.open(server.addresses[0]) as wire:
        wire.write(get("/"))
        await receive_answer(wire)
        async with await Wire.open(server.addresses[0]) as later:
            await later.receive_end()  # whose time for a head is over: this one's would be too
        await wire.receive_nothing()
        wire.write(b"GET / HT")
        await receive_refusal(wire, 408)


@pytest.mark.parametrize("framing", ["Content-Length: 100", "Transfer-Encoding: chunked"])
async def test_stalled_body_is_408(start_server: Any, framing: str) -> None:
    server = await start_server(body_timeout=0.4)
    Recorder(server)
    async with await Wire.open(server.addresses[0]) as wire:
        wire.write(POST + framing.encode() + b"\r\n\r\n1\r\na")
        await receive_refusal(wire, 408)


@pytest.mark.slow
async def test_body_may_take_its_time_while_it_moves(start_server: Any) -> None:
    server = await start_server(body_timeout=0.6)
    Recorder(server)
    async with await Wire.open(server.addresses[0]) as wire:
        wire.write(POST + b"Content-Length: 6\r\n\r\n")
        for _ in range(6):
            await asyncio.sleep(0.2)
            wire.write(b"x")
        assert (await receive_answer(wire)).body == b"/ xxxxxx"


@pytest.mark.slow
async def test_listener_may_take_its_time(start_server: Any) -> None:
    server = await start_server(body_timeout=0.2, keep_alive_timeout=0.2, handshake_timeout=0.2)
    begun, go_on = asyncio.Event(), asyncio.Event()

    @server.on("request")
    async def request(req: sockwave.Request, res: sockwave.Response) -> None:
        if not begun.is_set():
            begun.set()
            await go_on.wait()
        res.end(await req.body())

    async with await Wire.open(server.addresses[0]) as wire:
        wire.write(POST + b"Content-Length: 5\r\n\r\nhello")
        await begun.wait()
        # Each of the times passes, one after the other, for a client that came later.
        async with await Wire.open(server.addresses[0]) as later:
            later.write(GET)
            assert (await receive_answer(later)).status == 200
            await later.receive_end()
        for beginning in (b"", POST + b"Content-Length: 1\r\n\r\n"):
            async with await Wire.open(server.addresses[0]) as later:
                later.write(beginning)
                await later.receive_rest()
        await wire.receive_nothing()
        go_on.set()
        assert (await receive_answer(wire)).body == b"hello"


@pytest.mark.slow
async def test_client_that_does_not_take_its_answer_is_dropped(start_server: Any) -> None:
    server = await start_server(write_timeout=0.4)
    ended = asyncio.Event()

    @server.on("request")
    async def request(req: sockwave.Request, res: sockwave.Response) -> None:
        try:
            while True:
                await res.write(bytes(100_000))
        finally:
            ended.set()

    wire = await Wire.open(server.addresses[0], receive_buffer_size=4096)
    async with wire:
        wire.writer.transport.pause_reading()
        wire.write(GET)
        await asyncio.wait_for(ended.wait(), 10)
        wire.reset()


# ---- the end of a body ----


async def test_unread_body_is_dropped_and_the_connection_goes_on(start_server: Any) -> None:
    server = await start_server()
    server.on("request", lambda req, res: res.end(req.target))
    for framing in ("Content-Length: 8", "Transfer-Encoding: chunked"):
        async with await Wire.open(server.addresses[0]) as wire:
            wire.write(POST + framing.encode() + b"\r\n\r\n")
            assert (await receive_answer(wire)).body == b"/"
            wire.write(b"3\r\nabc\r\n" if "chunked" in framing else b"01234567")
            if "chunked" in framing:
                wire.write(b"0\r\n\r\n")
            wire.write(get("/next"))
            assert (await receive_answer(wire)).body == b"/next"


async def test_unread_body_that_goes_wrong_ends_the_connection_in_silence(
    start_server: Any,
) -> None:
    server = await start_server()
    server.on("request", lambda req, res: res.end(req.target))
    async with await Wire.open(server.addresses[0]) as wire:
        wire.write(POST + b"Transfer-Encoding: chunked\r\n\r\n")
        assert (await receive_answer(wire)).body == b"/"
        wire.write(b"junk\r\n" + get("/next"))
        await wire.receive_end()


async def test_continue_is_sent_when_the_listener_asks_for_the_body(start_server: Any) -> None:
    server = await start_server()
    go_on = asyncio.Event()

    @server.on("request")
    async def request(req: sockwave.Request, res: sockwave.Response) -> None:
        await go_on.wait()
        res.end(await req.body())

    async with await Wire.open(server.addresses[0]) as wire:
        wire.write(POST + b"Content-Length: 5\r\nExpect: 100-continue\r\n\r\n")
        await wire.receive_nothing()
        go_on.set()
        assert (await receive_answer(wire)).status == 100
        wire.write(b"hello")
        assert (await receive_answer(wire)).body == b"hello"
        wire.write(GET)
        assert (await receive_answer(wire)).status == 200


async def test_continue_is_left_out_when_the_body_is_there(start_server: Any) -> None:
    server = await start_server()
    Recorder(server)
    async with await Wire.open(server.addresses[0]) as wire:
        wire.write(POST + b"Content-Length: 5\r\nExpect: 100-continue\r\n\r\nhello")
        answer = await receive_answer(wire)
        assert (answer.status, answer.body) == (200, b"/ hello")


async def test_continue_is_left_out_when_the_body_is_on_its_way(start_server: Any) -> None:
    server = await start_server()
    Recorder(server)
    async with await Wire.open(server.addresses[0]) as wire:
        wire.write(POST + b"Content-Length: 5\r\nExpect: 100-continue\r\n\r\nhel")
        await wire.receive_nothing()
        wire.write(b"lo")
        answer = await receive_answer(wire)
        assert (answer.status, answer.body) == (200, b"/ hello")


async def test_connection_ends_when_a_body_was_expected_and_not_asked_for(
    start_server: Any,
) -> None:
    server = await start_server()

    @server.on("request")
    def request(req: sockwave.Request, res: sockwave.Response) -> None:
        res.write_head(403)
        res.end("no")

    async with await Wire.open(server.addresses[0]) as wire:
        wire.write(POST + b"Content-Length: 5\r\nExpect: 100-continue\r\n\r\n")
        answer = await receive_answer(wire)
        assert (answer.status, answer.headers["connection"]) == (403, "close")
        await wire.receive_end()


async def test_client_that_vanishes_in_its_body_ends_the_one_who_waits(start_server: Any) -> None:
    server = await start_server()
    started, ended = asyncio.Event(), asyncio.Event()

    @server.on("request")
    async def request(req: sockwave.Request, res: sockwave.Response) -> None:
        started.set()
        try:
            await req.body()
        finally:
            ended.set()

    async with await Wire.open(server.addresses[0]) as wire:
        wire.write(POST + b"Content-Length: 5\r\n\r\nhel")
        await asyncio.wait_for(started.wait(), 10)
        wire.reset()
        await asyncio.wait_for(ended.wait(), 10)


async def test_listener_is_cancelled_when_its_client_vanishes(start_server: Any) -> None:
    server = await start_server()
    started, ended = asyncio.Event(), asyncio.Event()

    @server.on("request")
    async def request(req: sockwave.Request, res: sockwave.Response) -> None:
        started.set()
        try:
            await asyncio.sleep(3600)
        except asyncio.CancelledError:
            ended.set()
            raise

    async with await Wire.open(server.addresses[0]) as wire:
        wire.write(GET)
        await asyncio.wait_for(started.wait(), 10)
        wire.reset()
        await asyncio.wait_for(ended.wait(), 10)


async def test_body_that_goes_wrong_amid_its_answer_drops_the_connection(
    start_server: Any,
) -> None:
    server = await start_server()

    @server.on("request")
    async def request(req: sockwave.Request, res: sockwave.Response) -> None:
        res.write("begun")
        res.end(await req.body())

    async with await Wire.open(server.addresses[0]) as wire:
        wire.write(POST + b"Transfer-Encoding: chunked\r\n\r\n")
        assert (await wire.receive_head()).status == 200
        assert await wire.receive(10) == b"5\r\nbegun\r\n"
        wire.write(b"no size\r\n")
        await wire.receive_end()  # no last chunk, and no second answer


async def test_body_that_ends_early_is_400(start_server: Any) -> None:
    server = await start_server()
    Recorder(server)
    async with await Wire.open(server.addresses[0]) as wire:
        wire.write(POST + b"Content-Length: 5\r\n\r\nhel")
        wire.write_eof()
        await receive_refusal(wire, 400)


@pytest.mark.slow
async def test_large_last_answer_arrives_whole_at_a_slow_reader(start_server: Any) -> None:
    server = await start_server(write_timeout=2)
    size = 20_000_000
    server.on("request", lambda req, res: res.end(bytes(size)))
    wire = await Wire.open(server.addresses[0], receive_buffer_size=4096)
    async with wire:
        wire.write(get("/", "Connection: close"))
        head = await wire.receive_head()
        assert head.headers["connection"] == "close"
        received = 0
        while received < 200_000:
            received += len(await wire.receive(10_000))
            await asyncio.sleep(0.05)
        assert received + len(await wire.receive_rest()) == size


async def test_pipelined_requests_of_many_leave_the_loop_to_others(start_server: Any) -> None:
    """A few of their calls begin in a turn, not one of each connection."""
    server = await start_server()
    loop = asyncio.get_running_loop()
    begun_count = 0
    rounds: list[int] = []

    @server.on("request")
    async def request(req: sockwave.Request, res: sockwave.Response) -> None:
        nonlocal begun_count
        begun_count += 1
        end = time.perf_counter() + 1e-4  # what an application has to do
        while time.perf_counter() < end:
            pass
        res.end()

    def look() -> None:
        nonlocal begun_count, looking
        rounds.append(begun_count)
        begun_count = 0
        looking = loop.call_soon(look)

    async with contextlib.AsyncExitStack() as stack:
        wires = [
            await stack.enter_async_context(await Wire.open(server.addresses[0])) for _ in range(40)
        ]
        for wire in wires:
            wire.write(GET * 20)
        for wire in wires:
            await receive_answer(wire)
        begun_count = 0
        looking = loop.call_soon(look)
        for wire in wires:
            for _ in range(19):
                await receive_answer(wire)
        looking.cancel()
    assert max(rounds) <= 8

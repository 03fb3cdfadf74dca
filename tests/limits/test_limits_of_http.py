"""The limits of the opening request and of HTTP, each at its value and one past it."""

import asyncio

import pytest
from conftest import StartServer
from http_wire import receive_answer, receive_refusal
from stories import Stories, Story, Telling, count_hits
from wire import Wire, build_request, connect_both, hixie_headers, upgrade_headers, wait_until

import sockwave

STORIES = Stories()

GET = b"GET / HTTP/1.1\r\nHost: example.com\r\n\r\n"
POST = b"POST / HTTP/1.1\r\nHost: example.com\r\n"


@pytest.mark.parametrize("story", STORIES, ids=str)
async def test_limit_holds_at_its_value_and_bites_one_past_it(
    story: Story, start_server: StartServer
) -> None:
    await story.play(start_server)


def answer_requests(server: sockwave.Server) -> None:
    """Answer each request with the size of its body."""

    @server.on("request")
    async def request(req: sockwave.Request, res: sockwave.Response) -> None:
        res.end(str(len(await req.body())))


async def ask(server: sockwave.Server, request: bytes) -> int:
    """Send a request on a connection of its own, and give the status of the answer."""
    async with await Wire.open(server.addresses[0]) as wire:
        wire.write(request)
        return (await receive_answer(wire)).status


# ---- sizes ---------------------------------------------------------------------------------------


@STORIES.about("request_line_size", request_line_size=100)
async def request_line(server: sockwave.Server) -> Telling:
    answer_requests(server)
    target = "/" + "x" * (100 - len("GET / HTTP/1.1"))
    assert await ask(server, build_request({"Host": "a"}, target=target)) == 200
    yield None
    yield await ask(server, build_request({"Host": "a"}, target=target + "x"))


@STORIES.about("request_line_size", request_line_size=100)
async def request_line_that_does_not_end(server: sockwave.Server) -> Telling:
    async with await Wire.open(server.addresses[0]) as wire:
        wire.write(b"GET /".ljust(100, b"x"))
        await wire.receive_nothing()
        yield None
        wire.write(b"x")
        yield (await receive_answer(wire)).status


@STORIES.about("request_line_size", request_line_size=100)
async def request_line_of_a_handshake(server: sockwave.Server) -> Telling:
    target = "/" + "x" * (100 - len("GET / HTTP/1.1"))
    wire = await Wire.connect(server.addresses[0], target=target)
    await wire.close()
    yield None
    yield await ask(server, build_request(upgrade_headers(), target=target + "x"))


@STORIES.about("header_count", header_count=8)
async def headers_of_a_handshake(server: sockwave.Server) -> Telling:
    headers = [*upgrade_headers().items(), *[("A", "b")] * (8 - len(upgrade_headers()))]
    async with await Wire.open(server.addresses[0]) as wire:
        wire.write(build_request(headers))
        assert (await wire.receive_head()).status == 101
    yield None
    yield await ask(server, build_request([*headers, ("A", "b")]))


@STORIES.about("header_count", header_count=3)
async def trailers(server: sockwave.Server) -> Telling:
    answer_requests(server)
    chunked = POST + b"Transfer-Encoding: chunked\r\n\r\n0\r\n"
    assert await ask(server, chunked + b"A: b\r\n" * 3 + b"\r\n") == 200
    yield None
    yield await ask(server, chunked + b"A: b\r\n" * 4 + b"\r\n")


@STORIES.about("header_block_size", header_block_size=200)
async def header_block(server: sockwave.Server) -> Telling:
    answer_requests(server)
    used_size = len(build_request({"Host": "a", "A": ""})) - len("GET / HTTP/1.1\r\n")
    value = "x" * (200 - used_size)
    assert await ask(server, build_request({"Host": "a", "A": value})) == 200
    yield None
    yield await ask(server, build_request({"Host": "a", "A": value + "x"}))


@STORIES.about("header_block_size", header_block_size=200)
async def header_block_that_does_not_end(server: sockwave.Server) -> Telling:
    async with await Wire.open(server.addresses[0]) as wire:
        wire.write(b"GET / HTTP/1.1\r\n" + b"A: ".ljust(200, b"x"))
        await wire.receive_nothing()
        yield None
        wire.write(b"x")
        yield (await receive_answer(wire)).status


@STORIES.about("header_block_size", header_block_size=200)
async def trailer_block(server: sockwave.Server) -> Telling:
    answer_requests(server)
    chunked = POST + b"Transfer-Encoding: chunked\r\n\r\n0\r\n"
    assert await ask(server, chunked + b"A: ".ljust(196, b"x") + b"\r\n\r\n") == 200
    yield None
    yield await ask(server, chunked + b"A: ".ljust(199, b"x") + b"\r\n\r\n")


@STORIES.about("body_size", body_size=1000)
async def body(server: sockwave.Server) -> Telling:
    answer_requests(server)
    head = POST + b"Content-Length: %d\r\n\r\n"
    assert await ask(server, head % 1000 + b"x" * 1000) == 200
    yield None
    yield await ask(server, head % 1001)


@STORIES.about("body_size", body_size=1000)
async def chunks(server: sockwave.Server) -> Telling:
    answer_requests(server)
    chunked = POST + b"Transfer-Encoding: chunked\r\n\r\n3e7\r\n" + b"x" * 999
    assert await ask(server, chunked + b"\r\n1\r\nx\r\n0\r\n\r\n") == 200
    yield None
    yield await ask(server, chunked + b"\r\n2\r\n")


@STORIES.about("body_size", body_size=0)
async def no_body_at_all(server: sockwave.Server) -> Telling:
    answer_requests(server)
    assert await ask(server, POST + b"Content-Length: 0\r\n\r\n") == 200
    yield None
    yield await ask(server, POST + b"Content-Length: 1\r\n\r\n")


@STORIES.about("pipelined_count", pipelined_count=3)
async def requests_behind_one_that_waits(server: sockwave.Server) -> Telling:
    waiting: list[sockwave.Response] = []
    server.on("request", lambda req, res: waiting.append(res))
    async with await Wire.open(server.addresses[0]) as wire:
        wire.write(GET)
        await wait_until(lambda: waiting)
        wire.write(GET * 2)
        await wire.receive_nothing()
        yield None
        wire.write(GET)
        await wait_until(lambda: server.limit_hits["pipelined_count"])
        yield None
        for count in range(1, 5):
            waiting[-1].end()
            await wait_until(lambda count=count: len(waiting) == min(count + 1, 4))


# ---- times ---------------------------------------------------------------------------------------


@STORIES.about("handshake_timeout", handshake_timeout=0.3)
async def request_that_is_not_whole(server: sockwave.Server) -> Telling:
    async with await Wire.connect(server.addresses[0]) as wire:
        await wire.receive_nothing(0.7)
    yield None
    yield await ask(server, GET[:-2])


@STORIES.about("handshake_timeout", handshake_timeout=0.3)
async def third_key_that_does_not_come(server: sockwave.Server) -> Telling:
    yield None
    yield await ask(server, build_request(hixie_headers(76)))


async def never(handshake: sockwave.Handshake) -> None:
    """Come to no decision."""
    await asyncio.Event().wait()


@STORIES.about("handshake_timeout", handshake_timeout=0.3, authorize=never)
async def decision_that_is_not_made(server: sockwave.Server) -> Telling:
    yield None
    yield await ask(server, build_request(upgrade_headers()))


@STORIES.about("answer_timeout", answer_timeout=0.4)
async def answer_that_does_not_come(server: sockwave.Server) -> Telling:
    kept: list[sockwave.Response] = []
    # Whoever hears of it, nothing is logged.
    server.on("error", lambda error: None)
    server.on("request", lambda req, res: kept.append(res))
    async with await Wire.open(server.addresses[0]) as wire:
        for count in range(1, 4):
            wire.write(GET)
            await wait_until(lambda count=count: len(kept) == count)
            await asyncio.sleep(0.15)
            kept[-1].end()
            assert (await receive_answer(wire)).status == 200
        yield None
        wire.write(GET)
        yield (await receive_answer(wire)).status


@STORIES.about("body_timeout", body_timeout=0.3)
async def body_that_stalls(server: sockwave.Server) -> Telling:
    answer_requests(server)
    async with await Wire.open(server.addresses[0]) as wire:
        wire.write(POST + b"Content-Length: 10\r\n\r\n")
        for _ in range(10):
            await asyncio.sleep(0.05)
            wire.write(b"x")
        assert (await receive_answer(wire)).status == 200
    yield None
    yield await ask(server, POST + b"Content-Length: 10\r\n\r\nx")


@STORIES.about("keep_alive_timeout", keep_alive_timeout=0.5)
async def time_between_two_requests(server: sockwave.Server) -> Telling:
    async with await Wire.open(server.addresses[0]) as wire:
        for _ in range(5):
            wire.write(GET)
            assert (await receive_answer(wire)).status == 426
            await asyncio.sleep(0.2)
        yield None
        await wire.receive_end()
        yield None


async def test_limit_is_counted_where_the_answer_has_begun_already(
    start_server: StartServer,
) -> None:
    server = await start_server(body_size=10)

    @server.on("request")
    async def request(req: sockwave.Request, res: sockwave.Response) -> None:
        await res.write("begun")
        await req.body()

    async with await Wire.open(server.addresses[0]) as wire:
        wire.write(POST + b"Transfer-Encoding: chunked\r\n\r\n")
        assert (await wire.receive_head()).status == 200
        wire.write(b"b\r\n")
        await wait_until(lambda: count_hits(server) == {"body_size": 1})


@pytest.mark.slow
async def test_silent_newcomer_and_idle_client_are_counted_apart(start_server: StartServer) -> None:
    server = await start_server(handshake_timeout=0.3, keep_alive_timeout=0.3)
    answer_requests(server)
    silent = await Wire.open(server.addresses[0])
    await silent.receive_end()
    assert server.limit_hits["handshake_timeout"] == 1
    assert server.limit_hits["keep_alive_timeout"] == 0
    idle = await Wire.open(server.addresses[0])
    idle.write(GET)
    assert (await receive_answer(idle)).status == 200
    await idle.receive_end()
    assert server.limit_hits["handshake_timeout"] == 1
    assert server.limit_hits["keep_alive_timeout"] == 1


async def test_refusals_that_no_limit_asks_for_are_not_counted(start_server: StartServer) -> None:
    server = await start_server(origin="https://example.com")
    for request, status in (
        (b"nonsense\r\n\r\n", 400),
        (build_request({**upgrade_headers(), "Origin": "https://example.org"}), 403),
        (GET, 426),
    ):
        async with await Wire.open(server.addresses[0]) as wire:
            wire.write(request)
            if status == 426:
                assert (await receive_answer(wire)).status == status
            else:
                await receive_refusal(wire, status)
    assert not any(server.limit_hits.values())


async def test_hits_are_a_mapping_of_all_the_options_that_are_limits(
    start_server: StartServer,
) -> None:
    server = await start_server(header_count=5)
    hits = server.limit_hits
    assert hits["max_size"] == 0
    assert len(hits) == len(list(hits)) == len(dict(hits))
    with pytest.raises(KeyError):
        hits["maxsize"]
    with pytest.raises(KeyError):
        hits["low_water"]  # where waiting ends is no limit
    with pytest.raises(TypeError):
        hits["max_size"] = 0  # type: ignore[index]
    for count in (1, 2):
        assert await ask(server, build_request([("Host", "a"), *[("A", "b")] * 5])) == 431
        assert hits["header_count"] == count, "a live view"
    assert repr(hits) == "<LimitHits header_count=2>"
    assert server.limit_hits["header_count"] == 2


@pytest.mark.slow
async def test_connection_that_is_open_has_left_the_limits_of_http(
    start_server: StartServer,
) -> None:
    server = await start_server(handshake_timeout=0.3, keep_alive_timeout=0.3, body_timeout=0.3)
    wire, _ = await connect_both(server)
    await wire.receive_nothing(0.8)
    assert not any(server.limit_hits.values())

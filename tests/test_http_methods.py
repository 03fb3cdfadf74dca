"""Methods: which reach the application, and answers to HEAD (RFC 9110, sections 9.1 and 9.3.2)."""

import asyncio

import pytest
from conftest import StartServer
from http_wire import Answer, receive_answer, receive_refusal
from wire import Wire, build_request, case, let_arrive, upgrade_headers

import sockwave

HEAD = b"HEAD / HTTP/1.1\r\nHost: a\r\n"
LIMITS = {"request_line_size": 100, "header_count": 5, "header_block_size": 300, "body_size": 10}


async def ask(server: sockwave.Server, raw: bytes, *, slowly: bool = False) -> Answer:
    """Send a HEAD request, and give the last answer on its connection, which has no content."""
    async with await Wire.open(server.addresses[0]) as wire:
        if slowly:
            await wire.write_slowly(raw)
        else:
            wire.write(raw)
        answer = await receive_answer(wire, method="HEAD")
        await wire.receive_end()
        return answer


# ---- methods ----


@pytest.mark.parametrize(
    "method", ["FOO", "get", "purge", "PRI", "DESCRIBE", "1", "!#$%&'*+-.^_`|~"]
)
async def test_every_token_is_a_method_for_the_application(
    start_server: StartServer, method: str
) -> None:
    server = await start_server()

    @server.on("request")
    async def request(req: sockwave.Request, res: sockwave.Response) -> None:
        res.end(req.method.encode() + b" " + await req.body())

    raw = f"{method} /a HTTP/1.1\r\nHost: a\r\n".encode()
    length, chunks = (
        b"Content-Length: 2\r\n\r\nhi",
        b"Transfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n",
    )
    async with await Wire.open(server.addresses[0]) as wire:
        for slowly in (False, True):
            for rest, body in ((b"\r\n", b""), (length, b"hi"), (chunks, b"hi")):
                if slowly:
                    await wire.write_slowly(raw + rest)
                else:
                    wire.write(raw + rest)
                answer = await receive_answer(wire)
                assert (answer.status, answer.body) == (200, method.encode() + b" " + body)


async def test_methods_that_look_like_head_are_answered_with_content(
    start_server: StartServer,
) -> None:
    server = await start_server()
    for method in (b"head", b"Head", b"HEADER", b"HEA"):
        async with await Wire.open(server.addresses[0]) as wire:
            wire.write(method + b" / HTTP/1.1\r\n\r\n")
            await receive_refusal(wire, 400)


async def test_method_that_nobody_knows_is_501_where_nobody_listens(
    start_server: StartServer,
) -> None:
    # RFC 9110, 9.1: "An origin server that receives a request method that is unrecognized or not
    # implemented SHOULD respond with the 501 (Not Implemented) status code."
    server = await start_server()
    async with await Wire.open(server.addresses[0]) as wire:
        for method, status in {
            **dict.fromkeys(("GET", "POST", "PUT", "DELETE", "OPTIONS", "TRACE", "PATCH"), 426),
            **dict.fromkeys(("FOO", "get", "PURGE", "1"), 501),
        }.items():
            wire.write(f"{method} / HTTP/1.1\r\nHost: a\r\n\r\n".encode())
            answer = await receive_answer(wire)
            assert answer.status == status, method
            assert ("upgrade" in answer.headers) == (status == 426)
            assert answer.body.startswith(b"this is a WebSocket server")


async def test_connect_is_501_whoever_listens(start_server: StartServer) -> None:
    server = await start_server()
    server.on("request", lambda req, res: res.end("not reached"))
    async with await Wire.open(server.addresses[0]) as wire:
        wire.write(b"CONNECT a:80 HTTP/1.1\r\nHost: a:80\r\n\r\n")
        await receive_refusal(wire, 501)


@pytest.mark.parametrize("byte", [0x00, 0x16, 0x20, 0x22, 0x28, 0x2F, 0x3A, 0x5B, 0x7B, 0x80, 0xFF])
async def test_byte_that_begins_no_method_is_refused_at_once(
    start_server: StartServer, byte: int
) -> None:
    # A ClientHello (0x16) on a port without TLS, for example.
    server = await start_server()
    async with await Wire.open(server.addresses[0]) as wire:
        wire.write(bytes([byte]))
        await receive_refusal(wire, 400)


# ---- HEAD ----

REFUSED = {
    "no Host": (400, b"HEAD / HTTP/1.1\r\n\r\n"),
    "wrong Host": (400, b"HEAD / HTTP/1.1\r\nHost: a:b:c\r\n\r\n"),
    "malformed field": (400, HEAD + b"A : b\r\n\r\n"),
    "LF for a line end": (400, HEAD + b"A: b\n"),
    "malformed request line": (400, b"HEAD  / HTTP/1.1\r\nHost: a\r\n\r\n"),
    "empty lines in front": (400, b"\r\n\r\nHEAD / HTTP/1.1\r\n\r\n"),
    "another coding": (501, HEAD + b"Transfer-Encoding: gzip, chunked\r\n\r\n"),
    "another version": (505, b"HEAD / HTTP/2.0\r\n\r\n"),
    "too large a body": (413, HEAD + b"Content-Length: 11\r\n\r\n"),
    "another expectation": (417, HEAD + b"Expect: a-miracle\r\n\r\n"),
    "long line": (414, b"HEAD /" + b"a" * 100 + b" HTTP/1.1\r\nHost: a\r\n\r\n"),
    "long line without an end": (414, b"HEAD /" + b"a" * 200),
    "many fields": (431, HEAD + b"A: b\r\n" * 5 + b"\r\n"),
    "long block": (431, HEAD + b"A: " + b"b" * 300 + b"\r\n\r\n"),
    "long block without an end": (431, HEAD + b"A: " + b"b" * 400),
    "handshake": (400, build_request(upgrade_headers(), method="HEAD")),
    "malformed forwarded host": (
        400,
        HEAD + b"X-Forwarded-For: 1.2.3.4\r\nX-Forwarded-Host: a b\r\n\r\n",
    ),
}


async def test_refusal_of_a_head_request_has_no_content(start_server: StartServer) -> None:
    server = await start_server(**LIMITS, trusted_proxies="127.0.0.1", trust_forwarded_host=True)
    for slowly in (False, True):
        for name, (status, raw) in REFUSED.items():
            with case((name, slowly)):
                answer = await ask(server, raw, slowly=slowly)
                assert answer.status == status
                assert int(answer.headers["content-length"]) > 0
                assert answer.headers["connection"] == "close"


async def test_refusal_behind_an_answered_request_goes_by_its_own_method(
    start_server: StartServer,
) -> None:
    server = await start_server()
    server.on("request", lambda req, res: res.end("hi"))
    get, head = b"GET / HTTP/1.1\r\n", b"HEAD / HTTP/1.1\r\n"
    for first, second in ((get, head), (head, get)):
        async with await Wire.open(server.addresses[0]) as wire:
            wire.write(first + b"Host: a\r\n\r\n" + second + b"\r\n")
            assert (await receive_answer(wire, method=first[:4].decode().strip())).status == 200
            if second == get:
                await receive_refusal(wire, 400)
            else:
                assert (await receive_answer(wire, method="HEAD")).status == 400
                await wire.receive_end()


async def test_answers_in_place_of_the_application_have_no_content_for_head(
    start_server: StartServer,
) -> None:
    server = await start_server()

    @server.on("request")
    def request(req: sockwave.Request, res: sockwave.Response) -> None:
        raise sockwave.Refused(404, "no such page\n")

    assert (await ask(server, HEAD + b"\r\n")).status == 404
    silent = await start_server()
    async with await Wire.open(silent.addresses[0]) as wire:
        wire.write(HEAD + b"\r\n" + b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        assert (await receive_answer(wire, method="HEAD")).status == 426
        assert (await receive_answer(wire)).body


async def test_head_request_that_takes_too_long_is_answered_without_content(
    start_server: StartServer,
) -> None:
    server = await start_server(handshake_timeout=0.3)
    assert (await ask(server, HEAD)).status == 408
    # Who has not said that it is HEAD is told the reason.
    async with await Wire.open(server.addresses[0]) as wire:
        wire.write(b"HEAD")
        await receive_refusal(wire, 408)


async def test_head_request_that_makes_room_for_others_is_answered_without_content(
    start_server: StartServer,
) -> None:
    server = await start_server(max_handshakes=1)
    waiting = asyncio.ensure_future(ask(server, HEAD))
    await let_arrive()
    async with await Wire.open(server.addresses[0]) as wire:
        assert (await waiting).status == 503
        wire.write(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        assert (await receive_answer(wire)).status == 426

"""HTTP/1.1 on the wire, question by question: what is taken, what is refused, what is waited for.

The questions are those of h1spec, and more of their kind (RFC 9112; RFC 9110, 5 and 10.1.1). Each
is put to a listener of `request` and to an ASGI application.
"""

from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from asgi_apps import answer
from conftest import StartServer
from http_wire import Answer, receive_answer, receive_refusal
from wire import Wire, case

import sockwave

StartPlace = Callable[[], Awaitable["Place"]]

PLAIN = b"GET / HTTP/1.1\r\nHost: example.com\r\n\r\n"
SMUGGLED = b"GET /smuggled HTTP/1.1\r\nHost: example.com\r\n\r\n"
CHUNKED = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"


class Place:
    """A server whose listener, or application, sends each body back, and keeps the targets."""

    def __init__(self, server: sockwave.Server, targets: list[str]) -> None:
        self.address = server.addresses[0]
        self.targets = targets


@pytest.fixture(params=["listener", "application"])
async def place(request: pytest.FixtureRequest, start_server: StartServer) -> Place:
    targets: list[str] = []
    if request.param == "application":

        async def app(scope: Any, receive: Any, send: Any) -> None:
            targets.append(scope["path"])
            body, more = b"", True
            while more:
                message = await receive()
                if message["type"] == "http.disconnect":
                    return  # what comes of the body is wrong
                body, more = body + message["body"], message["more_body"]
            await answer(send, body or b"-")

        return Place(await start_server(asgi=app, lifespan="off"), targets)

    server = await start_server()

    @server.on("request")
    async def requested(req: sockwave.Request, res: sockwave.Response) -> None:
        targets.append(req.path)
        res.end(await req.body() or b"-")

    return Place(server, targets)


def head(*fields: bytes, line: bytes = b"GET / HTTP/1.1", host: bytes | None = b"a") -> bytes:
    """Give a request head; the fields are lines without their ends."""
    first = [b"Host: " + host] if host is not None else []
    return b"\r\n".join([line, *first, *fields, b"", b""])


def post(*fields: bytes) -> bytes:
    """Give the head of a POST."""
    return head(*fields, line=b"POST / HTTP/1.1")


TAKEN: dict[str, tuple[bytes, bytes]] = {  # with the body that comes back
    "a plain request": (PLAIN, b"-"),
    "names in any case, a tab as a space": (
        b"GET / HTTP/1.1\r\nhoSt:\texample.com\r\nempty:\r\n\r\n",
        b"-",
    ),
    "an empty value of spaces": (head(b"X-Empty-Header: "), b"-"),
    "spaces around a value": (head(b"X:   \t v \t "), b"-"),
    "a tab in a value": (head(b"X: a\tb"), b"-"),
    "obs-text in a value": (head(b"X: caf\xe9"), b"-"),
    "every character of a name": (head(b"!#$%&'*+-.^_`|~09azAZ: x"), b"-"),
    "a field that comes twice": (head(b"X: 1", b"X: 2"), b"-"),
    "an empty line before the request": (b"\r\n" + PLAIN, b"-"),
    "a target in absolute form": (head(line=b"GET http://a/x?y HTTP/1.1"), b"-"),
    "OPTIONS of the whole server": (head(line=b"OPTIONS * HTTP/1.1"), b"-"),
    "escapes in a target": (head(line=b"GET /%20%C3%A9?%00 HTTP/1.1"), b"-"),
    "Host with a port": (head(host=b"a:80"), b"-"),
    "Host as an address": (head(host=b"[::1]:8000"), b"-"),
    "HTTP/1.0 without Host": (head(line=b"GET / HTTP/1.0", host=None), b"-"),
    "HTTP/1.0 that stays": (
        head(b"Connection: keep-alive", line=b"GET / HTTP/1.0", host=None),
        b"-",
    ),
    "POST with a length": (post(b"Content-Length: 5") + b"hello", b"hello"),
    "POST with a length of zeros": (post(b"Content-Length: 000") + b"", b"-"),
    "POST without a body": (post(), b"-"),
    "GET with a body": (head(b"Content-Length: 5") + b"hello", b"hello"),
    "DELETE with a body": (
        head(b"Content-Length: 2", line=b"DELETE / HTTP/1.1") + b"ok",
        b"ok",
    ),
    "chunks": (CHUNKED + b"5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n", b"hello world"),
    "no chunk but the last": (CHUNKED + b"0\r\n\r\n", b"-"),
    "sizes of chunks in any case, with zeros": (
        CHUNKED + b"000A\r\n0123456789\r\nb\r\n0123456789a\r\n00\r\n\r\n",
        b"01234567890123456789a",
    ),
    "extensions of chunks": (
        CHUNKED + b'3;a=b;c="d e"\r\nabc\r\n1;x\r\nd\r\n0;y\r\n\r\n',
        b"abcd",
    ),
    "trailers": (CHUNKED + b"1\r\na\r\n0\r\nX-Trailer: b\r\nY: c\r\n\r\n", b"a"),
    "chunked in other letters": (
        post(b"transfer-encoding: ChUnKeD") + b"1\r\na\r\n0\r\n\r\n",
        b"a",
    ),
    "an expectation whose body is there": (
        post(b"Content-Length: 2", b"Expect: 100-continue") + b"ok",
        b"ok",
    ),
    "an expectation without a body": (head(b"Expect: 100-continue"), b"-"),
    "Connection with other words": (head(b"Connection: x, keep-alive, y"), b"-"),
    "an upgrade to something else": (head(b"Connection: Upgrade", b"Upgrade: h2c"), b"-"),
    "methods of WebDAV": (head(line=b"PROPFIND / HTTP/1.1"), b"-"),
    "spaces in the extensions of a chunk": (CHUNKED + b"1 ; a = b\r\na\r\n0\r\n\r\n", b"a"),
    "a method of the application's own": (head(line=b"BREW / HTTP/1.1"), b"-"),
}

REFUSED: dict[str, tuple[bytes, set[int]]] = {
    # The request line: RFC 9112, 3.
    "no version": (b"GET / \r\n\r\n", {400}),
    "HTTP/0.9": (b"GET /\r\n\r\n", {400}),
    "a version that is not there": (head(line=b"GET / HTTP/9.9"), {400, 505}),
    "HTTP/2.0 as a version": (head(line=b"GET / HTTP/2.0"), {400, 505}),
    "a version in small letters": (head(line=b"GET / http/1.1"), {400}),
    "a version of three parts": (head(line=b"GET / HTTP/1.1.1"), {400}),
    "a version without a part": (head(line=b"GET / HTTP/1"), {400}),
    "another protocol": (head(line=b"GET / ICE/1.0"), {400}),
    "something behind the version": (head(line=b"GET / HTTP/1.1 x"), {400}),
    "something before the method": (b"Extra line" + PLAIN, {400}),
    "a space before the method": (b" " + PLAIN, {400}),
    "two spaces behind the method": (head(line=b"GET  / HTTP/1.1"), {400}),
    "a tab behind the method": (head(line=b"GET\t/ HTTP/1.1"), {400}),
    "a method that is no token": (head(line=b"G(T / HTTP/1.1"), {400}),
    "a NUL in the method": (head(line=b"G\0T / HTTP/1.1"), {400}),
    "no method": (head(line=b"/ HTTP/1.1"), {400}),
    "no target": (head(line=b"GET HTTP/1.1"), {400}),
    "a space in the target": (head(line=b"GET /a b HTTP/1.1"), {400}),
    "a NUL in the target": (head(line=b"GET /\0 HTTP/1.1"), {400}),
    "a control in the target": (head(line=b"GET /\x7f HTTP/1.1"), {400}),
    "a target without its slash": (head(line=b"GET a HTTP/1.1"), {400}),
    "a star for a method that has none": (head(line=b"GET * HTTP/1.1"), {400}),
    "a line end of LF alone": (b"GET / HTTP/1.1\nHost: a\r\n\r\n", {400}),
    "a TLS handshake": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", {400}),
    # Fields: RFC 9112, 5.
    "a name with brackets": (head(b"X-Invalid[]: test"), {400}),
    "a space before the colon": (head(b"X : a"), {400}),
    "a tab before the colon": (head(b"X\t: a"), {400}),
    "a space in a name": (head(b"X Y: a"), {400}),
    "no name": (head(b": a"), {400}),
    "no colon": (head(b"nothing"), {400}),
    "a name in UTF-8": (head(b"caf\xc3\xa9: a"), {400}),
    "a NUL in a value": (head(b"X: a\0b"), {400}),
    "a bell in a value": (head(b"X-Bad-Control-Char: test\x07"), {400}),
    "DEL in a value": (head(b"X: a\x7f"), {400}),
    "CR in a value": (head(b"X: a\rb"), {400}),
    "LF in a value": (head(b"X: a\nY: b"), {400}),
    "obs-fold": (head(b"X: a", b" b"), {400}),
    "obs-fold by a tab": (head(b"X: a", b"\tb"), {400}),
    "a space before the first field": (head(b" Host: a", host=None), {400}),
    "CR before a field": (b"GET / HTTP/1.1\r\nHost: a\r\n\rX: b\r\n\r\n", {400}),
    "CR, and an end of LF alone": (b"GET / HTTP/1.1\r\nHost: a\r\r\n\r\n", {400}),
    # Host: RFC 9112, 3.2.
    "no Host": (head(b"Content-Length: 5", host=None), {400}),
    "two Hosts": (head(b"Host: b"), {400}),
    "the same Host twice": (head(b"Host: a"), {400}),
    "Host with a space": (head(host=b"a b"), {400}),
    "Host with a path": (head(host=b"a/b"), {400}),
    "Host with a name": (head(host=b"user@a"), {400}),
    "Host as a list": (head(host=b"a, b"), {400}),
    # Content-Length: RFC 9110, 8.6.
    "a negative length": (post(b"Content-Length: -1234"), {400}),
    "a negative length that is long": (post(b"Content-Length: -" + b"123456789" * 3), {400}),
    "a length that is long": (post(b"Content-Length: " + b"9" * 30), {400, 413}),
    "a length of letters": (post(b"Content-Length: abc"), {400}),
    "a length with a sign": (post(b"Content-Length: +5"), {400}),
    "a length in hexadecimal": (post(b"Content-Length: 0x5"), {400}),
    "a length with a fraction": (post(b"Content-Length: 5.0"), {400}),
    "a length with an underscore": (post(b"Content-Length: 1_0"), {400}),
    "a length of other digits": (post("Content-Length: \u0665".encode()), {400}),
    "no length": (post(b"Content-Length:"), {400}),
    "two lengths": (post(b"Content-Length: 5", b"Content-Length: 6"), {400}),
    "a list of two lengths": (post(b"Content-Length: 5, 6"), {400}),
    "two lengths in one": (post(b"Content-Length: 5 6"), {400}),
    # Transfer-Encoding: RFC 9112, 6.1.
    "both framings": (post(b"Transfer-Encoding: chunked", b"Content-Length: 5"), {400}),
    "both framings, the other way": (
        post(b"Content-Length: 5", b"Transfer-Encoding: chunked"),
        {400},
    ),
    "chunks of HTTP/1.0": (
        head(b"Transfer-Encoding: chunked", line=b"POST / HTTP/1.0"),
        {400},
    ),
    "chunked twice": (post(b"Transfer-Encoding: chunked, chunked"), {400}),
    "chunked in two fields": (
        post(b"Transfer-Encoding: chunked", b"Transfer-Encoding: chunked"),
        {400},
    ),
    "chunked before another coding": (post(b"Transfer-Encoding: chunked, gzip"), {400}),
    "another coding": (post(b"Transfer-Encoding: gzip"), {400, 501}),
    "identity": (post(b"Transfer-Encoding: identity"), {400, 501}),
    "a coding that looks like chunked": (post(b"Transfer-Encoding: xchunked"), {400, 501}),
    "chunked behind a control": (post(b"Transfer-Encoding: \x0bchunked"), {400}),
    "no coding": (post(b"Transfer-Encoding:"), {400, 501}),
    # Expectations: RFC 9110, 10.1.1.
    "an expectation that nobody knows": (head(b"Expect: wonders"), {417}),
    # Limits.
    "a target that is long": (head(line=b"GET /" + b"a" * 70_000 + b" HTTP/1.1"), {414}),
    "a field that is long": (head(b"X: " + b"a" * 70_000), {431}),
    "fields without end": (head(*[b"X: a"] * 2000), {431}),
    "CONNECT": (head(line=b"CONNECT a:80 HTTP/1.1"), {400, 405, 501}),
    "Host with two ports": (head(host=b"a:b:c"), {400}),
    "Host with half an address": (head(host=b"[::1"), {400}),
    "Host with a port that is too large": (head(host=b"a:99999999"), {400}),
    "Host with no name and a port": (head(host=b":80"), {400}),
    "another coding before chunked": (post(b"Transfer-Encoding: gzip, chunked"), {501}),
}

#: What is wrong in a body of chunks, behind one that is right: RFC 9112, 7.1.
WRONG_CHUNKS: dict[str, bytes] = {
    "a size that is none": b"x\r\n",
    "a size with a sign": b"+1\r\na\r\n",
    "a negative size": b"-1\r\na\r\n",
    "a size with 0x": b"0x1\r\na\r\n",
    "no size": b"\r\na\r\n",
    "a size of two words": b"1 1\r\na\r\n",
    "a space before a size": b" 1\r\na\r\n",
    "a size that is too large": b"fffffffffffffffff\r\na\r\n",
    "LF alone behind a size": b"1\na\r\n",
    "CR alone behind a size": b"1\ra\r\n",
    "no line end behind a chunk": b"1\r\naX",
    "LF alone behind a chunk": b"1\r\na\n0\r\n\r\n",
    "more than a chunk's size": b"1\r\nab\r\n",
    "a NUL in an extension": b"1;\0\r\na\r\n",
    "CR in an extension": b"1;a\rb\r\na\r\n",
    "LF in an extension": b"1;a\nb\r\na\r\n",
    "a trailer without a colon": b"0\r\nnothing\r\n\r\n",
    "a trailer with a space before the colon": b"0\r\nX : a\r\n\r\n",
    "a trailer that is folded": b"0\r\nX: a\r\n b\r\n\r\n",
    "a NUL in a trailer": b"0\r\nX: \0\r\n\r\n",
    "LF alone behind the last chunk": b"0\n\n",
    "a space behind the size": b"1 \r\na\r\n",
}


async def test_request_is_waited_for_until_it_is_whole(place: Place) -> None:
    """h1spec's fragments, and all others: no part of a request is answered."""
    for size in range(1, len(PLAIN)):
        with case(PLAIN[:size]):
            async with await Wire.open(place.address) as wire:
                wire.write(PLAIN[:size])
                await wire.receive_nothing()
                wire.write(PLAIN[size:])
                assert (await receive_answer(wire)).status == 200


@pytest.mark.parametrize("manner", ["whole", "slowly", "twice"])
async def test_what_is_right_is_taken(place: Place, manner: str) -> None:
    for name, (request, body) in TAKEN.items():
        with case(name):
            async with await Wire.open(place.address) as wire:
                if manner == "slowly":
                    await wire.write_slowly(request)
                else:
                    wire.write(request * (2 if manner == "twice" else 1))
                found = await receive_final(wire)
                assert (found.status, found.body) == (200, body)
                if manner == "twice" and found.headers.get("connection") != "close":
                    assert (await receive_final(wire)).body == body


async def receive_final(wire: Wire) -> Answer:
    """Read an answer behind the interim ones."""
    while (found := await receive_answer(wire)).status < 200:
        pass
    return found


@pytest.mark.parametrize("manner", ["whole", "slowly"])
async def test_what_is_wrong_is_refused_and_nothing_behind_it_is_read(
    place: Place, manner: str
) -> None:
    for name, (request, statuses) in REFUSED.items():
        if manner == "slowly" and len(request) > 1000:
            continue
        with case(name):
            await expect_refusal(place, request, statuses, manner)


async def expect_refusal(place: Place, request: bytes, statuses: set[int], manner: str) -> None:
    """Check that a request is refused, that the connection ends, and that nobody hears of it."""
    async with await Wire.open(place.address) as wire:
        if manner == "slowly":
            await wire.write_slowly(request + SMUGGLED)
        else:
            wire.write(request + SMUGGLED)
        status = (await wire.receive_head()).status
        assert status in statuses, wire.head.raw
        assert wire.head.headers["connection"] == "close"
        await wire.receive(int(wire.head.headers["content-length"]))
        await wire.receive_end()
    assert place.targets == []


@pytest.mark.parametrize("manner", ["whole", "slowly"])
async def test_body_whose_chunks_are_wrong_is_refused(place: Place, manner: str) -> None:
    for name, wrong in WRONG_CHUNKS.items():
        with case(name):
            async with await Wire.open(place.address) as wire:
                data = CHUNKED + b"3\r\nabc\r\n" + wrong + SMUGGLED
                if manner == "slowly":
                    await wire.write_slowly(data)
                else:
                    wire.write(data)
                await receive_refusal(wire, 400)
    assert "/smuggled" not in place.targets


async def test_requests_in_one_segment_are_answered_in_their_order(place: Place) -> None:
    async with await Wire.open(place.address) as wire:
        bodies = [b"one", b"", b"three"]
        wire.write(
            post(b"Content-Length: 3")
            + b"one"
            + PLAIN
            + CHUNKED
            + b"5\r\nthree\r\n0\r\n\r\n"
            + head(b"Connection: close", line=b"GET /last HTTP/1.1")
            + SMUGGLED
        )
        for body in bodies:
            assert (await receive_answer(wire)).body == (body or b"-")
        assert (await receive_answer(wire)).headers["connection"] == "close"
        await wire.receive_end()
    assert place.targets == ["/", "/", "/", "/last"]


async def test_client_that_waits_is_told_to_continue(place: Place) -> None:
    async with await Wire.open(place.address) as wire:
        wire.write(post(b"Content-Length: 5", b"Expect: 100-Continue"))
        assert (await wire.receive_head()).raw == b"HTTP/1.1 100 Continue\r\n\r\n"
        wire.write(b"hello")
        assert (await receive_answer(wire)).body == b"hello"


async def test_client_of_http_1_0_is_not_told_to_continue(place: Place) -> None:
    """RFC 9110, 10.1.1: the expectation of an HTTP/1.0 request MUST be ignored."""
    line = b"POST / HTTP/1.0"
    async with await Wire.open(place.address) as wire:
        wire.write(head(b"Content-Length: 5", b"Expect: 100-continue", line=line))
        await wire.receive_nothing()
        wire.write(b"hello")
        assert (await receive_answer(wire)).body == b"hello"


async def test_answer_to_head_has_no_content(place: Place) -> None:
    async with await Wire.open(place.address) as wire:
        wire.write(head(line=b"HEAD / HTTP/1.1") + PLAIN)
        found = await receive_answer(wire, method="HEAD")
        assert (found.status, found.headers["content-length"]) == (200, "1")
        assert (await receive_answer(wire)).body == b"-"


async def test_refusal_of_head_has_no_content(place: Place) -> None:
    async with await Wire.open(place.address) as wire:
        wire.write(head(b"Host: b", line=b"HEAD / HTTP/1.1"))
        found = await receive_answer(wire, method="HEAD")
        assert (found.status, found.headers["connection"]) == (400, "close")
        await wire.receive_end()


@pytest.mark.parametrize(
    ("version", "field", "stays"),
    [
        (b"1.1", b"X: a", True),
        (b"1.1", b"Connection: close", False),
        (b"1.1", b"Connection: Close, x", False),
        (b"1.1", b"Connection: keep-alive, close", False),
        (b"1.0", b"X: a", False),
        (b"1.0", b"Connection: keep-alive", True),
        (b"1.0", b"Connection: Keep-Alive, x", True),
    ],
    ids=range(7),
)
async def test_connection_stays_as_its_version_and_fields_say(
    place: Place, version: bytes, field: bytes, stays: bool
) -> None:
    async with await Wire.open(place.address) as wire:
        wire.write(head(field, line=b"GET / HTTP/" + version))
        found = await receive_answer(wire)
        assert (found.headers.get("connection", "").lower() == "close") is not stays
        if stays:
            wire.write(PLAIN)
            assert (await receive_answer(wire)).status == 200
        else:
            await wire.receive_end()

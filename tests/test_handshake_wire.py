"""The opening handshake through real sockets: answers, refusals, hooks, errors."""

import asyncio
from typing import Any

import pytest
import reference
from conftest import StartServer
from reference import TEXT, Frame, serialize_hixie
from together import together
from wire import (
    KEY1,
    KEY2,
    KEY3,
    Head,
    Headers,
    Wire,
    build_request,
    hixie_headers,
    upgrade_headers,
    wait_until,
)

import sockwave
from sockwave.handshake import Handshake

NAMES = {75: "draft75", 76: "draft76", 7: "hybi-07", 8: "hybi-08", 13: "rfc6455"}
VERSIONS = pytest.mark.parametrize("version", NAMES)
ORIGIN = "http://example.com"


def ask(version: int = 13, more: Headers = (), *, target: str = "/") -> bytes:
    """Give the whole opening request of a version, key 3 and all."""
    headers = hixie_headers(version) if version > 70 else upgrade_headers(version)
    pairs = more.items() if isinstance(more, dict) else more
    request = build_request([*headers.items(), *pairs], target=target)
    return request + (KEY3 if version == 76 else b"")


def frame(version: int, text: str) -> bytes:
    """Give a text message as a client of a version sends it."""
    if version > 70:
        return serialize_hixie(text)
    return reference.serialize(Frame(TEXT, text.encode()))


async def receive_text(wire: Wire, version: int) -> str:
    """Read a text message as the server sends it to a client of a version."""
    if version <= 70:
        return str(await wire.receive_message())
    assert await wire.receive(1) == b"\x00"
    async with asyncio.timeout(10):
        return (await wire.reader.readuntil(b"\xff"))[:-1].decode()


async def expect_open(wire: Wire, version: int = 13, key3: bytes = KEY3) -> Head:
    """Read a 101 response, with the signature behind it in draft 76."""
    head = await wire.receive_head()
    assert head.status == 101, head.raw
    if version == 76:
        assert await wire.receive(16) == reference.answer_76(KEY1, KEY2, key3)
    return head


async def expect_refusal(wire: Wire, status: int) -> tuple[Head, bytes]:
    """Read one response that is the connection's last, with nothing behind it, and its body."""
    head = await wire.receive_head()
    assert head.status == status, head.raw
    assert "close" in head.headers["connection"].lower()
    body = await wire.receive_rest()
    assert len(body) == int(head.headers["content-length"])
    await wire.close()
    return head, body


def record(server: sockwave.Server, *events: str) -> list[str]:
    """Give the list in which each of these events will be named when it comes."""
    heard: list[str] = []
    for event in events:
        server.on(event, lambda *_, event=event: heard.append(event))
    return heard


# ---- answers -------------------------------------------------------------------------------------


@together
@VERSIONS
async def test_every_version_opens_and_is_named(start_server: StartServer, version: int) -> None:
    server = await start_server()
    accepted: list[sockwave.Connection] = []
    server.on("connection", accepted.append)
    wire = await Wire.open(server.addresses[0])
    wire.write(ask(version, {"X-Custom": "kept"}, target="/room?name=a"))
    await expect_open(wire, version)
    await wait_until(lambda: accepted, "the connection event")
    assert accepted[0].version == NAMES[version]
    assert accepted[0].request.target == "/room?name=a"
    assert accepted[0].request.headers["x-custom"] == "kept"
    await wire.close()


@together
@VERSIONS
async def test_a_request_may_come_byte_by_byte(start_server: StartServer, version: int) -> None:
    server = await start_server()
    server.on("connection", lambda conn: conn.on("message", conn.send))
    wire = await Wire.open(server.addresses[0])
    await wire.write_slowly(ask(version) + frame(version, "behind"))
    await expect_open(wire, version)
    assert await receive_text(wire, version) == "behind"
    await wire.close()


@together
@VERSIONS
async def test_frames_may_come_in_one_segment_with_the_request(
    start_server: StartServer, version: int
) -> None:
    server = await start_server()
    server.on("connection", lambda conn: conn.on("message", conn.send))
    wire = await Wire.open(server.addresses[0])
    wire.write(ask(version) + b"".join(frame(version, f"early {i}") for i in range(3)))
    await expect_open(wire, version)
    assert [await receive_text(wire, version) for _ in range(3)] == [
        "early 0",
        "early 1",
        "early 2",
    ]
    await wire.close()


@together
@VERSIONS
async def test_a_request_may_be_the_second_on_its_connection(
    start_server: StartServer, version: int
) -> None:
    server = await start_server()
    server.on("request", lambda req, res: res.end("plain"))
    wire = await Wire.open(server.addresses[0])
    wire.write(build_request({"Host": "example.com"}) + ask(version))
    assert (await wire.receive_head()).status == 200
    assert await wire.receive(5) == b"plain"
    await expect_open(wire, version)
    await wire.close()


async def test_draft_76_may_announce_its_eight_bytes(start_server: StartServer) -> None:
    server = await start_server()
    server.on("connection", lambda conn: conn.on("message", conn.send))
    request = build_request(hixie_headers(76) | {"Content-Length": "8"})
    for key3 in (KEY3, b"\r\n\r\n\0\xff\r\n"):
        wire = await Wire.open(server.addresses[0])
        wire.write(request + key3 + serialize_hixie("first"))
        await expect_open(wire, 76, key3)
        assert await receive_text(wire, 76) == "first"
        await wire.close()


@pytest.mark.parametrize("count", range(8))
async def test_draft_76_that_stalls_before_its_last_byte_ends_at_the_deadline(
    start_server: StartServer, count: int
) -> None:
    server = await start_server(handshake_timeout=0.3)
    heard = record(server, "connection", "handshake", "error")
    wire = await Wire.open(server.addresses[0])
    wire.write(build_request(hixie_headers(76)) + KEY3[:count])
    rest = await wire.receive_rest()
    assert b" 101 " not in rest
    assert not heard
    await wire.close()


async def test_bytes_do_not_put_the_deadline_off(start_server: StartServer) -> None:
    server = await start_server(handshake_timeout=0.2)
    wire = await Wire.open(server.addresses[0])
    wire.write(build_request(hixie_headers(76)))
    ended = asyncio.create_task(wire.receive_rest())
    for octet in KEY3[:7]:
        wire.write(bytes([octet]))
        await asyncio.wait([ended], timeout=0.1)
        if ended.done():
            break
    # A deadline that each byte put off would still be running.
    assert ended.done()
    assert b" 101 " not in await ended
    await wire.close()


# ---- refusals ------------------------------------------------------------------------------------

WRONG: dict[str, tuple[bytes, int]] = {
    "POST": (ask().replace(b"GET", b"POST"), 400),
    "HTTP/1.0": (ask().replace(b"HTTP/1.1", b"HTTP/1.0"), 400),
    "absolute target": (ask(target="http://example.com/"), 400),
    "no Host": (ask().replace(b"Host", b"X-Host"), 400),
    "no key": (ask().replace(b"-Key", b"-Kez"), 400),
    "two keys": (ask(more={"sec-websocket-key": "AAAAAAAAAAAAAAAAAAAAAA=="}), 400),
    "short key": (ask().replace(b"ZQ==", b""), 400),
    "version 12": (ask(12), 426),
    "version 14": (ask(14), 426),
    "two versions": (ask().replace(b": 13", b": 13, 8"), 400),
    "no Connection": (ask().replace(b"Connection: Upgrade", b"Connection: keep-alive"), 400),
    "body": (ask(more={"Content-Length": "5"}), 400),
    "chunked body": (ask(more={"Transfer-Encoding": "chunked"}), 400),
    "two origins": (ask(more=[("Origin", "http://a"), ("Origin", "http://b")]), 400),
    "foreign subprotocol": (ask(more={"Sec-WebSocket-Protocol": "caf\xe9"}), 400),
    "draft 75 with a body": (ask(75, {"Content-Length": "5"}), 400),
    "draft 75 with a foreign origin": (
        ask(75).replace(b"Origin: http://", b"Origin: http://\xe9"),
        400,
    ),
    "draft 76 without a space": (ask(76).replace(KEY1.encode(), b"12345"), 400),
    "draft 76 without a digit": (ask(76).replace(KEY2.encode(), b"a b c"), 400),
    "draft 76 with one key": (ask(76).replace(b"-Key1", b"-Key9"), 400),
    "draft 76 with a third key": (ask(76, {"Sec-WebSocket-Key": "x"}), 400),
    "draft 76 with another body": (ask(76, {"Content-Length": "9"}), 400),
    "draft 76 behind a proxy": (ask(76, {"Via": "1.1 proxy"}), 400),
}


@together
@pytest.mark.parametrize(("request_", "status"), WRONG.values(), ids=list(WRONG))
async def test_a_wrong_request_is_answered_once_and_nothing_behind_it_is_read(
    start_server: StartServer, request_: bytes, status: int
) -> None:
    server = await start_server()
    heard = record(server, "connection", "handshake", "request", "error")
    wire = await Wire.open(server.addresses[0])
    wire.write(request_ + frame(13, "no") + ask() + build_request({"Host": "a"}))
    head, body = await expect_refusal(wire, status)
    assert body
    if status == 426:
        assert head.headers["sec-websocket-version"] == "13, 8, 7"
        assert head.headers["upgrade"].lower() == "websocket"
    assert not heard
    assert not len(server.connections)


@together
@VERSIONS
async def test_a_version_that_is_switched_off_is_refused(
    start_server: StartServer, version: int
) -> None:
    others = [name for name in NAMES.values() if name != NAMES[version]]
    server = await start_server(version=others)
    wire = await Wire.open(server.addresses[0])
    wire.write(ask(version))
    head, _ = await expect_refusal(wire, 400 if version > 70 else 426)
    if version < 70:
        listed = ", ".join(str(number) for number in (13, 8, 7) if number != version)
        assert head.headers["sec-websocket-version"] == listed


@together
@VERSIONS
@pytest.mark.parametrize("policy", ["same-origin", ["http://a.test", "http://b.test"]])
async def test_a_stranger_gets_403_before_any_connection_event(
    start_server: StartServer, version: int, policy: Any
) -> None:
    server = await start_server(origin=policy)
    heard = record(server, "connection", "handshake", "request", "error", "readyStateChange")
    wire = await Wire.open(server.addresses[0])
    name = "Sec-WebSocket-Origin" if version in (7, 8) else "Origin"
    request = ask(version, {name: "http://evil.test"} if version < 70 else {})
    wire.write(request.replace(ORIGIN.encode(), b"http://evil.test"))
    await expect_refusal(wire, 403)
    assert "connection" not in heard
    assert "handshake" not in heard


@together
@VERSIONS
async def test_the_own_page_may_connect(start_server: StartServer, version: int) -> None:
    server = await start_server(origin="same-origin")
    wire = await Wire.open(server.addresses[0])
    name = "Sec-WebSocket-Origin" if version in (7, 8) else "Origin"
    wire.write(ask(version, {name: ORIGIN} if version < 70 else {}))
    await expect_open(wire, version)
    await wire.close()


@together
@VERSIONS
async def test_the_chosen_subprotocol_stands_in_answer_and_connection(
    start_server: StartServer, version: int
) -> None:
    server = await start_server(subprotocol=["v2", "v1"])
    accepted: list[sockwave.Connection] = []
    server.on("connection", accepted.append)
    wire = await Wire.open(server.addresses[0])
    name = "WebSocket-Protocol" if version == 75 else "Sec-WebSocket-Protocol"
    wire.write(ask(version, {name: "v1, v3"}))
    head = await expect_open(wire, version)
    assert head.headers[name.lower()] == "v1"
    await wait_until(lambda: accepted, "the connection event")
    assert accepted[0].subprotocol == "v1"
    await wire.close()


# ---- the hook ------------------------------------------------------------------------------------


async def start_hooked(
    start_server: StartServer, hook: Any, style: str, **options: Any
) -> sockwave.Server:
    """Start a server with a hook, which is a plain function, in one of the four ways."""

    async def hook_later(handshake: Handshake) -> Any:
        await asyncio.sleep(0.02)
        return hook(handshake)

    function = hook_later if style.startswith("async") else hook
    if style.endswith("authorize"):
        return await start_server(authorize=function, **options)
    server = await start_server(**options)
    server.on("handshake", function)
    return server


STYLES = pytest.mark.parametrize(
    "style", ["authorize", "async authorize", "listener", "async listener"]
)


@together
@STYLES
@VERSIONS
async def test_a_hook_sees_the_request_and_leaves_data_headers_and_cookies(
    start_server: StartServer, style: str, version: int
) -> None:
    seen: list[tuple[str, str, str]] = []

    def hook(handshake: Handshake) -> None:
        request = handshake.request
        seen.append((handshake.version, request.target, request.headers["x-token"]))
        handshake.connection.data["user"] = request.cookies["user"]
        handshake.add_header("X-Served-By", "sockwave")
        handshake.add_header("Set-Cookie", "a=1")
        handshake.add_header("Set-Cookie", "b=2")

    server = await start_hooked(start_server, hook, style)
    accepted: list[sockwave.Connection] = []
    server.on("connection", accepted.append)
    wire = await Wire.open(server.addresses[0])
    wire.write(ask(version, {"X-Token": "t", "Cookie": "user=ann"}, target="/x?y=z"))
    head = await expect_open(wire, version)
    assert head.raw.count(b"\r\nSet-Cookie: a=1\r\nSet-Cookie: b=2\r\n") == 1
    assert head.headers["x-served-by"] == "sockwave"
    await wait_until(lambda: accepted, "the connection event")
    assert accepted[0].data == {"user": "ann"}
    assert seen == [(NAMES[version], "/x?y=z", "t")]
    await wire.close()


@together
@STYLES
@VERSIONS
async def test_a_hook_may_refuse_and_the_bytes_behind_are_never_read(
    start_server: StartServer, style: str, version: int
) -> None:
    def hook(handshake: Handshake) -> None:
        handshake.refuse(401, "who are you?", {"WWW-Authenticate": "Basic", "X-Why": "\xfc"})

    server = await start_hooked(start_server, hook, style)
    heard = record(server, "connection", "request", "error")
    wire = await Wire.open(server.addresses[0])
    wire.write(ask(version) + frame(version, "no") + build_request({"Host": "example.com"}))
    head, body = await expect_refusal(wire, 401)
    assert body == b"who are you?"
    assert head.headers["www-authenticate"] == "Basic"
    assert head.headers["x-why"] == "\xfc"
    assert not heard
    assert not len(server.connections)


@together
@pytest.mark.parametrize(
    ("status", "body", "headers"),
    [
        (302, b"", {"Location": "https://example.com/login"}),
        (403, "keine Gr\xfc\xdfe".encode(), {"Content-Type": "text/plain; charset=utf-8"}),
        (404, b'{"error": true}', {"Content-Type": "application/json"}),
        (429, b"\0\xff" * 5000, {"Retry-After": "30"}),
        (499, b"no phrase", {}),
        (503, b"", {}),
    ],
)
async def test_a_refusal_may_have_any_status_body_and_headers(
    start_server: StartServer, status: int, body: bytes, headers: dict[str, str]
) -> None:
    async def authorize(handshake: Handshake) -> None:
        raise sockwave.Refused(status, body, headers)

    server = await start_server(authorize=authorize)
    wire = await Wire.open(server.addresses[0])
    wire.write(ask())
    head, received = await expect_refusal(wire, status)
    assert received == body
    for name, value in headers.items():
        assert head.headers[name.lower()] == value


@pytest.mark.parametrize("style", ["authorize", "async authorize"])
async def test_authorize_may_answer_with_true_none_or_false(
    start_server: StartServer, style: str
) -> None:
    server = await start_hooked(
        start_server,
        lambda handshake: {"yes": True, "no": False}.get(handshake.request.query),
        style,
    )
    for query, accepted in (("yes", True), ("", True), ("no", False)):
        wire = await Wire.open(server.addresses[0])
        wire.write(ask(target=f"/?{query}"))
        if accepted:
            await expect_open(wire)
            await wire.close()
        else:
            await expect_refusal(wire, 403)


async def test_every_hook_is_asked_and_one_refusal_is_enough(start_server: StartServer) -> None:
    server = await start_server(authorize=lambda handshake: True)

    @server.on("handshake")
    async def second(handshake: Handshake) -> None:
        if handshake.request.path == "/second":
            handshake.refuse(404)

    @server.on("handshake")
    def third(handshake: Handshake) -> None:
        if handshake.request.path == "/third":
            handshake.refuse(410)

    for target, status in (("/second", 404), ("/third", 410)):
        wire = await Wire.open(server.addresses[0])
        wire.write(ask(target=target))
        await expect_refusal(wire, status)
    wire = await Wire.open(server.addresses[0])
    wire.write(ask())
    await expect_open(wire)
    await wire.close()


@together
@STYLES
async def test_a_hook_may_choose_the_subprotocol(start_server: StartServer, style: str) -> None:
    def hook(handshake: Handshake) -> None:
        assert handshake.subprotocol == "a"
        with pytest.raises(ValueError, match="subprotocol: expected one of those offered"):
            handshake.subprotocol = "c"
        handshake.subprotocol = "b"

    server = await start_hooked(start_server, hook, style, subprotocol=["a", "b"])
    accepted: list[sockwave.Connection] = []
    server.on("connection", accepted.append)
    wire = await Wire.open(server.addresses[0])
    wire.write(ask(more={"Sec-WebSocket-Protocol": "a, b"}))
    assert (await expect_open(wire)).headers["sec-websocket-protocol"] == "b"
    await wait_until(lambda: accepted, "the connection event")
    assert accepted[0].subprotocol == "b"
    await wire.close()


@pytest.mark.parametrize("version", [75, 76, 13])
async def test_frames_that_come_while_authorize_waits_are_kept_in_order(
    start_server: StartServer, version: int
) -> None:
    go_on = asyncio.Event()

    async def authorize(handshake: Handshake) -> None:
        await go_on.wait()

    server = await start_server(authorize=authorize)
    heard = record(server, "connection")
    server.on("connection", lambda conn: conn.on("message", conn.send))
    wire = await Wire.open(server.addresses[0])
    wire.write(ask(version))
    for i in range(5):
        await wire.receive_nothing()
        wire.write(frame(version, f"early {i}"))
    await wire.receive_nothing()
    assert not heard
    assert not len(server.connections)
    go_on.set()
    await expect_open(wire, version)
    assert [await receive_text(wire, version) for _ in range(5)] == [f"early {i}" for i in range(5)]
    await wire.close()


@pytest.mark.slow
async def test_a_client_that_leaves_while_authorize_waits_is_forgotten(
    start_server: StartServer,
) -> None:
    began, ended = asyncio.Event(), asyncio.Event()

    async def authorize(handshake: Handshake) -> None:
        began.set()
        try:
            await asyncio.sleep(30)
        finally:
            ended.set()

    # An engine that does not look at a socket while it waits learns of it at the deadline.
    server = await start_server(authorize=authorize, handshake_timeout=2.0)
    heard = record(server, "connection", "error")
    wire = await Wire.open(server.addresses[0])
    wire.write(ask())
    async with asyncio.timeout(10):
        await began.wait()
        wire.reset()
        await ended.wait()
    assert not heard
    assert not len(server.connections)


async def test_authorize_that_never_answers_is_cancelled_at_the_deadline(
    start_server: StartServer,
) -> None:
    cancelled = asyncio.Event()

    async def authorize(handshake: Handshake) -> None:
        try:
            await asyncio.sleep(30)
        except asyncio.CancelledError:
            cancelled.set()
            raise

    server = await start_server(authorize=authorize, handshake_timeout=0.3)
    heard = record(server, "connection")
    wire = await Wire.open(server.addresses[0])
    wire.write(ask())
    assert b" 101 " not in await wire.receive_rest()
    async with asyncio.timeout(10):
        await cancelled.wait()
    assert not heard
    await wire.close()


# ---- errors of the application -------------------------------------------------------------------


@together
@STYLES
async def test_a_hook_that_raises_is_an_error_event_and_500(
    start_server: StartServer, style: str
) -> None:
    def hook(handshake: Handshake) -> None:
        raise LookupError("the session store is gone")

    server = await start_hooked(start_server, hook, style)
    errors: list[BaseException] = []
    server.on("error", lambda error, conn: errors.append(error))
    heard = record(server, "connection")
    wire = await Wire.open(server.addresses[0])
    wire.write(ask() + frame(13, "no"))
    _, body = await expect_refusal(wire, 500)
    assert b"session store" not in body
    await wait_until(lambda: errors, "the error event")
    assert [str(error) for error in errors] == ["the session store is gone"]
    assert not heard


@together
@STYLES
@pytest.mark.parametrize(
    "value", ["a\r\nSet-Cookie: x=y", "a\nb", "a\0b", "a\x0bb", "a\x1cb", "a\x85b"]
)
async def test_a_header_that_would_break_the_line_is_an_error_event_and_500(
    start_server: StartServer, style: str, value: str
) -> None:
    server = await start_hooked(
        start_server, lambda handshake: handshake.add_header("X-A", value), style
    )
    errors: list[BaseException] = []
    server.on("error", lambda error, conn: errors.append(error))
    wire = await Wire.open(server.addresses[0])
    wire.write(ask())
    head, _ = await expect_refusal(wire, 500)
    assert "x-a" not in head.headers
    assert "set-cookie" not in head.headers
    await wait_until(lambda: errors, "the error event")
    assert isinstance(errors[0], ValueError)


def raise_error(*_: object) -> Any:
    raise LookupError("no answer")


@together
@pytest.mark.parametrize(
    "options",
    [
        {"origin": raise_error},
        {"origin": lambda origin: "yes"},
        {"subprotocol": raise_error},
        {"subprotocol": lambda offered, head: "other"},
        {"subprotocol": lambda offered, head: "a\r\nSet-Cookie: x=y"},
        {"subprotocol": lambda offered, head: 5},
    ],
    ids=lambda options: next(iter(options)),
)
async def test_an_option_that_fails_is_an_error_event_and_500(
    start_server: StartServer, options: dict[str, Any]
) -> None:
    server = await start_server(**options)
    errors: list[BaseException] = []
    server.on("error", lambda error, conn: errors.append(error))
    heard = record(server, "connection")
    wire = await Wire.open(server.addresses[0])
    wire.write(ask(more={"Sec-WebSocket-Protocol": "a, b"}))
    head, _ = await expect_refusal(wire, 500)
    assert "set-cookie" not in head.headers
    await wait_until(lambda: errors, "the error event")
    assert isinstance(errors[0], (LookupError, TypeError, ValueError))
    assert not heard


async def test_refusals_leave_the_server_as_it_was(start_server: StartServer) -> None:
    server = await start_server(authorize=lambda handshake: handshake.request.path == "/in")
    server.on("connection", lambda conn: conn.on("message", conn.send))
    for request, status in [*WRONG.values(), (ask(), 403)] * 3:
        wire = await Wire.open(server.addresses[0])
        wire.write(request)
        await expect_refusal(wire, status)
    async with await Wire.connect(server.addresses[0], target="/in") as wire:
        wire.send("still here")
        assert await wire.receive_message() == "still here"

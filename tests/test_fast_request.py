"""The requests that are answered at a glance: never one that would be judged otherwise."""

import asyncio
import itertools
import logging
import re
from typing import Any

import pytest
from conftest import StartServer
from hypothesis import example, given
from hypothesis import strategies as st
from opening import open_handshake
from wire import KEY, Wire, build_request, case, upgrade_headers, wait_until

from sockwave.core.opening.fast_request import is_fast_request, write_answer
from sockwave.fields import is_host
from sockwave.handshake import Handshake
from sockwave.http import RequestHead, parse_head
from sockwave.limits import Limits
from sockwave.log import peers

PLAIN = build_request(upgrade_headers())
BROWSER = build_request(
    {
        "Host": "example.com:8080",
        "Connection": "keep-alive, Upgrade",
        "Pragma": "no-cache",
        "User-Agent": "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0",
        "Upgrade": "websocket",
        "Origin": "https://example.com",
        "Sec-WebSocket-Version": "13",
        "Accept-Language": "en-US,en;q=0.9",
        "Cookie": "session=0123456789abcdef",
        "Sec-WebSocket-Key": KEY,
        "Sec-WebSocket-Extensions": "permessage-deflate; client_max_window_bits",
    },
    target="/chat?room=1",
)

# Of a refusal.
CLIENT = re.compile(r"127\.0\.0\.1:\d+")
DATE = re.compile(rb"Date: .*\r\n")

# What a request may be made of, line by line: mostly as it should be.
LINES = st.sampled_from(
    [
        b"Host: example.com",
        b"hOST:a:80 ",
        b"Host: [::1]",
        b"Host: a/b",
        b"Host: a:b:c",
        b"Host: [::1",
        b"Host: a:99999999",
        b"Host: a%2",
        b"Host:",
        b"Upgrade: websocket",
        b"Upgrade: WebSocket\t",
        b"Upgrade: h2c, websocket",
        b"Connection: Upgrade",
        b"Connection: keep-alive, Upgrade",
        b"Connection: close",
        b"Connection: upgrade,",
        b"Sec-WebSocket-Key: " + KEY.encode(),
        b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAA===",
        b"Sec-WebSocket-Key: ///////////////////////=",
        b"Sec-WebSocket-Key: //////////////////////==",
        b"Sec-WebSocket-Version: 13",
        b"Sec-WebSocket-Version: 8",
        b"Sec-WebSocket-Protocol: chat",
        b"Sec-WebSocket-Key1: 1 1",
        b"Sec-WebSocket-Extensions: permessage-deflate",
        b"Sec-WebSocket-Extensions: ;;",
        b"Sec-WebSocket-Extensions:",
        b"Sec-WebSocket-Extensions: a; b, c",
        b'Sec-WebSocket-Extensions: a; b="c"',
        b'Sec-WebSocket-Extensions: a; b="c',
        b"Sec-WebSocket-Extensions: a;",
        b"Sec-WebSocket-Origin: a\xe9",
        b"WebSocket-Protocol: chat",
        b"Origin: http://a",
        b"Origin: a\tb",
        b"Origin:",
        b"Content-Length: 0",
        b"Content-Length: 1",
        b"Transfer-Encoding: chunked",
        b"Expect: 100-continue",
        b"Proxy-Connection: close",
        b"X-Forwarded-For: 1.2.3.4",
        b"Cookie: a=\xfc",
        b"Cookie: a=b",
        b" folded",
        b"No colon",
        b"Space : a",
        b": a",
        b"",
    ]
)
ANY_BYTES = st.binary(max_size=6)


@st.composite
def requests(draw: st.DrawFn) -> bytes:
    """Give a request that is plain but for a few lines and bytes."""
    line, *fields = PLAIN.removesuffix(b"\r\n\r\n").split(b"\r\n")
    for _ in range(draw(st.integers(0, 3))):
        fields.insert(draw(st.integers(0, len(fields))), draw(LINES))
    for _ in range(draw(st.integers(0, 2))):
        fields[draw(st.integers(0, len(fields) - 1))] = draw(LINES)
    raw = bytearray(b"\r\n".join([line, *draw(st.permutations(fields))]) + b"\r\n\r\n")
    for _ in range(draw(st.integers(0, 1))):
        at = draw(st.integers(0, len(raw)))
        raw[at : at + draw(st.integers(0, 2))] = draw(ANY_BYTES)
    return bytes(raw)


@given(requests())
@example(PLAIN)
@example(BROWSER)
def test_what_is_plain_is_opened_by_the_rules_too(raw: bytes) -> None:
    if is_fast_request(raw):
        head = parse_head(raw, Limits())
        # These are looked at apart.
        extensions = head.headers.get_all("sec-websocket-extensions")
        subprotocols = head.headers.get_all("sec-websocket-protocol")
        assert len(extensions) <= 1
        assert len(subprotocols) <= 1
        version, chosen, response = open_handshake(head, subprotocol="chat")
        assert version == "rfc6455"
        assert chosen == ("chat" if subprotocols else None)
        fields = b"Sec-WebSocket-Protocol: chat\r\n" if subprotocols else b""
        assert response == write_answer(head.headers["sec-websocket-key"].encode(), fields)


@pytest.mark.parametrize(
    "host",
    [
        "localhost",
        "Example.com:8080",
        "a_b.c-d:443",
        "127.0.0.1",
        "127.0.0.1:8000",
        "[::1]",
        "[::1]:8000",
        "a:",
        "a:65535",
    ],
)
def test_a_common_host_is_plain(host: str) -> None:
    assert is_fast_request(build_request(upgrade_headers() | {"Host": host}))


@given(st.text("a.1%:[]-", max_size=8) | st.from_regex(r"\A(a|\[::1\]|):[0-9]{0,6}\Z"))
@example("a:65536")
@example("a:99999999")
@example("[::1")
@example("[::1]a")
@example("[::1]:65536")
@example(":80")
@example("a:b:c")
@example("a%2")
def test_a_host_that_is_plain_is_one_by_the_rules_too(host: str) -> None:
    if is_fast_request(build_request(upgrade_headers() | {"Host": host})):
        assert is_host(host)


@pytest.mark.parametrize("raw", [PLAIN, BROWSER, PLAIN.replace(b"Upgrade: w", b"uPGRADE:\t w")])
def test_what_clients_send_is_plain(raw: bytes) -> None:
    assert is_fast_request(raw)


def test_part_of_a_request_is_not_plain() -> None:
    for size in range(len(PLAIN)):
        assert not is_fast_request(PLAIN[:size]), size


@pytest.mark.parametrize("name", upgrade_headers())
def test_a_request_without_a_field_or_with_two_of_it_is_not_plain(name: str) -> None:
    headers = upgrade_headers()
    twice = [*headers.items(), (name, headers[name])]
    assert not is_fast_request(build_request(twice))
    del headers[name]
    assert not is_fast_request(build_request(headers))


@pytest.mark.parametrize(
    "line",
    [
        b"Sec-WebSocket-Protocol: chat\r\nSec-WebSocket-Protocol: chat",
        b"Sec-WebSocket-Key1: 1",
        b"Content-Length: 0",
        b"Transfer-Encoding: chunked",
        b"Origin: a\r\nOrigin: a",
        b"Cookie: caf\xe9",
        b"Cookie: \x01",
        b"Cookie: a\rb",
        b"Cookie: a\nb",
        b"a b: c",
        b"Sec-WebSocket-Extensions: a\r\nSec-WebSocket-Extensions: b",
        b"Sec-WebSocket-Extensions: a;",
        b"Sec-WebSocket-Extensions:",
    ],
)
def test_a_request_with_such_a_line_is_not_plain(line: bytes) -> None:
    assert not is_fast_request(PLAIN[:-2] + line + b"\r\n\r\n")


@pytest.mark.parametrize("behind", [b"\r\n", b"\x81\x80abcd", b"G"])
def test_a_request_with_something_behind_it_is_not_plain(behind: bytes) -> None:
    assert not is_fast_request(PLAIN + behind)


@pytest.mark.parametrize("size", [0, 23, 25, 1000])
def test_a_key_of_another_size_is_no_key(size: int) -> None:
    with pytest.raises(ValueError, match=f"expected 24 bytes, given {size}"):
        write_answer(bytes(size), b"")


# What a browser may have come from, by name, and how clients ask for a subprotocol.
ORIGINS = {
    "null": b"null",
    "file": b"file://",
    "empty": b"",
    "same": b"HTTP://Example.com:8080",
    "listed": b"http://a",
}
PLAIN_REQUESTS = {
    "plain": PLAIN,
    "browser": BROWSER,
    **{
        name: BROWSER.replace(b"Origin: https://example.com", b"Origin: " + origin)
        for name, origin in ORIGINS.items()
    },
}
SUBPROTOCOL_LINES = [
    b"",
    b"Sec-WebSocket-Protocol: other, chat\r\n",
    b"Sec-WebSocket-Protocol: other\r\n",
    b"Sec-WebSocket-Protocol: no token\r\n",
]


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"compression": True, "subprotocol": "chat"},
        {"origin": "https://example.com"},
        {"origin": ["http://a", "http://b"], "subprotocol": ["mqtt", "chat"]},
        {"origin": "same-origin"},
        {"origin": [None, "https://a"]},
        {"origin": ["null", "file://"]},
        {"origin": re.compile("https://.*")},
        {"version": "hybi-08"},
    ],
)
async def test_a_plain_request_is_answered_as_one_that_is_looked_at(
    options: dict[str, Any],
    start_server: StartServer,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    caplog.set_level(logging.INFO, "sockwave.peers")
    server = await start_server(**options)
    requests: list[RequestHead] = []
    server.on("connection", lambda conn: requests.append(conn.request))
    for (name, request), line in itertools.product(PLAIN_REQUESTS.items(), SUBPROTOCOL_LINES):
        with case((name, line)):
            monkeypatch.setattr(peers, "_periods", {})
            caplog.clear()
            requests.clear()
            raw = request[:-2] + line + b"\r\n"
            assert is_fast_request(raw)
            answers = []
            handshakes: list[Handshake] = []
            for is_looked_at in (False, True):
                if is_looked_at:
                    server.on("handshake", handshakes.append)
                async with await Wire.open(server.addresses[0]) as wire:
                    wire.write(raw)
                    head = await wire.receive_head()
                    answers.append(DATE.sub(b"", head.raw))
                await wait_until(lambda: not server.connections)
            server.off("handshake", handshakes.append)
            assert answers[0] == answers[1]
            # Who is refused is told so in the same words, and so is the operator.
            told = [CLIENT.sub("", record.getMessage()) for record in caplog.records]
            assert told == [] if head.status == 101 else len(told) == 2
            assert len(set(told)) == (head.status != 101)
            assert [one.raw for one in requests] == 2 * len(handshakes) * [raw]
            assert len(handshakes) == (head.status == 101)


async def test_limits_of_the_request_hold_for_a_plain_one(start_server: StartServer) -> None:
    line_size = PLAIN.index(b"\r\n")
    block_size = len(PLAIN) - line_size - 2
    exact = {
        "request_line_size": line_size,
        "header_block_size": block_size,
        "header_count": len(upgrade_headers()),
    }
    refusals = {"request_line_size": 414, "header_block_size": 431, "header_count": 431}
    for name, status in refusals.items():
        for less in (0, 1):
            server = await start_server(**{name: exact[name] - less})
            async with await Wire.open(server.addresses[0]) as wire:
                wire.write(PLAIN)
                assert (await wire.receive_head()).status == (status if less else 101)


async def test_who_has_sent_nothing_yet_is_let_go_when_the_server_closes(
    start_server: StartServer,
) -> None:
    server = await start_server()
    arrived = asyncio.Event()
    server.on("stream", lambda stream: arrived.set())
    async with await Wire.open(server.addresses[0]) as wire:
        await arrived.wait()
        ended = server.close()
        assert await wire.receive_rest() == b""
        await wire.close()
        await ended

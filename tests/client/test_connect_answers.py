"""What a server answers is checked to the letter: RFC 6455, section 4.1."""

import asyncio
from collections.abc import Callable

import pytest
from raw_servers import RawPeer, answer, raw_server
from wire import case

import sockwave
from sockwave import HandshakeError, HandshakeRefused

Headers = dict[str, str]
Change = Callable[[Headers], Headers]

OFFER = sockwave.Deflate(client_max_window_bits=12)


def without(name: str) -> Change:
    return lambda headers: {key: one for key, one in headers.items() if key != name}


def with_(name: str, value: str) -> Change:
    return lambda headers: headers | {name: value}


def accepts(value: str) -> Change:
    return with_("Sec-WebSocket-Extensions", f"permessage-deflate; {value}")


NO_TAKEOVER = "server_no_context_takeover"

WRONG_101 = {
    "no Upgrade": (without("Upgrade"), "Upgrade: expected websocket, given none"),
    "another Upgrade": (with_("Upgrade", "h2c"), "Upgrade: expected websocket"),
    "two in Upgrade": (with_("Upgrade", "websocket, h2c"), "Upgrade: expected websocket"),
    "no Connection": (without("Connection"), "Connection: expected Upgrade, given none"),
    "another Connection": (with_("Connection", "close"), "Connection: expected Upgrade"),
    "no Accept": (without("Sec-WebSocket-Accept"), "Sec-WebSocket-Accept: expected .*, given none"),
    "another Accept": (
        with_("Sec-WebSocket-Accept", "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="),
        "Sec-WebSocket-Accept: expected",
    ),
    "a subprotocol not offered": (
        with_("Sec-WebSocket-Protocol", "c"),
        r"Sec-WebSocket-Protocol: expected one of those offered \(a, b\), given 'c'",
    ),
    "two subprotocols": (with_("Sec-WebSocket-Protocol", "a, b"), "Sec-WebSocket-Protocol:"),
    "a subprotocol in another case": (with_("Sec-WebSocket-Protocol", "A"), "Sec-WebSocket-Proto"),
    "an extension not offered": (with_("Sec-WebSocket-Extensions", "x-other"), "what was offered"),
    "two extensions": (accepts(f"{NO_TAKEOVER}, permessage-deflate"), "what was offered"),
    "context takeover": (
        with_("Sec-WebSocket-Extensions", "permessage-deflate"),
        "expected server_no_context_takeover",
    ),
    "an unknown parameter": (accepts(f"{NO_TAKEOVER}; x=1"), "expected known parameters"),
    "a parameter twice": (accepts(f"{NO_TAKEOVER}; {NO_TAKEOVER}"), "what was offered"),
    "a value too many": (accepts(f"{NO_TAKEOVER}=1"), "expected no value"),
    "no window": (accepts(f"{NO_TAKEOVER}; server_max_window_bits"), "of 8 to 15"),
    "a window too large": (accepts(f"{NO_TAKEOVER}; server_max_window_bits=16"), "of 8 to 15"),
    "a larger window than ours": (
        accepts(f"{NO_TAKEOVER}; client_max_window_bits=13"),
        "client_max_window_bits of 9 to 12",
    ),
    "a window that zlib has not": (
        accepts(f"{NO_TAKEOVER}; client_max_window_bits=8"),
        "client_max_window_bits of 9 to 12",
    ),
}

RIGHT_101 = {
    "cases": lambda headers: (
        {key.upper(): one for key, one in headers.items()}
        | {"UPGRADE": "WebSocket", "CONNECTION": "keep-alive, UPGRADE"}
    ),
    "a subprotocol": with_("Sec-WebSocket-Protocol", "b"),
    "no subprotocol": lambda headers: headers,
    "deflate": accepts(NO_TAKEOVER),
    "deflate with windows": accepts(
        f"{NO_TAKEOVER}; server_max_window_bits=15; client_max_window_bits=9"
    ),
    "deflate with a quoted window": accepts(f'{NO_TAKEOVER};server_max_window_bits="10"'),
    "an empty list of extensions": with_("Sec-WebSocket-Extensions", " , "),
}

#: Whole answers that are none.
WRONG_ANSWERS = {
    "nothing": (b"", "given the end of the stream"),
    "another protocol": (b"SSH-2.0-OpenSSH_9.6\r\n", "expected one of HTTP/1.1"),
    "a frame": (b"\x81\x02hi", "expected one of HTTP/1.1"),
    "half a head": (b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: webso", "the end of the stream"),
    "HTTP/1.0": (
        b"HTTP/1.0 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n",
        r"expected HTTP/1\.1, given HTTP/1\.0",
    ),
    "HTTP/2": (b"HTTP/2 101 Switching Protocols\r\n\r\n", "expected one of HTTP/1.1"),
    "a bare CR": (b"HTTP/1.1 101 S\r\nUpgrade: web\rsocket\r\n\r\n", "expected one of HTTP/1.1"),
    "a folded line": (b"HTTP/1.1 101 S\r\nUpgrade: a\r\n b\r\n\r\n", "expected"),
    "white space before the colon": (b"HTTP/1.1 101 S\r\nUpgrade : a\r\n\r\n", "expected one of"),
    "a head without end": (
        b"HTTP/1.1 101 S\r\n" + b"X: " + b"y" * 40_000,
        r"a head of 32768 bytes \(header_block_size\)",
    ),
    "too many fields": (
        b"HTTP/1.1 101 S\r\n" + b"X: y\r\n" * 101 + b"\r\n",
        r"at most 100 header fields \(header_count\)",
    ),
    "interim answers without end": (b"HTTP/1.1 100 Continue\r\n\r\n" * 17, "at most 16 interim"),
}


async def connect_to(engine: str, change: Change) -> sockwave.Connection:
    """Connect to a server whose right answer is changed, and hear what it says then."""

    async def serve(peer: RawPeer) -> None:
        await peer.receive_head()
        peer.write(answer("101 Switching Protocols", change(peer.headers_101())))
        peer.write_frame(1, b"welcome")
        await peer.receive_end()

    async with raw_server(serve) as uri:
        connector = sockwave.connect(
            uri, engine=engine, subprotocol=["a", "b"], compression=OFFER, close_timeout=0.05
        )
        async with connector as conn:
            assert await conn.receive() == "welcome"
            return conn


@pytest.mark.parametrize("name", WRONG_101)
async def test_wrong_answer_is_no_connection(engine: str, name: str) -> None:
    change, sentence = WRONG_101[name]
    with pytest.raises(HandshakeError, match=sentence):
        await connect_to(engine, change)


@pytest.mark.parametrize("name", RIGHT_101)
async def test_right_answer_opens_the_connection(engine: str, name: str) -> None:
    conn = await connect_to(engine, RIGHT_101[name])
    assert conn.subprotocol == ("b" if name == "a subprotocol" else None)


@pytest.mark.parametrize("name", WRONG_ANSWERS)
async def test_what_is_no_answer(engine: str, name: str) -> None:
    raw, sentence = WRONG_ANSWERS[name]

    async def serve(peer: RawPeer) -> None:
        await peer.receive_head()
        peer.write(raw)

    async with raw_server(serve) as uri:
        with pytest.raises(HandshakeError, match=sentence) as caught:
            await sockwave.connect(uri, engine=engine)
    assert not isinstance(caught.value, HandshakeRefused)


async def test_limits_of_the_head_hold_at_the_limit(engine: str) -> None:
    async def serve(peer: RawPeer) -> None:
        await peer.open(b"", **{f"X_{number}": "y" for number in range(97)})
        assert await peer.receive_close() == (1000, "")
        peer.write_frame(8, b"\x03\xe8")

    async with raw_server(serve) as uri, sockwave.connect(uri, engine=engine) as conn:
        assert len(conn.response_headers.items()) == 100


async def test_answer_may_come_byte_by_byte_behind_interim_ones(engine: str) -> None:
    async def serve(peer: RawPeer) -> None:
        await peer.receive_head()
        raw = b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n" * 2
        raw += answer("101 Switching Protocols", peer.headers_101()) + b"\x81\x02hi"
        for byte in raw:
            peer.write(bytes([byte]))
            await peer.writer.drain()
            await asyncio.sleep(0)
        assert await peer.receive_close() == (1000, "")
        peer.write_frame(8, b"\x03\xe8")

    async with raw_server(serve) as uri, sockwave.connect(uri, engine=engine) as conn:
        assert await conn.receive() == "hi"
        assert "link" not in conn.response_headers


REFUSALS = {
    "with a length": (answer("404 Not Found", {"Content-Length": "5"}, b"there"), b"there"),
    "in chunks": (
        answer(
            "500 Internal Server Error",
            {"Transfer-Encoding": "chunked"},
            b"3\r\nbro\r\n3\r\nken\r\n0\r\n\r\n",
        ),
        b"broken",
    ),
    "to the end of the stream": (answer("200 OK", {}, b"a page"), b"a page"),
    "without a body": (answer("426 Upgrade Required", {"Content-Length": "0"}), b""),
    "with an upgrade": (
        answer(
            "426 Upgrade Required",
            {"Upgrade": "websocket", "Connection": "Upgrade", "Content-Length": "2"},
            b"no",
        ),
        b"no",
    ),
    "HTTP/1.0": (b"HTTP/1.0 503 Busy\r\nRetry-After: 3\r\n\r\nlater", b"later"),
    "cut short": (answer("502 Bad Gateway", {"Content-Length": "100"}, b"half"), b"half"),
    "too long": (answer("403 No", {"Content-Length": "100000"}, b"x" * 100_000), b"x" * 65536),
    "redirects nowhere": (answer("301 Moved", {"Content-Length": "0"}), b""),
}


async def test_refusals(engine: str) -> None:
    for name, (raw, body) in REFUSALS.items():

        async def serve(peer: RawPeer, raw: bytes = raw) -> None:
            await peer.receive_head()
            peer.write(raw)

        with case(name):
            async with raw_server(serve) as uri:
                with pytest.raises(HandshakeRefused) as caught:
                    await sockwave.connect(uri, engine=engine)
            assert caught.value.status == int(raw.split()[1])
            assert caught.value.body == body


async def test_refusal_whose_body_does_not_end_is_told_in_time(engine: str) -> None:
    async def serve(peer: RawPeer) -> None:
        await peer.receive_head()
        peer.write(answer("503 Service Unavailable", {"Content-Length": "10"}, b"later"))
        await peer.receive_end()

    async with raw_server(serve) as uri:
        with pytest.raises(HandshakeRefused) as caught:
            await sockwave.connect(uri, engine=engine, open_timeout=0.1)
    assert (caught.value.status, caught.value.body) == (503, b"later")


async def test_body_of_a_refusal_cannot_forge_a_log_line(engine: str) -> None:
    async def serve(peer: RawPeer) -> None:
        await peer.receive_head()
        peer.write(answer("403 No", {"Content-Length": "12"}, b"\x1b[31mred\nsecond"[:12]))

    async with raw_server(serve) as uri:
        with pytest.raises(HandshakeRefused) as caught:
            await sockwave.connect(uri, engine=engine)
    assert str(caught.value).isprintable()

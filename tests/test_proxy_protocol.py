"""The PROXY protocol on the wire: before HTTP, and before TLS, from those who are trusted."""

import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
from certificates import server_context
from conftest import ErrorLog, StartServer, echo
from test_handshake_origin import ask
from test_proxy_header import BLOCK4, BLOCK6, TCP6, UNIX, UNSPEC, v2
from test_proxy_tlv import BY_TLS, CIPHER, VERSION, ssl_tlv, tlv, with_crc
from tls_wire import TlsWire
from together import together
from wire import KEY3, Wire, build_request, hixie_headers, upgrade_headers, wait_until

import sockwave
from sockwave.log import peers

V1 = b"PROXY TCP4 192.0.2.7 10.0.0.1 4711 443\r\n"
CLIENT = ("192.0.2.7", 4711)
REQUEST = build_request(upgrade_headers())

StartProxied = Callable[..., Awaitable[sockwave.Server]]


@pytest.fixture
async def start_proxied(engine: str, error_log: ErrorLog) -> AsyncIterator[StartProxied]:
    """`server = await start_proxied(**options)`: an echo server behind proxies on this machine."""
    servers: list[sockwave.Server] = []

    async def start(*, tls: bool = False, **options: Any) -> sockwave.Server:
        options = {"proxy_protocol": "127.0.0.0/8", **options}
        server = sockwave.create_server(engine=engine, **options)
        server.listen(0, "127.0.0.1", ssl=server_context() if tls else None)
        echo(server)
        await server.start()
        servers.append(server)
        return server

    yield start
    await Wire.close_all()
    for server in servers:
        await server.close()


def keep_connections(server: sockwave.Server) -> list[sockwave.Connection]:
    accepted: list[sockwave.Connection] = []
    server.on("connection", accepted.append)
    return accepted


async def expect_echo(wire: Wire) -> None:
    assert (await wire.receive_head()).status == 101
    wire.send("hello")
    assert await wire.receive_message() == "hello"


@together
@pytest.mark.parametrize(
    ("header", "address"),
    [
        (V1, CLIENT),
        (b"PROXY TCP6 2001:db8::7 2001:db8::1 4711 443\r\n", ("2001:db8::7", 4711)),
        (v2(BLOCK4), CLIENT),
        (with_crc(BLOCK4 + tlv(0x04, b"padding")), CLIENT),
        (v2(BLOCK6, family=TCP6), ("2001:db8::7", 4711)),
        (v2(bytes(216), family=UNIX), ("", 0)),
    ],
    ids=repr,
)
async def test_the_address_is_that_of_the_client(
    start_proxied: StartProxied, header: bytes, address: Any
) -> None:
    server = await start_proxied()
    accepted = keep_connections(server)
    wire = await Wire.open(server.addresses[0])
    wire.write(header + REQUEST)
    await expect_echo(wire)
    assert accepted[0].remote_address == address
    assert accepted[0].local_address == server.addresses[0]


@pytest.mark.parametrize(
    "header",
    [b"PROXY UNKNOWN\r\n", v2(b"", family=UNSPEC), v2(BLOCK4, command=0x20)],
    ids=["unknown", "unspecified", "local"],
)
async def test_a_proxy_that_speaks_for_itself_is_the_peer(
    start_proxied: StartProxied, header: bytes
) -> None:
    server = await start_proxied()
    accepted = keep_connections(server)
    wire = await Wire.open(server.addresses[0])
    wire.write(header + REQUEST)
    await expect_echo(wire)
    assert accepted[0].remote_address == wire.writer.get_extra_info("sockname")


@together
@pytest.mark.parametrize("header", [V1, v2(BLOCK4)], ids=["v1", "v2"])
@pytest.mark.parametrize("tls", [False, True])
async def test_a_header_split_at_every_byte_is_put_together(
    start_proxied: StartProxied, header: bytes, tls: bool
) -> None:
    server = await start_proxied(tls=tls)
    accepted = keep_connections(server)
    for cut in range(1, len(header) + 1):
        wire = await Wire.open(server.addresses[0])
        if tls:
            client = TlsWire(wire)
            sent = header + client.first_flight()
            await wire.write_pieces(sent, [cut])
            await client.shake_hands()
            client.write(REQUEST)
            assert (await client.receive_head()).status == 101
        else:
            await wire.write_pieces(header + REQUEST, [cut])
            assert (await wire.receive_head()).status == 101
    await wait_until(lambda: len(accepted) == len(header))
    assert {conn.remote_address for conn in accepted} == {CLIENT}


@pytest.mark.parametrize("tls", [False, True])
async def test_a_header_that_comes_byte_by_byte_is_put_together(
    start_proxied: StartProxied, tls: bool
) -> None:
    server = await start_proxied(tls=tls)
    accepted = keep_connections(server)
    wire = await Wire.open(server.addresses[0])
    client = TlsWire(wire)
    await wire.write_slowly(v2(BLOCK4) + (client.first_flight() if tls else REQUEST))
    if tls:
        await client.shake_hands()
        client.write(REQUEST)
        assert (await client.receive_head()).status == 101
        client.send("sealed")
        assert await client.receive_message() == "sealed"
    else:
        await expect_echo(wire)
    assert accepted[0].remote_address == CLIENT
    assert (accepted[0].tls is not None) == tls


@together
@pytest.mark.parametrize("tls", [False, True])
@pytest.mark.parametrize(
    "data",
    [
        REQUEST,
        b"\x16\x03\x01\x02\x00\x01",
        b"PROXY TCP4 nonsense\r\n",
        b"PROXY " + b"x" * 101,
        v2(BLOCK4, command=0x22),
        v2(BLOCK4[:-1]) + REQUEST,
        with_crc(BLOCK4 + ssl_tlv(), add=1) + REQUEST,
        v2(BLOCK4 + ssl_tlv() + ssl_tlv(0)) + REQUEST,
        v2(BLOCK4 + ssl_tlv()[:-1]) + REQUEST,
    ],
    ids=["http", "tls", "v1", "too-long", "v2-command", "v2-length", "crc", "twice", "cut-tlv"],
)
async def test_what_is_no_header_ends_the_connection_at_once(
    start_proxied: StartProxied,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    data: bytes,
    tls: bool,
) -> None:
    # Each case sees its own lines, however many there were before.
    monkeypatch.setattr(peers, "_periods", {})
    caplog.clear()
    # No deadline: it is not waited for.
    server = await start_proxied(tls=tls, handshake_timeout=None)
    caplog.set_level(logging.INFO)
    wire = await Wire.open(server.addresses[0])
    wire.write(data)
    await wire.receive_end()
    assert not server.connections
    assert [record.message[:20] for record in caplog.records] == ["no PROXY header from"]


@pytest.mark.parametrize("tls", [False, True])
@pytest.mark.parametrize("begun", [b"", V1[:-1], v2(BLOCK4)[:-1]])
async def test_a_header_that_does_not_come_is_waited_for_no_longer_than_a_handshake(
    start_proxied: StartProxied, begun: bytes, tls: bool
) -> None:
    server = await start_proxied(tls=tls, handshake_timeout=0.3)
    wire = await Wire.open(server.addresses[0])
    wire.write(begun)
    await wire.receive_nothing(0.1)
    await wire.receive_end()


async def test_the_header_does_not_move_the_deadline(start_proxied: StartProxied) -> None:
    server = await start_proxied(handshake_timeout=0.5)
    wire = await Wire.open(server.addresses[0])
    await wire.receive_nothing(0.3)
    wire.write(V1)
    later = await Wire.open(server.addresses[0])
    later.write(V1)
    await wire.receive_end()
    assert not later.reader.has_ended


async def test_others_need_no_header_and_cannot_send_one(start_proxied: StartProxied) -> None:
    server = await start_proxied(proxy_protocol=["10.0.0.0/8", "unix"])
    accepted = keep_connections(server)
    wire = await Wire.connect(server.addresses[0])
    assert accepted[0].remote_address == wire.writer.get_extra_info("sockname")
    wire = await Wire.open(server.addresses[0])
    wire.write(V1 + REQUEST)
    assert (await wire.receive_head()).status == 400


async def test_without_the_option_a_header_is_a_bad_request(start_server: StartServer) -> None:
    server = await start_server()
    wire = await Wire.open(server.addresses[0])
    wire.write(V1 + REQUEST)
    assert (await wire.receive_head()).status == 400


async def test_a_peer_of_a_unix_socket_can_be_a_proxy(
    engine: str, error_log: ErrorLog, tmp_path: Any
) -> None:
    path = str(tmp_path / "socket")
    server = sockwave.create_server(engine=engine, proxy_protocol="unix").listen(path=path)
    accepted = keep_connections(server)
    echo(server)
    async with server:
        wire = await Wire.open(path)
        wire.write(V1 + REQUEST)
        await expect_echo(wire)
        assert accepted[0].remote_address == CLIENT
        assert accepted[0].local_address == path
        await Wire.close_all()


async def test_a_stream_listener_hears_of_the_client_and_can_turn_it_away(
    start_proxied: StartProxied,
) -> None:
    server = await start_proxied()
    seen: list[Any] = []

    @server.on("stream")
    def arrived(stream: sockwave.AcceptedSocket) -> None:
        seen.append(stream.remote_address)
        stream.close()

    wire = await Wire.open(server.addresses[0])
    wire.write(V1 + REQUEST)
    await wire.receive_end()
    assert seen == [CLIENT]


async def test_requests_have_the_address_of_the_client(start_proxied: StartProxied) -> None:
    server = await start_proxied()
    seen: list[Any] = []

    @server.on("request")
    def request(req: sockwave.Request, res: sockwave.Response) -> None:
        seen.append(req.remote_address)
        res.end()

    wire = await Wire.open(server.addresses[0])
    wire.write(V1 + build_request({"Host": "x"}) * 2)
    for _ in range(2):
        assert (await wire.receive_head()).status == 200
    assert seen == [CLIENT, CLIENT]


async def test_a_proxy_that_is_told_of_may_forward_a_header_too(
    start_proxied: StartProxied,
) -> None:
    server = await start_proxied(trusted_proxies="192.0.2.0/24")
    accepted = keep_connections(server)
    wire = await Wire.open(server.addresses[0])
    wire.write(V1 + build_request(upgrade_headers() | {"Forwarded": "for=198.51.100.9"}))
    await expect_echo(wire)
    assert accepted[0].remote_address == ("198.51.100.9", 0)


async def test_draft_76_goes_through_a_proxy_that_does_not_know_http(
    start_proxied: StartProxied,
) -> None:
    server = await start_proxied()
    wire = await Wire.open(server.addresses[0])
    wire.write(V1 + build_request(hixie_headers(76)) + KEY3)
    assert (await wire.receive_head()).status == 101


async def test_a_closing_server_does_not_wait_for_a_header(start_proxied: StartProxied) -> None:
    server = await start_proxied(handshake_timeout=None)
    wires = [await Wire.open(server.addresses[0]) for _ in range(2)]
    wires[0].write(V1[:10])
    await wires[0].receive_nothing()
    closing = server.close()
    for wire in wires:
        await wire.receive_end()
        await wire.close()
    await closing


async def test_a_client_that_ends_within_its_header_is_forgotten(
    start_proxied: StartProxied,
) -> None:
    server = await start_proxied(handshake_timeout=None)
    wire = await Wire.open(server.addresses[0])
    wire.write(V1[:10])
    wire.write_eof()
    await wire.receive_end()


ABOUT_TLS = tlv(0x01, b"http/1.1") + tlv(0x02, b"chat.example")
BY_TLS_V2 = with_crc(BLOCK4 + ABOUT_TLS + ssl_tlv(BY_TLS, VERSION, CIPHER))


@together
@pytest.mark.parametrize(
    ("header", "is_secure"),
    [
        (BY_TLS_V2, True),
        (v2(BLOCK4 + ssl_tlv()), True),
        (v2(BLOCK6 + ssl_tlv(), family=TCP6), True),
        (v2(bytes(216) + ssl_tlv(), family=UNIX), True),
        (v2(BLOCK4 + ssl_tlv(0)), False),
        (v2(BLOCK4 + ABOUT_TLS), False),
        (v2(BLOCK4 + ssl_tlv(), command=0x20), False),
        (V1, False),
    ],
    ids=["all", "4", "6", "unix", "no-tls", "not-told", "local", "v1"],
)
@pytest.mark.parametrize("version", [75, 76, 7, 8, 13])
@pytest.mark.parametrize("way", ["fast", "slow"])
async def test_same_origin_has_the_scheme_by_which_the_client_came_to_the_proxy(
    start_proxied: StartProxied, header: bytes, is_secure: bool, version: int, way: str
) -> None:
    server = await start_proxied(origin="same-origin")
    accepted = keep_connections(server)
    if way == "slow":
        server.on("handshake", lambda: None)
    for secure in (False, True):
        origin = f"http{'s' * secure}://example.com"
        wire = await Wire.open(server.addresses[0])
        wire.write(header + build_request(ask(version, origin)) + KEY3 * (version == 76))
        head = await wire.receive_head()
        assert head.status == (101 if secure == is_secure else 403)
        if version > 70 and head.status == 101:
            name = "sec-websocket-location" if version == 76 else "websocket-location"
            assert head.headers[name] == f"ws{'s' * secure}://example.com/"
    assert [conn.is_secure for conn in accepted] == [is_secure]


async def test_what_a_proxy_tells_of_its_tls_is_shown_until_the_client_has_gone(
    start_proxied: StartProxied,
) -> None:
    server = await start_proxied()
    ended: list[Any] = []
    accepted = keep_connections(server)

    @server.on("connection")
    def connected(conn: sockwave.Connection) -> None:
        conn.on("close", lambda: ended.append(conn.tls))

    for header in (BY_TLS_V2, v2(BLOCK4 + ssl_tlv()), v2(BLOCK4)):
        wire = await Wire.open(server.addresses[0])
        wire.write(header + REQUEST)
        await expect_echo(wire)
    told = [conn.tls for conn in accepted]
    assert told == [
        sockwave.TLSInfo("TLSv1.3", "TLS_AES_256_GCM_SHA384", "http/1.1", None, "chat.example"),
        sockwave.TLSInfo("", "", None, None),
        None,
    ]
    await Wire.close_all()
    await wait_until(lambda: not server.connections)
    assert sorted(map(str, ended)) == sorted(map(str, told))
    assert not server._host.admission.proxied_tls_infos


async def test_requests_know_that_their_client_came_to_the_proxy_by_tls(
    start_proxied: StartProxied,
) -> None:
    server = await start_proxied()
    seen: list[bool] = []

    @server.on("request")
    def request(req: sockwave.Request, res: sockwave.Response) -> None:
        seen.append(req.is_secure)
        res.end()

    for header in (v2(BLOCK4 + ssl_tlv()), v2(BLOCK4)):
        wire = await Wire.open(server.addresses[0])
        wire.write(header + build_request({"Host": "x"}))
        assert (await wire.receive_head()).status == 200
    assert seen == [True, False]


@pytest.mark.parametrize("client", [0, BY_TLS])
async def test_tls_that_goes_through_the_proxy_is_shown_as_it_is(
    start_proxied: StartProxied, client: int
) -> None:
    server = await start_proxied(tls=True, origin="same-origin")
    accepted = keep_connections(server)
    wire = await Wire.open(server.addresses[0])
    peer = TlsWire(wire)
    wire.write(v2(BLOCK4 + ssl_tlv(client, tlv(0x21, b"SSLv2"))) + peer.first_flight())
    await peer.shake_hands()
    peer.write(build_request(ask(13, "https://example.com")))
    assert (await peer.receive_head()).status == 101
    assert accepted[0].is_secure
    assert accepted[0].tls is not None
    assert accepted[0].tls.version.startswith("TLSv1")


async def test_a_stranger_cannot_say_that_it_came_by_tls(start_proxied: StartProxied) -> None:
    server = await start_proxied(proxy_protocol="10.0.0.0/8")
    wire = await Wire.open(server.addresses[0])
    wire.write(BY_TLS_V2 + REQUEST)
    assert (await wire.receive_head()).status == 400


@pytest.mark.parametrize("tls", [False, True])
async def test_connections_are_counted_for_the_client_and_not_for_the_proxy(
    start_proxied: StartProxied, tls: bool
) -> None:
    server = await start_proxied(tls=tls, max_connections_per_address=1)

    async def connect(header: bytes) -> bool:
        wire = await Wire.open(server.addresses[0])
        if not tls:
            wire.write(header + REQUEST)
            return (await wire.receive_head()).status == 101
        client = TlsWire(wire)
        wire.write(header + client.first_flight())
        try:
            await client.shake_hands()
        except ConnectionError:
            return False
        client.write(REQUEST)
        return (await client.receive_head()).status == 101

    assert await connect(v2(BLOCK4))
    assert await connect(v2(BLOCK6, family=TCP6))
    assert not await connect(V1)
    assert server.limit_hits["max_connections_per_address"] == 1
    assert len(server.connections) == 2

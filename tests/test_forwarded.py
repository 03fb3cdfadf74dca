"""Who a request is from behind proxies: RFC 7239, and X-Forwarded-For, -Proto and -Host."""

from typing import Any

import pytest
from conftest import StartServer
from together import together
from wire import KEY3, Wire, build_request, hixie_headers, upgrade_headers, wait_until

import sockwave
from sockwave.proxy.forwarded import Client, find_client
from sockwave.trusted import TrustedNetworks

TRUST = TrustedNetworks("trusted_proxies", ["10.0.0.0/8", "2001:db8:1::/48", "unix"])
PEER = Client(("10.0.0.1", 5000), False)
BEHIND = "192.0.2.7"


def find(*pairs: tuple[str, str], peer: Client = PEER, trusts_host: bool = True) -> Client:
    return find_client(sockwave.Headers(pairs), peer, TRUST, trusts_host=trusts_host)


def forwarded(value: str) -> Client:
    return find(("Forwarded", value))


def x_forwarded(value: str) -> Client:
    return find(("X-Forwarded-For", value))


# ---- who is asked --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "address", [("192.0.2.1", 1), ("11.0.0.1", 1), ("2001:db8:2::1", 1), ("9.255.255.255", 1), None]
)
def test_a_peer_that_is_not_trusted_is_not_listened_to(address: Any) -> None:
    peer = Client(address, False)
    for pair in (("Forwarded", "for=1.2.3.4;proto=https"), ("X-Forwarded-For", "nonsense")):
        assert find(pair, peer=peer) == peer


@pytest.mark.parametrize(
    "address", [("10.255.255.255", 1), ("2001:db8:1::5", 1), ("::ffff:10.0.0.9", 1), "", "/path"]
)
def test_a_peer_that_is_trusted_is_listened_to(address: Any) -> None:
    peer = Client(address, False)
    assert find(("Forwarded", f"for={BEHIND}"), peer=peer).address == (BEHIND, 0)


def test_a_trusted_peer_without_a_word_is_the_client() -> None:
    assert find() == PEER
    assert find(("X-Real-IP", "1.2.3.4")) == PEER


# ---- which hop it is -----------------------------------------------------------------------------

CHAINS = {
    "192.0.2.7": "192.0.2.7",
    "1.1.1.1, 192.0.2.7": "192.0.2.7",
    "1.1.1.1, 192.0.2.7, 10.0.0.2": "192.0.2.7",
    "10.0.0.3, 192.0.2.7, 10.0.0.2, 10.9.9.9": "192.0.2.7",
    "10.0.0.4, 10.0.0.3": "10.0.0.4",
    "nonsense, 192.0.2.7": "192.0.2.7",
    "2001:db8::7, 2001:db8:1::2": "2001:db8::7",
}


@together
@pytest.mark.parametrize("chain", CHAINS)
def test_the_first_from_the_right_that_is_not_trusted_is_the_client(chain: str) -> None:
    assert x_forwarded(chain).address == (CHAINS[chain], 0)
    elements = [f'for="[{hop}]"' if ":" in hop else f"for={hop}" for hop in chain.split(", ")]
    assert forwarded(", ".join(elements)).address == (CHAINS[chain], 0)


def test_several_lines_are_one_list() -> None:
    lines = [("Forwarded", "for=1.1.1.1"), ("Forwarded", f"for={BEHIND}, for=10.0.0.2")]
    assert find(*lines).address == (BEHIND, 0)
    lines = [("X-Forwarded-For", "1.1.1.1"), ("X-Forwarded-For", f"{BEHIND}, 10.0.0.2")]
    assert find(*lines).address == (BEHIND, 0)


@together
@pytest.mark.parametrize(
    ("node", "address"),
    [
        ("192.0.2.7:4711", ("192.0.2.7", 4711)),
        ("192.0.2.7:0", ("192.0.2.7", 0)),
        ("192.0.2.7:65535", ("192.0.2.7", 65535)),
        ("192.0.2.7:_port", ("192.0.2.7", 0)),
        ("[2001:db8::7]", ("2001:db8::7", 0)),
        ("[2001:db8::7]:4711", ("2001:db8::7", 4711)),
        ("[::ffff:192.0.2.7]:1", ("192.0.2.7", 1)),
        ("unknown", ""),
        ("Unknown", ""),
        ("_hidden", ""),
        ("_a.b-c_1", ""),
        ("_hidden:_port", ""),
    ],
)
def test_each_kind_of_node_is_read(node: str, address: Any) -> None:
    assert forwarded(f'for="{node}"').address == address
    assert x_forwarded(node).address == address


def test_behind_a_hidden_hop_nobody_is_believed() -> None:
    assert forwarded("for=1.1.1.1, for=_hidden, for=10.0.0.2").address == ""
    assert forwarded("for=1.1.1.1, proto=https").address == PEER.address


# ---- the grammar ---------------------------------------------------------------------------------


@together
@pytest.mark.parametrize(
    "value",
    [
        "for=192.0.2.7;proto=https;host=example.com;by=10.0.0.1",
        "FOR=192.0.2.7;Proto=HTTPS;hOst=example.com",
        'for="192.0.2.7";proto="https";host="example.com"',
        r'for="192.0.\2.7";proto=https;host="example\.com"',
        "for=192.0.2.7 ; proto=https\t; host=example.com",
        ",, for=192.0.2.7;proto=https;host=example.com,,",
        ";for=192.0.2.7;;proto=https;host=example.com;",
        'for=1.1.1.1;note="a, \\"b\\"; for=3.3.3.3", for=192.0.2.7;proto=wss;host=example.com',
    ],
)
def test_forwarded_is_read_as_its_grammar_says(value: str) -> None:
    assert forwarded(value) == Client((BEHIND, 0), True, "example.com")


@together
@pytest.mark.parametrize(
    "value",
    [
        "for",
        "for=",
        "=1.2.3.4",
        "for =1.2.3.4",
        "for= 1.2.3.4",
        'for="1.2.3.4',
        'for="1.2.3.4"x',
        "for=1.2.3.4 proto=https",
        "for=[2001:db8::7]",
        "for=2001:db8::7",
        "for=1.2.3.4;for=1.2.3.4",
        "for=1.2.3.4;FOR=1.2.3.4",
        'for="unterminated, for=1.2.3.4',
        "for=1.2.3.256",
        'for="1.2.3.4:65536"',
        'for="1.2.3.4:123456"',
        'for="1.2.3.4:-1"',
        'for="[1.2.3.4"',
        'for="[nonsense]"',
        "for=nonsense",
        "for=_",
        'for=""',
        "for=1.2.3.4;proto=gopher",
        'for=1.2.3.4;proto=""',
        'for=1.2.3.4;host=""',
        'for=1.2.3.4;host="a b"',
        'for=1.2.3.4;host="a/b"',
        'for=1.2.3.4;host="a:b:c"',
        'for=1.2.3.4;host="[::1"',
        'for=1.2.3.4;host="a:99999999"',
        ", ".join(["for=10.0.0.2"] * 101),
    ],
)
def test_what_forwarded_cannot_mean_is_refused(value: str) -> None:
    with pytest.raises(sockwave.Refused) as caught:
        forwarded(value)
    assert caught.value.status == 400


@together
@pytest.mark.parametrize(
    "pairs",
    [
        [("X-Forwarded-For", "nonsense")],
        [("X-Forwarded-For", "1.2.3.4, nonsense, 10.0.0.2")],
        [("X-Forwarded-For", "1.2.3.4:x")],
        [("X-Forwarded-For", "[2001:db8::7]x")],
        [("X-Forwarded-For", "1.2.3.4"), ("X-Forwarded-Proto", "gopher")],
        [("X-Forwarded-For", "1.2.3.4"), ("X-Forwarded-Host", "a b")],
        [("X-Forwarded-For", "1.2.3.4"), ("X-Forwarded-Host", ":80")],
        [("X-Forwarded-For", ", ".join(["10.0.0.2"] * 101))],
        [("X-Forwarded-For", "1.2.3.4"), ("Forwarded", "for=1.2.3.5")],
        [("X-Forwarded-For", "1.2.3.4"), ("Forwarded", "for=1.2.3.4;proto=https")],
    ],
)
def test_what_the_others_cannot_mean_is_refused(pairs: list[tuple[str, str]]) -> None:
    with pytest.raises(sockwave.Refused) as caught:
        find(*pairs)
    assert caught.value.status == 400


def test_a_hundred_hops_are_followed() -> None:
    hops = ", ".join([BEHIND, *["10.0.0.2"] * 99])
    assert x_forwarded(hops).address == (BEHIND, 0)


def test_both_headers_may_tell_the_same() -> None:
    told = find(("X-Forwarded-For", BEHIND), ("Forwarded", f"for={BEHIND}"))
    assert told.address == (BEHIND, 0)


@together
@pytest.mark.parametrize(
    ("nodes", "schemes", "is_secure"),
    [
        ("192.0.2.7", "https", True),
        ("192.0.2.7", "http", False),
        ("192.0.2.7", "wss", True),
        ("192.0.2.7, 10.0.0.2", "https, http", True),
        ("192.0.2.7, 10.0.0.2", "http, https", False),
        ("192.0.2.7, 10.0.0.2", "https", True),
        ("1.1.1.1, 192.0.2.7", "https, http", False),
        ("192.0.2.7", "https, http", False),
    ],
)
def test_proto_and_host_go_with_the_hop_that_is_the_client(
    nodes: str, schemes: str, is_secure: bool
) -> None:
    hosts = schemes.replace("wss", "https")
    found = find(
        ("X-Forwarded-For", nodes), ("X-Forwarded-Proto", schemes), ("X-Forwarded-Host", hosts)
    )
    assert found == Client((BEHIND, 0), is_secure, "https" if is_secure else "http")


def test_proto_alone_leaves_the_address() -> None:
    assert find(("X-Forwarded-Proto", "https")) == Client(PEER.address, True)
    assert find(("Forwarded", "proto=https")) == Client(PEER.address, True)


def test_without_proto_the_last_leg_decides() -> None:
    peer = Client(PEER.address, True)
    assert find(("X-Forwarded-For", BEHIND), peer=peer).is_secure


# ---- the host and the port ----------------------------------------------------------------------


@pytest.mark.parametrize(
    "pairs",
    [
        [("X-Forwarded-Host", "other.example")],
        [("X-Forwarded-For", BEHIND), ("X-Forwarded-Host", "other.example")],
        [("X-Forwarded-For", BEHIND), ("X-Forwarded-Host", "a b")],
        [("Forwarded", f"for={BEHIND};host=other.example")],
        [("Forwarded", f'for={BEHIND};host="a b"')],
    ],
)
def test_a_host_that_is_not_trusted_is_not_looked_at(pairs: list[tuple[str, str]]) -> None:
    assert find(("Host", "example.com"), *pairs, trusts_host=False).host is None


@together
@pytest.mark.parametrize(
    ("scheme", "host", "port", "found"),
    [
        ("http", "example.com", "8080", "example.com:8080"),
        ("http", "example.com", "80", "example.com"),
        ("http", "example.com", "443", "example.com:443"),
        ("https", "example.com", "443", "example.com"),
        ("https", "example.com", "80", "example.com:80"),
        ("https", "example.com", "65535", "example.com:65535"),
        ("https", "example.com", "1", "example.com:1"),
        ("https", "example.com:8000", "443", "example.com"),
        ("https", "example.com:8000", "8443", "example.com:8443"),
        ("https", "example.com:", "8443", "example.com:8443"),
        ("https", "[2001:db8::1]", "8443", "[2001:db8::1]:8443"),
        ("https", "[2001:db8::1]:80", "8443", "[2001:db8::1]:8443"),
        ("https", "[2001:db8::1]:80", "443", "[2001:db8::1]"),
    ],
)
@pytest.mark.parametrize("trusts_host", [False, True])
def test_the_port_takes_the_place_of_the_one_of_the_host(
    scheme: str, host: str, port: str, found: str, trusts_host: bool
) -> None:
    pairs = [("X-Forwarded-For", BEHIND), ("X-Forwarded-Proto", scheme), ("X-Forwarded-Port", port)]
    expected = Client((BEHIND, 0), scheme == "https", found)
    assert find(("Host", host), *pairs, trusts_host=trusts_host) == expected
    assert find(("Host", "inner"), ("X-Forwarded-Host", host), *pairs) == expected


def test_the_port_is_read_without_the_other_headers_and_beside_the_standard_one() -> None:
    pairs = ("Host", "example.com"), ("X-Forwarded-Port", "8443")
    assert find(*pairs) == Client(PEER.address, False, "example.com:8443")
    told = find(*pairs, ("Forwarded", f"for={BEHIND};proto=https"))
    assert told == Client((BEHIND, 0), True, "example.com:8443")
    both = [("X-Forwarded-For", BEHIND), ("X-Forwarded-Proto", "https")]
    assert find(*pairs, *both, ("Forwarded", f"for={BEHIND};proto=https")) == told
    assert find(("X-Forwarded-Port", "8443")).host is None


@pytest.mark.parametrize(
    ("nodes", "ports", "port"),
    [
        ("192.0.2.7, 10.0.0.2", "8443, 8080", 8443),
        ("192.0.2.7, 10.0.0.2", "8443", 8443),
        ("1.1.1.1, 192.0.2.7", "nonsense, 8080", 8080),
        ("192.0.2.7", "8443, 8080", 8080),
        ("", "8443, 8080", 8080),
    ],
)
def test_the_port_goes_with_the_hop_that_is_the_client(nodes: str, ports: str, port: int) -> None:
    for lines in ([ports], ports.split(", ")):
        pairs = [("X-Forwarded-Port", line) for line in lines]
        if nodes:
            pairs.append(("X-Forwarded-For", nodes))
        assert find(("Host", "a"), *pairs).host == f"a:{port}"


@together
@pytest.mark.parametrize(
    "ports",
    [",", "0", "65536", "100000", "080", "+80", "-1", "8_0", "80a", "a", "80,", "80, a", "\xb2"],
)
def test_a_port_that_is_none_is_refused(ports: str) -> None:
    with pytest.raises(sockwave.Refused) as caught:
        find(("Host", "a"), ("X-Forwarded-For", BEHIND), ("X-Forwarded-Port", ports))
    assert caught.value.status == 400
    stranger = Client(("192.0.2.1", 1), False)
    assert find(("Host", "a"), ("X-Forwarded-Port", ports), peer=stranger) == stranger


# ---- the options ---------------------------------------------------------------------------------


@together
@pytest.mark.parametrize("option", ["trusted_proxies", "proxy_protocol"])
@pytest.mark.parametrize(
    ("value", "error"),
    [
        ("10.0.0.1/8", ValueError),
        ("nonsense", ValueError),
        (["10.0.0.0/8", ""], ValueError),
        (["10.0.0.0/33"], ValueError),
        (None, TypeError),
        (7, TypeError),
        (b"10.0.0.0/8", TypeError),
        ([7], TypeError),
    ],
)
def test_a_network_that_is_none_raises(option: str, value: Any, error: type[Exception]) -> None:
    with pytest.raises(error, match=f"{option}: expected"):
        sockwave.create_server(**{option: value})


# ---- on the wire ---------------------------------------------------------------------------------


async def connect(
    server: sockwave.Server, *pairs: tuple[str, str], **options: Any
) -> sockwave.Connection:
    accepted: list[sockwave.Connection] = []
    server.once("connection", accepted.append)
    await Wire.connect(server.addresses[0], headers=pairs, **options)
    await wait_until(lambda: accepted)
    return accepted[0]


async def test_a_connection_has_the_address_of_the_client(start_server: StartServer) -> None:
    server = await start_server(trusted_proxies=["127.0.0.0/8"])
    conn = await connect(server, ("Forwarded", 'for="[2001:db8::7]:4711"'))
    assert conn.remote_address == ("2001:db8::7", 4711)
    conn = await connect(server, ("X-Forwarded-For", f"1.1.1.1, {BEHIND}"))
    assert conn.remote_address == (BEHIND, 0)
    conn = await connect(server, ("Forwarded", "for=_hidden"))
    assert conn.remote_address == ("", 0)
    conn = await connect(server)
    assert conn.remote_address[0] == "127.0.0.1"
    assert conn.local_address == server.addresses[0]


@pytest.mark.parametrize("trusted", [(), "10.0.0.0/8", "unix"])
async def test_a_stranger_cannot_say_who_it_is(start_server: StartServer, trusted: Any) -> None:
    server = await start_server(trusted_proxies=trusted)
    conn = await connect(server, ("Forwarded", f"for={BEHIND}"), ("X-Forwarded-For", "nonsense"))
    assert conn.remote_address[0] == "127.0.0.1"


async def test_each_request_of_a_connection_has_its_own_client(start_server: StartServer) -> None:
    server = await start_server(trusted_proxies="127.0.0.1")
    seen: list[Any] = []

    @server.on("request")
    def request(req: sockwave.Request, res: sockwave.Response) -> None:
        seen.append(req.remote_address)
        res.end()

    wire = await Wire.open(server.addresses[0])
    for address in ("192.0.2.1", "192.0.2.2"):
        wire.write(build_request({"Host": "x", "X-Forwarded-For": address}))
        assert (await wire.receive_head()).status == 200
    wire.write(build_request({"Host": "x"}))
    assert (await wire.receive_head()).status == 200
    wire.write(build_request({"Host": "x", "X-Forwarded-For": "nonsense"}))
    assert (await wire.receive_head()).status == 400
    assert seen[:2] == [("192.0.2.1", 0), ("192.0.2.2", 0)]
    assert seen[2][0] == "127.0.0.1"
    assert len(seen) == 3


async def test_a_handshake_with_a_malformed_header_gets_400(start_server: StartServer) -> None:
    server = await start_server(trusted_proxies="127.0.0.1")
    wire = await Wire.open(server.addresses[0])
    wire.write(build_request(upgrade_headers() | {"Forwarded": "for"}))
    assert (await wire.receive_head()).status == 400
    assert not server.connections


@together
@pytest.mark.parametrize(
    ("origin", "status"),
    [
        ("https://example.com", 101),
        ("https://EXAMPLE.com:443", 101),
        ("http://example.com", 403),
        ("https://inner.internal", 403),
        ("https://example.com.evil.com", 403),
    ],
)
async def test_same_origin_is_that_of_the_outermost_proxy(
    start_server: StartServer, origin: str, status: int
) -> None:
    server = await start_server(
        trusted_proxies="127.0.0.1", trust_forwarded_host=True, origin="same-origin"
    )
    wire = await Wire.open(server.addresses[0])
    headers = {"Host": "inner.internal", "Origin": origin}
    headers |= {"Forwarded": f"for={BEHIND};proto=https;host=example.com"}
    wire.write(build_request(upgrade_headers() | headers))
    assert (await wire.receive_head()).status == status


async def test_a_draft_75_client_is_told_the_location_that_it_knows(
    start_server: StartServer,
) -> None:
    server = await start_server(trusted_proxies="127.0.0.1", trust_forwarded_host=True)
    wire = await Wire.open(server.addresses[0])
    headers = {"Upgrade": "WebSocket", "Connection": "Upgrade", "Origin": "https://example.com"}
    headers |= {"Host": "inner", "X-Forwarded-Proto": "https", "X-Forwarded-Host": "example.com"}
    wire.write(build_request(headers, target="/chat"))
    head = await wire.receive_head()
    assert head.status == 101
    assert head.headers["websocket-location"] == "wss://example.com/chat"


@together
@pytest.mark.parametrize(
    ("origin", "status"),
    [
        ("https://example.com:8443", 101),
        ("https://example.com", 403),
        ("http://example.com:8443", 403),
        ("https://forged.example:8443", 403),
    ],
)
async def test_same_origin_has_the_forwarded_port_and_no_host_that_is_not_trusted(
    start_server: StartServer, origin: str, status: int
) -> None:
    server = await start_server(trusted_proxies="127.0.0.1", origin="same-origin")
    wire = await Wire.open(server.addresses[0])
    headers = {
        "Origin": origin,
        "X-Forwarded-For": BEHIND,
        "X-Forwarded-Proto": "https",
        "X-Forwarded-Host": "forged.example",
        "X-Forwarded-Port": "8443",
    }
    wire.write(build_request(upgrade_headers() | headers))
    assert (await wire.receive_head()).status == status


@pytest.mark.parametrize(("proto", "is_secure"), [("https", True), ("http", False), (None, False)])
async def test_connections_and_requests_know_whether_the_client_came_by_tls(
    start_server: StartServer, proto: str | None, is_secure: bool
) -> None:
    server = await start_server(trusted_proxies="127.0.0.1")
    seen: list[bool] = []

    @server.on("request")
    def request(req: sockwave.Request, res: sockwave.Response) -> None:
        seen.append(req.is_secure)
        res.end()

    pairs = [("X-Forwarded-Proto", proto)] if proto else []
    conn = await connect(server, *pairs)
    assert conn.is_secure is is_secure
    assert conn.tls is None
    wire = await Wire.open(server.addresses[0])
    wire.write(build_request([("Host", "x"), *pairs]))
    assert (await wire.receive_head()).status == 200
    assert seen == [is_secure]


@pytest.mark.parametrize("name", ["Forwarded", "X-Forwarded-For"])
async def test_draft_76_behind_a_proxy_is_refused_however_trusted(
    start_server: StartServer, name: str
) -> None:
    server = await start_server(trusted_proxies="127.0.0.1")
    wire = await Wire.open(server.addresses[0])
    value = f"for={BEHIND}" if name == "Forwarded" else BEHIND
    wire.write(build_request(hixie_headers(76) | {name: value}) + KEY3)
    assert (await wire.receive_head()).status == 400


async def test_the_peers_of_a_unix_socket_can_be_trusted(
    engine: str, error_log: Any, tmp_path: Any
) -> None:
    path = str(tmp_path / "socket")
    server = sockwave.create_server(engine=engine, trusted_proxies="unix").listen(path=path)
    async with server:
        conn = await connect(server, ("X-Forwarded-For", BEHIND))
        assert conn.remote_address == (BEHIND, 0)
        assert conn.local_address == path
        assert (await connect(server)).remote_address == ("", 0)
        await Wire.close_all()


async def test_connections_are_counted_for_the_client_and_not_for_the_proxy(
    start_server: StartServer,
) -> None:
    server = await start_server(trusted_proxies="127.0.0.1", max_connections_per_address=1)
    await connect(server, ("X-Forwarded-For", "192.0.2.1"))
    await connect(server, ("X-Forwarded-For", "192.0.2.2"))
    wire = await Wire.open(server.addresses[0])
    wire.write(build_request(upgrade_headers() | {"X-Forwarded-For": "192.0.2.1"}))
    assert (await wire.receive_head()).status == 429
    assert server.limit_hits["max_connections_per_address"] == 1
    assert len(server.connections) == 2


async def test_all_but_two_headers_can_be_ignored(start_server: StartServer) -> None:
    server = await start_server(trusted_proxies="127.0.0.1", forwarded_headers="x-forwarded")
    found = []

    @server.on("request")
    def request(req: sockwave.Request, res: sockwave.Response) -> None:
        found.append((req.remote_address, req.is_secure))
        res.end("")

    for headers in (
        {"X-Forwarded-For": BEHIND, "X-Forwarded-Proto": "https", "Forwarded": "for=192.0.2.99"},
        {"X-Forwarded-For": BEHIND, "Forwarded": "malformed", "X-Forwarded-Port": "no port"},
        {"Forwarded": f"for={BEHIND};proto=https"},
    ):
        wire = await Wire.open(server.addresses[0])
        wire.write(build_request({"Host": "a"} | headers))
        assert (await wire.receive_head()).status == 200
    (first, second, (third, is_secure)) = found
    assert first == ((BEHIND, 0), True)
    assert second == ((BEHIND, 0), False)
    assert third[0] == "127.0.0.1"
    assert not is_secure

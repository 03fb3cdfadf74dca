"""Who may come in, at each cap and one past it; who is turned away, and who makes room."""

import asyncio
import logging
import resource
import socket
from typing import Any

import pytest
from conftest import StartServer
from http_wire import receive_answer, receive_refusal
from stories import Stories, Story, Telling, count_hits
from together import together
from wire import Wire, build_request, connect_both, hixie_headers, upgrade_headers, wait_until

import sockwave
from sockwave.limits import Limits
from sockwave.runtime.admission import address_key, resolve_max_connections

STORIES = Stories()

GET = b"GET / HTTP/1.1\r\nHost: example.com\r\n\r\n"


@pytest.mark.parametrize("story", STORIES, ids=str)
async def test_limit_holds_at_its_value_and_bites_one_past_it(
    story: Story, start_server: StartServer
) -> None:
    await story.play(start_server)


async def knock(server: sockwave.Server) -> int:
    """Open a connection that is turned away before it has asked, and give the status."""
    async with await Wire.open(server.addresses[0]) as wire:
        status = (await receive_answer(wire)).status
        await wire.receive_end()
        return status


@STORIES.about("max_connections", max_connections=3)
async def connections_in_all(server: sockwave.Server) -> Telling:
    await Wire.open(server.addresses[0])
    for _ in range(2):
        await Wire.connect(server.addresses[0])
    yield None
    yield await knock(server)


@STORIES.about("max_connections", max_connections=1)
async def request_in_place_of_a_connection(server: sockwave.Server) -> Telling:
    async with await Wire.open(server.addresses[0]) as wire:
        wire.write(GET)
        assert (await receive_answer(wire)).status == 426
        yield None
        yield await knock(server)


@STORIES.about("max_connections_per_address", max_connections_per_address=2)
async def connections_of_one_address(server: sockwave.Server) -> Telling:
    await Wire.open(server.addresses[0])
    await Wire.connect(server.addresses[0])
    yield None
    yield await knock(server)


async def never(handshake: sockwave.Handshake) -> None:
    """Come to no decision."""
    await asyncio.Event().wait()


@STORIES.about("max_handshakes", max_handshakes=2)
async def request_that_does_not_come(server: sockwave.Server) -> Telling:
    oldest = await Wire.open(server.addresses[0])
    await Wire.open(server.addresses[0])
    await oldest.receive_nothing()
    yield None
    async with await Wire.connect(server.addresses[0]):
        status = (await receive_answer(oldest)).status
        await oldest.receive_end()
        yield status


@STORIES.about("max_handshakes", max_handshakes=2)
async def third_key_that_does_not_come(server: sockwave.Server) -> Telling:
    oldest = await Wire.open(server.addresses[0])
    oldest.write(build_request(hixie_headers(76)))
    await Wire.open(server.addresses[0])
    await oldest.receive_nothing()
    yield None
    async with await Wire.connect(server.addresses[0]):
        yield (await receive_answer(oldest)).status


@STORIES.about("max_handshakes", max_handshakes=2, authorize=never)
async def decision_that_is_not_made(server: sockwave.Server) -> Telling:
    wires = [await Wire.open(server.addresses[0]) for _ in range(2)]
    for wire in wires:
        wire.write(build_request(upgrade_headers()))
    await asyncio.gather(*[wire.receive_nothing() for wire in wires])
    yield None
    status = await knock(server)
    await asyncio.gather(*[wire.receive_nothing() for wire in wires])
    yield status


async def test_place_is_free_again_when_its_connection_has_gone(start_server: StartServer) -> None:
    server = await start_server(max_connections=2, max_connections_per_address=2)
    for _ in range(3):
        wires = [await Wire.connect(server.addresses[0]) for _ in range(2)]
        assert await knock(server) in (503, 429)
        for wire in wires:
            await wire.shake_close()
        await wait_until(lambda: not server.connections)
    assert sum(server.limit_hits.values()) == 3


async def test_every_place_is_used_however_many_are_turned_away(
    start_server: StartServer,
) -> None:
    server = await start_server(max_connections=5)
    knocking = [await Wire.open(server.addresses[0]) for _ in range(5)]
    lingering = [await Wire.open(server.addresses[0]) for _ in range(40)]
    await wait_until(lambda: server.limit_hits["max_connections"] == 40)
    answers = [await wire.reader.read(12) for wire in lingering]
    # The first have a last answer each, and time to read it; then they are only hung up on.
    assert answers.count(b"HTTP/1.1 503") == 32
    assert answers.count(b"") == 8
    for wire in knocking[:3]:
        await wire.close()
    for _ in range(3):
        await Wire.connect(server.addresses[0])
    assert server.limit_hits["max_connections"] == 40


async def test_who_is_turned_away_never_reaches_the_application(start_server: StartServer) -> None:
    server = await start_server(max_connections=1)
    seen: list[object] = []
    for event in ("stream", "request", "connection"):
        server.on(event, lambda *arguments: seen.append(arguments))
    await Wire.open(server.addresses[0])
    await wait_until(lambda: len(seen) == 1)
    async with await Wire.open(server.addresses[0]) as wire:
        wire.write(GET + build_request(upgrade_headers()))
        await receive_refusal(wire, 503)
    assert len(seen) == 1


@pytest.mark.slow
async def test_closing_server_does_not_wait_for_who_was_turned_away(
    start_server: StartServer,
) -> None:
    server = await start_server(max_connections=1)
    await Wire.open(server.addresses[0])
    stubborn = await Wire.open(server.addresses[0])
    await receive_answer(stubborn)  # and sends no FIN
    async with asyncio.timeout(5):
        await server.close(drain=1)


async def test_quick_clients_come_in_past_any_number_of_slow_ones(
    start_server: StartServer,
) -> None:
    server = await start_server(max_handshakes=4)
    slow = []
    for _ in range(20):
        wire = await Wire.open(server.addresses[0])
        wire.write(b"GET / HT")
        slow.append(wire)
        await (await Wire.connect(server.addresses[0])).close()
    await wait_until(lambda: server.limit_hits["max_handshakes"] >= 16)
    for wire in slow[:10]:
        assert (await receive_answer(wire)).status == 503
    await slow[-1].receive_nothing()


async def test_request_leaves_its_place_to_the_next_handshake(start_server: StartServer) -> None:
    server = await start_server(max_handshakes=1)
    for _ in range(3):
        wire = await Wire.open(server.addresses[0])  # left open, and asks no more
        wire.write(GET)
        assert (await receive_answer(wire)).status == 426
        await Wire.connect(server.addresses[0])
        wire = await Wire.open(server.addresses[0])
        wire.write(b"nonsense\r\n\r\n")
        assert (await receive_answer(wire)).status == 400
    assert count_hits(server) == {}


async def test_decision_leaves_its_place_to_the_next_handshake(start_server: StartServer) -> None:
    verdicts = [True, False, None, ValueError("the application's own")]

    async def authorize(handshake: sockwave.Handshake) -> Any:
        await asyncio.sleep(0)
        verdict = verdicts.pop()
        if isinstance(verdict, Exception):
            raise verdict
        return verdict

    server = await start_server(max_handshakes=1, authorize=authorize)
    server.on("error", lambda error: None)
    statuses = []
    for _ in range(4):
        wire = await Wire.open(server.addresses[0])
        wire.write(build_request(upgrade_headers()))
        statuses.append((await wire.receive_head()).status)
    assert statuses == [500, 101, 403, 101]
    assert count_hits(server) == {}


async def test_client_that_gives_up_leaves_its_place(
    start_server: StartServer, engine: str
) -> None:
    server = await start_server(max_handshakes=2, authorize=never, handshake_timeout=None)
    for _ in range(3):
        waiting = await Wire.open(server.addresses[0])
        waiting.write(build_request(upgrade_headers()))
        await wait_until(lambda: server._host.openings.under_way)
        silent = await Wire.open(server.addresses[0])
        await silent.receive_nothing()
        await silent.close()
        if engine == "asyncio":  # which sees no reset of a socket that is not read
            break
        waiting.reset()
        await wait_until(lambda: not server._host.openings.under_way)
    assert count_hits(server) == {}


async def test_caps_can_be_off_when_that_is_written(start_server: StartServer) -> None:
    server = await start_server(max_connections=None, max_handshakes=None)
    wires = [await Wire.open(server.addresses[0]) for _ in range(50)]
    await wires[0].receive_nothing()
    assert count_hits(server) == {}


async def test_unix_socket_has_no_address_to_count(engine: str, tmp_path: Any) -> None:
    server = sockwave.create_server(engine=engine, max_connections_per_address=1)
    server.listen(path=str(tmp_path / "socket"))
    async with server:
        for _ in range(3):
            await Wire.connect(server.addresses[0])
        assert len(server.connections) == 3
        await Wire.close_all()


async def test_addresses_are_counted_apart(start_server: StartServer) -> None:
    server = await start_server(max_connections_per_address=1)
    loop = asyncio.get_running_loop()
    socks = []
    for host in ("127.0.0.1", "127.0.0.2", "127.0.0.3"):
        sock = socket.socket()
        sock.setblocking(False)
        sock.bind((host, 0))
        await loop.sock_connect(sock, server.addresses[0])
        await loop.sock_sendall(sock, build_request(upgrade_headers()))
        assert (await loop.sock_recv(sock, 12)) == b"HTTP/1.1 101"
        socks.append(sock)
    assert await knock(server) == 429
    for sock in socks:
        sock.close()


@together
@pytest.mark.parametrize(
    ("address", "network"),
    [
        (("192.0.2.1", 5), "192.0.2.1"),
        (("::ffff:192.0.2.1", 5), "192.0.2.1"),
        (("2001:db8:1:2::1", 5), bytes.fromhex("20010db800010002")),
        (("2001:db8:1:2:ffff::9", 6), bytes.fromhex("20010db800010002")),
        (("2001:db8:1:3::1", 5), bytes.fromhex("20010db800010003")),
        (("fe80::1%eth0", 5), bytes.fromhex("fe80000000000000")),
        (("::1", 5), bytes(8)),
        ("/run/socket", None),
        ("", None),
        (None, None),
    ],
)
def test_household_is_an_address_or_the_half_of_one(address: Any, network: Any) -> None:
    assert address_key(address) == network


def test_number_of_connections_follows_that_of_descriptors(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for count, expected in ((1024, 960), (20_000, 19_936), (128, 64), (100, 50), (64, 32)):
        monkeypatch.setattr(resource, "getrlimit", lambda _, count=count: (count, count))
        assert resolve_max_connections(Limits()) == expected
    endless = (resource.RLIM_INFINITY, resource.RLIM_INFINITY)
    monkeypatch.setattr(resource, "getrlimit", lambda _: endless)
    assert resolve_max_connections(Limits()) == 65536
    assert resolve_max_connections(Limits(max_connections=7)) == 7
    assert resolve_max_connections(Limits(max_connections=None)) is None


# ---- the log -------------------------------------------------------------------------------------


async def test_flood_of_newcomers_does_not_flood_the_log(
    start_server: StartServer, caplog: pytest.LogCaptureFixture
) -> None:
    server = await start_server(max_connections=1)
    _wire, _ = await connect_both(server)
    with caplog.at_level(logging.DEBUG, "sockwave"):
        for _ in range(50):
            await (await Wire.open(server.addresses[0])).close()
        await wait_until(lambda: server.limit_hits["max_connections"] == 50)
    lines = [record for record in caplog.records if record.name.startswith("sockwave")]
    assert len(lines) <= 10
    assert all("\n" not in line.getMessage() for line in lines)

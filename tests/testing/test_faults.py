import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

import sockwave
from sockwave import testing


async def echo(conn: sockwave.Connection) -> None:
    async for message in conn:
        await conn.send(message)


def on_both_clocks(test: Callable[[], Awaitable[Any]]) -> Callable[[bool], None]:
    """Run a test under the virtual clock, and over real sockets."""

    @pytest.mark.parametrize("is_virtual", [True, False], ids=["virtual", "real"])
    def run_test(is_virtual: bool) -> None:
        (testing.run if is_virtual else asyncio.run)(test())  # type: ignore[arg-type]

    return run_test


@on_both_clocks
async def test_reader_that_stalls_fills_the_server_and_goes_on() -> None:
    network = testing.Network()
    async with testing.pair(echo, network=network) as (server_conn, client_conn):
        link = network.links[0]
        link.to_client.stall()
        assert link.to_client.is_stalled
        piece = b"x" * 1_000_000
        sent = 0
        while not server_conn.backlog_size:
            server_conn.send(piece)
            sent += 1
            await asyncio.sleep(0)
        link.to_client.resume()
        for _ in range(sent):
            assert await client_conn.receive() == piece


@on_both_clocks
async def test_client_that_has_stalled_and_leaves_is_gone() -> None:
    network = testing.Network()
    async with testing.pair(echo, network=network) as (server_conn, client_conn):
        network.links[0].to_client.stall()
        server_conn.send(bytes(10_000_000))
        client_conn.abort()
        await server_conn.wait_closed()
        assert server_conn.close_code == 1006


@testing.virtual_clock
async def test_reader_that_stalls_for_too_long_is_let_go() -> None:
    network, loop = testing.Network(), asyncio.get_running_loop()
    server = sockwave.create_server(write_timeout=30, ping_interval=None)

    @server.on("connection")
    def connected(conn: sockwave.Connection) -> None:
        conn.on("message", conn.send)

    async with testing.pair(server, network=network, ping_interval=None) as (conn, _):
        network.links[0].to_client.stall()
        at = loop.time()
        conn.send(bytes(200_000))
        await conn.wait_closed()
        assert 30 <= loop.time() - at < 45


@on_both_clocks
async def test_slow_network_takes_its_time() -> None:
    network, loop = testing.Network(latency=0.05, bytes_per_second=100_000), None
    async with testing.pair(echo, network=network) as (_, client_conn):
        loop = asyncio.get_running_loop()
        at = loop.time()
        await client_conn.send(bytes(10_000))
        assert await client_conn.receive() == bytes(10_000)
        assert loop.time() - at >= 0.05 + 0.1 + 0.05 + 0.1


@testing.virtual_clock
async def test_slow_network_takes_no_more_than_its_time() -> None:
    network, loop = testing.Network(latency=2, bytes_per_second=1000), asyncio.get_running_loop()
    async with testing.pair(echo, network=network) as (_, client_conn):
        at = loop.time()
        await client_conn.send(bytes(10_000))
        await client_conn.receive()
        assert loop.time() - at == pytest.approx(2 + 10 + 2 + 10, abs=0.5)


@on_both_clocks
async def test_client_that_vanishes_is_not_missed_at_once() -> None:
    network = testing.Network()
    server = sockwave.create_server(ping_interval=0.1, ping_timeout=0.1)
    server.handle_with(echo)
    async with testing.pair(server, network=network, ping_interval=None) as (conn, client_conn):
        network.links[0].vanish()
        client_conn.abort()  # its FIN, or reset, goes nowhere
        await conn.wait_closed()
        assert conn.close_code == 1011  # no pong came


@on_both_clocks
async def test_connection_that_is_reset_ends_at_both_ends() -> None:
    network = testing.Network()
    async with testing.pair(echo, network=network) as (server_conn, client_conn):
        loop = asyncio.get_running_loop()
        at = loop.time()
        network.links[0].reset()
        await server_conn.wait_closed()
        await client_conn.wait_closed()
        assert server_conn.close_code == client_conn.close_code == 1006
        assert loop.time() - at < 5  # and not by keepalive


@pytest.mark.parametrize("fault", ["latency", "rate", "stall"])
@testing.virtual_clock
async def test_reset_is_told_at_once_past_all_other_faults(fault: str) -> None:
    slow = {"latency": {"latency": 2.0}, "rate": {"bytes_per_second": 1000.0}}
    network, loop = testing.Network(**slow.get(fault, {})), asyncio.get_running_loop()
    async with testing.pair(echo, network=network, ping_interval=None) as (server_conn, conn):
        conn.send(bytes(50_000))
        server_conn.send(bytes(50_000))
        if fault == "stall":
            network.links[0].to_client.stall()
        at = loop.time()
        network.links[0].reset()
        await asyncio.gather(server_conn.wait_closed(), conn.wait_closed())
        assert server_conn.close_code == conn.close_code == 1006
        assert loop.time() == at


@testing.virtual_clock
async def test_reset_of_one_end_is_on_its_way_as_long_as_bytes_are() -> None:
    network, loop = testing.Network(latency=2), asyncio.get_running_loop()
    async with testing.pair(echo, network=network, ping_interval=None) as (server_conn, conn):
        at = loop.time()
        server_conn.abort()
        await conn.wait_closed()
        assert loop.time() - at == pytest.approx(2)


@pytest.mark.parametrize("name", testing.MALFORMED)
@testing.virtual_clock
async def test_malformed_frames_end_the_connection_with_their_code(name: str) -> None:
    data, code = testing.MALFORMED[name]
    network = testing.Network()
    async with testing.pair(echo, network=network) as (server_conn, client_conn):
        network.links[0].to_server.inject(data)
        await client_conn.wait_closed()
        assert client_conn.close_code == code
        await server_conn.wait_closed()


async def test_malformed_frames_pass_over_real_sockets_as_well(engine: str) -> None:
    network = testing.Network()
    async with (
        testing.serve(echo, network=network, engine=engine) as url,
        sockwave.connect(url) as conn,
    ):
        network.links[0].to_client.inject(testing.frame(1, "masked"))
        await conn.wait_closed()
        assert conn.close_code == 1002


def test_frame_says_what_it_is_told() -> None:
    assert testing.frame(1, "hi", masked=False) == b"\x81\x02hi"
    assert testing.frame(9, b"x" * 300, masked=False)[:4] == b"\x89\x7e\x01\x2c"
    assert testing.frame(2, size=1 << 16, masked=False) == b"\x82\x7f" + (1 << 16).to_bytes(8)
    assert testing.frame(0, fin=False, reserved=7, masked=False) == b"\x70\x00"
    for wrong in ({"opcode": 16}, {"opcode": 1, "reserved": 8}, {"opcode": 1, "size": 1 << 64}):
        with pytest.raises(ValueError, match="expected 0 to"):
            testing.frame(**wrong)  # type: ignore[arg-type]


def test_network_refuses_what_is_no_number() -> None:
    with pytest.raises(TypeError, match="latency: expected int or float, given str"):
        testing.Network(latency="1")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="latency: expected at least 0, given -1"):
        testing.Network(latency=-1)
    with pytest.raises(ValueError, match="bytes_per_second: expected at least 1, given 0"):
        testing.Network(bytes_per_second=0)


@testing.virtual_clock
async def test_only_bytes_are_injected() -> None:
    network = testing.Network()
    async with testing.pair(echo, network=network):
        with pytest.raises(TypeError, match="data: expected bytes, given str"):
            network.links[0].to_server.inject("hi")  # type: ignore[arg-type]

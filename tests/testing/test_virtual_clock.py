import asyncio
import gc
import random
import threading
import time
from typing import Any

import httpx
import pytest
from certificates import client_context, server_context
from conftest import ErrorLog
from websockets.asyncio.client import connect

import sockwave
from sockwave import testing


async def echo(conn: sockwave.Connection) -> None:
    async for message in conn:
        await conn.send(message)


@testing.virtual_clock
async def test_waits_take_no_time_and_end_in_order() -> None:
    loop = asyncio.get_running_loop()
    at, order = loop.time(), []

    async def note(seconds: float) -> None:
        await asyncio.sleep(seconds)
        order.append((seconds, round(loop.time() - at, 3)))

    await asyncio.gather(note(500), note(1), note(20.5))
    assert order == [(1, 1), (20.5, 20.5), (500, 500)]


@testing.virtual_clock
async def test_pair_is_a_real_server_and_a_real_client() -> None:
    async with testing.pair(echo, path="/chat?room=1") as (server_conn, client_conn):
        await client_conn.send("hello")
        assert await client_conn.receive() == "hello"
        assert server_conn.request.path == "/chat"
        assert server_conn.remote_address == client_conn.local_address
        await client_conn.close(4000, "enough")
        await server_conn.wait_closed()
        assert (server_conn.close_code, server_conn.close_reason) == (4000, "enough")


@testing.virtual_clock
async def test_large_and_compressed_messages_pass() -> None:
    server = sockwave.create_server(compression=True)
    server.handle_with(echo)
    async with testing.pair(server, compression=True) as (_, client_conn):
        for message in ("x" * 1_000_000, bytes(700_000), ""):
            client_conn.send(message)
            assert await client_conn.receive() == message


@pytest.mark.slow
def test_a_thousand_connections_are_opened_talked_over_and_closed() -> None:
    ended = 0

    async def open_all() -> None:
        nonlocal ended
        async with testing.serve(echo) as url:

            async def talk(number: int) -> None:
                nonlocal ended
                async with sockwave.connect(url) as conn:
                    await conn.send(f"hello {number}")
                    assert await conn.receive() == f"hello {number}"
                ended += conn.close_code == 1000

            await asyncio.gather(*map(talk, range(1000)))

    testing.run(open_all())
    assert ended == 1000


@testing.virtual_clock
async def test_client_that_vanishes_is_missed_after_the_times_of_keepalive() -> None:
    network, loop = testing.Network(), asyncio.get_running_loop()
    server = sockwave.create_server(ping_interval=20, ping_timeout=20)
    server.handle_with(echo)
    async with testing.pair(server, network=network, ping_interval=None) as (server_conn, _):
        at = loop.time()
        network.vanish()
        await server_conn.wait_closed()
        assert server_conn.close_code == 1011
        assert 38 <= loop.time() - at < 43  # the interval varies by a tenth


def test_everything_takes_the_same_time_in_each_run() -> None:
    async def miss_a_client() -> float:
        network, loop = testing.Network(), asyncio.get_running_loop()
        server = sockwave.create_server(ping_interval=20, ping_timeout=20)
        server.handle_with(echo)
        async with testing.pair(server, network=network, ping_interval=None) as (server_conn, _):
            at = loop.time()
            network.vanish()
            await server_conn.wait_closed()
            return loop.time() - at

    random.seed()
    state = random.getstate()
    times = [testing.run(miss_a_client()) for _ in range(5)]
    assert times == pytest.approx([times[0]] * 5, abs=1e-3)
    assert random.getstate() == state


@testing.virtual_clock
async def test_drain_of_a_server_passes_at_once() -> None:
    network, loop = testing.Network(), asyncio.get_running_loop()
    server = sockwave.create_server(close_timeout=600)
    server.handle_with(echo)
    async with testing.pair(server, network=network) as (server_conn, _):
        at = loop.time()
        network.links[0].to_client.stall()
        await server.close(drain=30.0)
        assert server_conn.close_code == 1006
        assert 29 <= loop.time() - at < 31


@testing.virtual_clock
async def test_lost_connection_comes_back() -> None:
    network = testing.Network()
    async with testing.serve(echo, network=network) as url:
        count = 0
        async for conn in sockwave.connect(url):
            await conn.send("hello")
            assert await conn.receive() == "hello"
            if (count := count + 1) == 3:
                break
            at = asyncio.get_running_loop().time()
            network.links[-1].reset()
            await conn.wait_closed()
            assert conn.close_code == 1006
            assert asyncio.get_running_loop().time() == at


@testing.virtual_clock
async def test_nothing_listens_at_a_closed_servers_address() -> None:
    async with testing.serve(echo) as url:
        pass
    with pytest.raises(ConnectionRefusedError, match=r"cannot connect to 127\.0\.0\.1"):
        await sockwave.connect(url)


@testing.virtual_clock
async def test_program_with_an_address_of_its_own_runs_unchanged() -> None:
    async with sockwave.serve(echo, "127.0.0.1", 0) as server:
        _, port = server.addresses[0]
        async with sockwave.connect(f"ws://example.com:{port}/") as conn:
            await conn.send("hello")
            assert await conn.receive() == "hello"


@testing.virtual_clock
async def test_streams_of_asyncio_reach_a_server() -> None:
    server = sockwave.create_server()

    @server.get("/")
    def answer(request: sockwave.Request) -> str:
        return "hello\n"

    async with testing.serve(server) as url:
        reader, writer = await asyncio.open_connection("127.0.0.1", int(url.rpartition(":")[2]))
        writer.write(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        assert (await reader.read()).endswith(b"hello\n")
        writer.close()


@testing.virtual_clock
async def test_clients_of_others_reach_a_server() -> None:
    server = sockwave.create_server()
    server.handle_with(echo)

    @server.get("/")
    def answer(request: sockwave.Request) -> str:
        return "hello\n"

    async with testing.serve(server) as url:
        async with httpx.AsyncClient() as http:
            assert (await http.get(url.replace("ws", "http"))).text == "hello\n"
        async with connect(url) as client:
            await client.send("hello")
            assert await client.recv() == "hello"


@testing.virtual_clock
async def test_tls_passes_in_memory() -> None:
    server = sockwave.create_server()
    server.handle_with(echo)
    server.listen(0, "127.0.0.1", ssl=server_context())
    async with testing.pair(server, ssl=client_context()) as (server_conn, client_conn):
        await client_conn.send("x" * 200_000)
        assert await client_conn.receive() == "x" * 200_000
        assert server_conn.is_secure


@testing.virtual_clock
async def test_clock_stands_still_while_a_thread_works() -> None:
    loop = asyncio.get_running_loop()
    at = loop.time()
    async with asyncio.timeout(0.001):
        await asyncio.to_thread(time.sleep, 0.01)
    assert loop.time() == at


@testing.virtual_clock
async def test_thread_that_waits_for_the_loop_waits_for_its_clock() -> None:
    loop = asyncio.get_running_loop()

    def sleep_thrice() -> list[float]:
        times = []
        for _ in range(3):
            asyncio.run_coroutine_threadsafe(asyncio.sleep(100), loop).result()
            times.append(loop.time())
        return times

    at = loop.time()
    both = await asyncio.gather(asyncio.to_thread(sleep_thrice), asyncio.to_thread(sleep_thrice))
    for times in both:
        assert times[-1] - at == pytest.approx(300)


@testing.virtual_clock
async def test_clock_stands_still_while_one_thread_works_and_another_waits() -> None:
    loop = asyncio.get_running_loop()
    at = loop.time()

    def ask() -> None:
        asyncio.run_coroutine_threadsafe(asyncio.sleep(1), loop).result()

    waiting = asyncio.ensure_future(asyncio.to_thread(ask))
    await asyncio.to_thread(time.sleep, 0.1)
    assert loop.time() == at
    await waiting
    assert loop.time() == at + 1


def test_thread_that_waits_for_what_only_time_brings_is_given_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("sockwave.testing.jobs._PATIENCE_S", 0.05)
    is_over = threading.Event()

    async def wait() -> None:
        asyncio.get_running_loop().call_later(900, is_over.set)
        await asyncio.to_thread(is_over.wait)

    with pytest.raises(testing.Hang, match="in wait: await asyncio"):
        testing.run(wait(), timeout=1000 - 200)
    testing.run(wait(), timeout=1000)


@pytest.mark.parametrize("has_end", [False, True], ids=["wait", "end"])
def test_loop_in_which_nothing_is_left_raises_by_itself(
    error_log: ErrorLog, *, has_end: bool
) -> None:
    async def wait() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            if has_end:
                await asyncio.Event().wait()

    with (
        pytest.raises(testing.Hang, match=r"nothing that could come(.|\n)*in wait: await"),
        asyncio.Runner(loop_factory=testing.VirtualLoop) as runner,
    ):
        runner.run(wait())
    # A task that does not end when it is cancelled is complained of when it is freed: here.
    gc.collect()
    assert ["pending" in record.getMessage() for record in error_log.records] == [True] * has_end
    error_log.records.clear()


@testing.virtual_clock
async def test_real_pipes_and_processes_are_refused() -> None:
    loop: Any = asyncio.get_running_loop()
    for refused in (
        loop.sock_recv(None, 1),
        loop.sock_sendall(None, b""),
        loop.sock_sendfile(None, None),
        loop.connect_read_pipe(asyncio.Protocol, None),
        loop.connect_write_pipe(asyncio.Protocol, None),
        asyncio.create_subprocess_exec("true"),
        asyncio.create_subprocess_shell("true"),
    ):
        with pytest.raises(RuntimeError, match="the network is in memory: expected"):
            await refused


@testing.virtual_clock
async def test_real_sockets_are_refused() -> None:
    loop = asyncio.get_running_loop()
    with pytest.raises(RuntimeError, match="the network is in memory"):
        await loop.sock_connect(None, ("127.0.0.1", 1))  # type: ignore[arg-type]
    with pytest.raises(NotImplementedError):
        loop.add_reader(0, print)
    with pytest.raises(sockwave.SockwaveError, match="epoll"):
        async with testing.serve(echo, engine="epoll"):
            pass


def test_decorator_wants_an_async_function() -> None:
    with pytest.raises(TypeError, match="virtual_clock: expected an async function"):
        testing.virtual_clock(print)  # type: ignore[arg-type]


@testing.virtual_clock
async def test_round_trip_of_a_ping_is_that_of_the_network() -> None:
    network = testing.Network(latency=0.25)
    async with testing.pair(echo, network=network) as (server_conn, _):
        assert await server_conn.ping() == pytest.approx(0.5)

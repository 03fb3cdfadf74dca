"""Carriers are held from accept to end, whatever the loop forgets meanwhile."""

import asyncio
import gc
from typing import Any

import pytest
from certificates import server_context
from conftest import StartServer
from http_wire import receive_answer
from tls_wire import TlsWire
from wire import PATIENCE_S, Wire, build_request, upgrade_headers, wait_until

import sockwave

GET = b"GET /never HTTP/1.1\r\nHost: a\r\n\r\n"
BODY_SIZE = 1 << 20
POST = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % BODY_SIZE
PROXY = b"PROXY TCP4 192.0.2.1 192.0.2.2 1000 80\r\n"


def never_answer(server: sockwave.Server) -> list[str]:
    """Let requests for /never wait for ever, answer all others, and list who has begun to wait."""
    waiting: list[str] = []

    @server.on("request")
    async def request(req: sockwave.Request, res: sockwave.Response) -> None:
        if req.path == "/never":
            waiting.append(req.path)
            await asyncio.get_running_loop().create_future()
        res.end("here")

    return waiting


def transport_count(server: sockwave.Server) -> int:
    return server._host.engine.transport_count


async def leave_unanswered(server: sockwave.Server, count: int) -> None:
    """Have so many clients ask for what is never answered, and end their side."""
    waiting = never_answer(server)
    wires = [await Wire.open(server.addresses[0]) for _ in range(count)]
    for wire in wires:
        wire.write(GET)
    await wait_until(lambda: len(waiting) == count)
    for wire in wires:
        wire.writer.write_eof()


@pytest.mark.slow
async def test_a_place_is_freed_though_its_request_is_never_answered(
    start_server: StartServer,
) -> None:
    server = await start_server(max_connections=4, body_timeout=0.3, answer_timeout=None)
    await leave_unanswered(server, 4)
    await asyncio.sleep(0.1)  # for the ends to come
    gc.collect()
    await wait_until(lambda: not transport_count(server))
    async with await Wire.open(server.addresses[0]) as wire:
        wire.write(GET.replace(b"/never", b"/"))
        assert (await receive_answer(wire)).body == b"here"


async def test_close_ends_though_a_request_is_never_answered(start_server: StartServer) -> None:
    server = await start_server(body_timeout=None, answer_timeout=None)
    await leave_unanswered(server, 3)
    await asyncio.sleep(0.1)  # for the ends to come
    gc.collect()
    assert transport_count(server) == 3
    async with asyncio.timeout(PATIENCE_S):
        await server.close(drain=0.2)
    assert not transport_count(server)


@pytest.mark.parametrize("is_secure", [False, True], ids=["plain", "tls"])
async def test_clients_that_upload_are_not_cut_by_a_collection(
    engine: str, error_log: Any, is_secure: bool
) -> None:
    count = 40
    server = sockwave.create_server(engine=engine)
    server.listen(0, "127.0.0.1", ssl=server_context() if is_secure else None)
    waiting: list[sockwave.Request] = []
    may_read = asyncio.Event()

    @server.on("request")
    async def request(req: sockwave.Request, res: sockwave.Response) -> None:
        waiting.append(req)
        await may_read.wait()
        await res.end(str(len(await req.body())))

    async with server:
        opening = TlsWire if is_secure else Wire
        wires: list[Any] = [await opening.open(server.addresses[0]) for _ in range(count)]
        for wire in wires:
            wire.write(POST + bytes(BODY_SIZE))
        await wait_until(lambda: len(waiting) == count)
        waiting.clear()
        await asyncio.sleep(0.2)  # for what fits to come: then nobody reads
        gc.collect()
        may_read.set()
        for wire in wires:
            if is_secure:
                assert (await wire.receive_head()).status == 200
            else:
                assert (await receive_answer(wire)).body == b"%d" % BODY_SIZE
        await Wire.close_all()


async def test_connections_that_are_not_read_are_not_cut_by_a_collection(
    start_server: StartServer,
) -> None:
    server = await start_server()
    may_receive = asyncio.Event()

    @server.on("connection")
    async def connected(conn: sockwave.Connection) -> None:
        await conn.receive()
        await may_receive.wait()
        async for message in conn:
            await conn.send(message)

    wire = await Wire.connect(server.addresses[0])
    for _ in range(100):
        wire.send("x")
    await asyncio.sleep(0.1)  # for the queue to fill
    gc.collect()
    may_receive.set()
    for _ in range(99):
        assert await wire.receive_message() == "x"


async def test_newcomers_are_not_cut_by_a_collection(start_server: StartServer) -> None:
    server = await start_server(proxy_protocol="127.0.0.0/8")
    waiting = never_answer(server)
    wires = [await Wire.open(server.addresses[0]) for _ in range(4)]
    wires[1].write(PROXY[:10])
    wires[2].write(PROXY + b"GET /")
    wires[3].write(PROXY + GET)
    await wait_until(lambda: waiting and transport_count(server) == 4)
    gc.collect()
    assert transport_count(server) == 4
    wires[0].write(PROXY)
    wires[1].write(PROXY[10:])
    for wire in wires[:2]:
        wire.write(build_request(upgrade_headers()))
        assert (await wire.receive_head()).status == 101
    wires[2].write(b" HTTP/1.1\r\nHost: a\r\n\r\n")
    assert (await receive_answer(wires[2])).body == b"here"
    await server.close(drain=0.2)
    assert not transport_count(server)


async def test_what_is_dropped_is_held_no_more(start_server: StartServer) -> None:
    """Whoever goes in whatever order, nothing of them stays but empty places."""
    server = await start_server()
    wires = [await Wire.connect(server.addresses[0]) for _ in range(8)]
    await wait_until(lambda: len(server.connections) == 8)
    conns = list(server.connections)
    for place in (3, 0, 7, 5):
        await wires[place].close()
    await wait_until(lambda: transport_count(server) == 4)
    gc.collect()
    for place in (1, 2, 4, 6):
        await conns[place].send("still there")
        assert await wires[place].receive_message() == "still there"
    newcomer = await Wire.connect(server.addresses[0])
    await wait_until(lambda: transport_count(server) == 5)
    await newcomer.close()
    await wait_until(lambda: transport_count(server) == 4)

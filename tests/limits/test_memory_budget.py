"""The memory of all connections together: who is let in, and who has to go."""

import asyncio

import pytest
import reference
from conftest import StartServer
from http_wire import receive_answer
from reference import BINARY, Frame
from stories import Stories, Story, Telling, count_hits
from wire import Wire, connect_both, wait_until

import sockwave

STORIES = Stories()

BUDGET = 1_000_000
LOOK_S = 0.1


@pytest.mark.parametrize("story", STORIES, ids=str)
async def test_limit_holds_at_its_value_and_bites_one_past_it(
    story: Story, start_server: StartServer
) -> None:
    await story.play(start_server)


async def hold(server: sockwave.Server, size: int) -> Wire:
    """Let the server hold so many bytes: a message that nobody takes."""
    wire, conn = await connect_both(server)
    conn._expect_handler()
    wire.send(b"x" * size)
    await wait_until(lambda: server._host.hub.measure(()) >= size)
    return wire


async def look_twice() -> None:
    """Let the server look at its memory."""
    await asyncio.sleep(3 * LOOK_S)


async def knock(server: sockwave.Server) -> int:
    """Try to open a WebSocket, and give the status."""
    wire = await Wire.open(server.addresses[0])
    return (await receive_answer(wire)).status


@STORIES.about("memory_budget", memory_budget=BUDGET)
async def newcomer_at_nine_tenths(server: sockwave.Server) -> Telling:
    await hold(server, BUDGET // 10 * 9 - 1)
    await look_twice()
    await Wire.connect(server.addresses[0])
    yield None
    await hold(server, 1)
    await look_twice()
    yield await knock(server)


@STORIES.about("memory_budget", memory_budget=BUDGET)
async def client_that_holds_the_most(server: sockwave.Server) -> Telling:
    small = await hold(server, BUDGET // 100 * 40)
    large = await hold(server, BUDGET // 100 * 49)
    last = await hold(server, 1)
    await look_twice()
    yield None
    last.send(b"x" * (BUDGET // 100 * 6))
    code = (await large.receive_close())[0]
    await small.receive_nothing()
    yield code


@pytest.mark.slow
async def test_slowest_goes_and_the_others_stay(start_server: StartServer) -> None:
    server = await start_server(memory_budget=BUDGET, max_backlog=None, close_timeout=0.5)
    codes: list[tuple[int, int]] = []
    clients = [await connect_both(server) for _ in range(4)]
    for i, (wire, conn) in enumerate(clients):
        wire.pause_reading()
        conn.on("close", lambda code, *, i=i: codes.append((i, code)))
        # What a kernel takes beside differs: so the last one holds the most by far.
        most = 100_000 if i < 3 else BUDGET
        while conn.backlog_size < most and not server.limit_hits["memory_budget"]:
            conn.send(b"x" * 10_000)
            await asyncio.sleep(0)
    await wait_until(lambda: codes)
    await look_twice()
    assert codes == [(3, 1013)]
    assert server._host.hub.measure(()) < BUDGET
    assert count_hits(server)["memory_budget"] == 1
    for _, conn in clients:
        conn.abort()


async def test_half_a_message_counts_and_is_shed(start_server: StartServer) -> None:
    server = await start_server(memory_budget=BUDGET)
    wires = [await Wire.connect(server.addresses[0]) for _ in range(3)]
    for wire, size in zip(wires, (100_000, 100_000, 760_000), strict=True):
        wire.write(reference.serialize_header(Frame(BINARY), 800_000) + b"x" * size)
    assert (await wires[2].receive_close())[0] == 1013
    await wait_until(lambda: server._host.hub.measure(()) < BUDGET)
    for wire in wires[:2]:
        await wire.receive_nothing()
    assert count_hits(server) == {"memory_budget": 1}


async def test_requests_and_answers_count_too(start_server: StartServer) -> None:
    server = await start_server(memory_budget=BUDGET, high_water=5_000_000, max_backlog=6_000_000)

    @server.on("request")
    def request(req: sockwave.Request, res: sockwave.Response) -> None:
        res.end(b"x" * 8_000_000)

    wire = await Wire.open(server.addresses[0], receive_buffer_size=4096)
    wire.pause_reading()
    wire.write(b"GET / HTTP/1.1\r\nHost: example.com\r\n\r\n")
    await wait_until(lambda: server.limit_hits["memory_budget"])
    assert count_hits(server)["memory_budget"] == 1
    await wait_until(
        lambda: not any(connection.held_size for connection in server._host.http.connections)
    )
    await look_twice()
    await Wire.connect(server.addresses[0])


@pytest.mark.slow
async def test_heads_that_have_begun_count_too_and_the_longest_go(
    start_server: StartServer,
) -> None:
    server = await start_server(memory_budget=BUDGET, max_handshakes=None, handshake_timeout=None)
    begun = b"GET / HTTP/1.1\r\nX: "
    sizes = [1000] * 920 + [1024] * 20
    wires = [await Wire.open(server.addresses[0]) for _ in sizes]
    # Before anybody has sent anything: who comes while memory is short is turned away.
    await wait_until(lambda: len(server._host.not_upgraded()) == len(wires))
    for wire, size in zip(wires, sizes, strict=True):
        wire.write(begun.ljust(size, b"x"))
    await wait_until(lambda: server._host.hub.is_memory_low)
    assert await knock(server) == 503
    assert server.limit_hits["memory_budget"] == 1  # who knocked, and nobody else yet
    for wire in wires[:11]:
        wire.write(b"x" * 1000)
    await wait_until(lambda: server.limit_hits["memory_budget"] > 1)
    await wait_until(
        lambda: sum(guest.held_size for guest in server._host.not_upgraded()) < 0.95 * BUDGET
    )
    for wire in wires:
        wire.reset()


async def test_room_that_is_made_lets_newcomers_in(start_server: StartServer) -> None:
    server = await start_server(memory_budget=BUDGET)
    wire = await hold(server, BUDGET // 100 * 92)
    await look_twice()
    assert await knock(server) == 503
    await wire.close()
    await wait_until(lambda: not server.connections)
    await look_twice()
    await Wire.connect(server.addresses[0])


async def test_without_a_budget_nothing_is_looked_at(start_server: StartServer) -> None:
    server = await start_server()
    await hold(server, BUDGET)
    await look_twice()
    await Wire.connect(server.addresses[0])
    assert count_hits(server) == {}

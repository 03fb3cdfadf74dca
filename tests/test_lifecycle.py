"""From the first connection to the last: nothing is left behind."""

import asyncio
import gc
import sys

import pytest
import reference
from conftest import StartServer, echo
from reference import BINARY, TEXT, Frame
from wire import (
    Wire,
    assert_echoes,
    build_request,
    connect_both,
    count_descriptors,
    count_turns,
    let_arrive,
    measure_resident_size,
    wait_until,
)

import sockwave


async def churn(server: sockwave.Server, count: int) -> None:
    """Connect and disconnect so many clients, each in one of four ways, ten at a time."""

    async def visit(number: int) -> None:
        wire = await Wire.connect(server.addresses[0])
        wire.send(f"{number}")
        assert await wire.receive_message() == f"{number}"
        match number % 4:
            case 0:
                await wire.shake_close()
            case 1:
                wire.write(reference.serialize_header(Frame(BINARY), 1000) + b"half")
            case 2:
                wire.reset()
            case 3:
                wire.write(b"\xff\xff")
                await wire.expect_failure(reference.PROTOCOL_ERROR)
        await wire.close()

    for start in range(0, count, 10):
        await asyncio.gather(*(visit(start + i) for i in range(10)))
    await wait_until(lambda: not server.connections)


@pytest.mark.skipif(sys.platform != "linux", reason="/proc tells the memory")
@pytest.mark.slow
async def test_a_thousand_clients_come_and_go_and_leave_nothing_behind(
    echo_server: sockwave.Server,
) -> None:
    await churn(echo_server, 200)
    gc.collect()
    descriptors, memory = count_descriptors(), measure_resident_size()
    await churn(echo_server, 1000)
    await wait_until(lambda: count_descriptors() <= descriptors, "the descriptors")
    gc.collect()
    assert len(echo_server.connections) == 0
    assert measure_resident_size() - memory < 3 * 2**20  # 1000 leaked connections would be more
    await assert_echoes(echo_server)


@pytest.mark.slow
async def test_connections_that_have_gone_are_not_kept_alive(start_server: StartServer) -> None:
    server = await start_server()
    echo(server)
    ids = set()
    for _ in range(5):
        wire, conn = await connect_both(server)
        ids.add(conn.id)
        conn.on("close", lambda: None)
        conn.data["me"] = conn  # a cycle of the application's own
        await wire.shake_close()
        await wire.close()
        del conn
    await wait_until(lambda: not server.connections)
    gc.collect()
    found = [thing for thing in gc.get_objects() if isinstance(thing, sockwave.Connection)]
    assert not [conn for conn in found if conn.id in ids]


async def test_idle_server_rests_after_a_storm_of_resets(start_server: StartServer) -> None:
    server = await start_server()
    echo(server)
    half = build_request({"Host": "x"})[:10]
    for size in range(0, 60, 3):
        wire = await Wire.open(server.addresses[0])
        wire.write(half)
        await asyncio.sleep(0)
        wire.reset()
        wire = await Wire.connect(server.addresses[0])
        wire.write(reference.serialize(Frame(TEXT, b"x" * 50))[:size])
        wire.write_eof()
        if size % 2:
            await asyncio.sleep(0)
        wire.reset()
    await wait_until(lambda: not server.connections)
    await let_arrive()
    assert await count_turns(server.loop, 0.2) < 50, "the loop spins"

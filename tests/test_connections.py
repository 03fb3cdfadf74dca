"""The view of the connected clients: by identity and by number."""

import asyncio

import pytest
from conftest import StartServer
from wire import Wire, build_request, connect_both, upgrade_headers, wait_until

import sockwave


async def test_a_connection_is_found_by_itself_and_by_its_id(start_server: StartServer) -> None:
    server, other = await start_server(), await start_server()
    wire, conn = await connect_both(server)
    _, stranger = await connect_both(other)
    assert None not in server.connections
    for number in (0, -1, 2**64 - 1, 2**64):
        assert number not in server.connections
        assert server.connections.get(number) is None
    for name in (conn, conn.id):
        assert name in server.connections
        assert name not in other.connections
    assert stranger not in server.connections
    assert "conn" not in server.connections
    assert server.connections[conn.id] is conn
    assert server.connections.get(conn.id) is conn
    assert server.connections.get(stranger.id) is None
    with pytest.raises(KeyError):
        server.connections[stranger.id]
    await wire.shake_close()
    await wait_until(lambda: conn not in server.connections)
    assert conn.ready_state == sockwave.ReadyState.CLOSED
    assert server.connections.get(conn.id) is None


async def test_connections_stand_in_the_order_in_which_they_came(start_server: StartServer) -> None:
    asked, gate = asyncio.Event(), asyncio.Event()

    async def authorize(handshake: sockwave.Handshake) -> None:
        if handshake.request.path == "/late":
            asked.set()
            await gate.wait()

    server = await start_server(authorize=authorize)
    late = await Wire.open(server.addresses[0])
    late.write(build_request(upgrade_headers(), target="/late"))
    await asked.wait()
    connected = [(await connect_both(server))[1] for _ in range(3)]
    gate.set()
    assert (await late.receive_head()).status == 101
    await wait_until(lambda: len(server.connections) == 4)
    first, *others = server.connections
    assert first.request.path == "/late"
    assert others == connected
    assert server.connections[first.id] is first


async def test_those_who_stay_keep_their_order_while_many_leave(start_server: StartServer) -> None:
    server = await start_server()
    connected = [(await connect_both(server))[1] for _ in range(60)]
    staying = connected[::6]
    for conn in connected:
        if conn not in staying:
            conn.abort()
    await wait_until(lambda: len(server.connections) == len(staying))
    assert list(server.connections) == staying
    _, newcomer = await connect_both(server)
    assert list(server.connections) == [*staying, newcomer]
    for conn in connected:
        assert server.connections.get(conn.id) is (conn if conn in staying else None)
    assert server.broadcast("to all") == len(staying) + 1

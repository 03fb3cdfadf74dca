"""The view of the connected clients: by identity and by number."""

import pytest
from conftest import StartServer
from wire import connect_both, wait_until

import sockwave


async def test_a_connection_is_found_by_itself_and_by_its_id(start_server: StartServer) -> None:
    server, other = await start_server(), await start_server()
    wire, conn = await connect_both(server)
    _, stranger = await connect_both(other)
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

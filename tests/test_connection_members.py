"""What a connection tells of itself."""

import pytest
from conftest import StartServer
from wire import (
    Wire,
    connect_both,
    wait_until,
)

import sockwave
from sockwave import ReadyState


async def test_connection_tells_who_and_where(start_server: StartServer) -> None:
    server = await start_server()
    wire, conn = await connect_both(server)
    assert conn.version == "rfc6455"
    assert conn.carrier == "http/1.1"
    assert conn.subprotocol is None
    assert conn.remote_address == wire.writer.get_extra_info("sockname")
    assert conn.local_address == server.addresses[0]
    assert conn.request.path == "/"
    assert conn.latency is None
    assert conn.close_code is None
    assert conn.close_reason is None
    assert str(conn.id).isprintable()
    assert " " not in str(conn.id)
    await wire.close()


async def test_data_is_a_dict_of_the_applications_own(start_server: StartServer) -> None:
    server = await start_server()
    one, first = await connect_both(server)
    two, second = await connect_both(server)
    assert first.data == {}
    first.data["name"] = "first"
    assert first.data == {"name": "first"}
    assert second.data == {}
    await one.close()
    await two.close()


async def test_ids_are_unique_and_never_used_again(start_server: StartServer) -> None:
    servers = [await start_server(), await start_server()]
    seen: list[object] = []
    for _ in range(20):
        for server in servers:
            wire, conn = await connect_both(server)
            seen.append(conn.id)
            await wire.close()
    assert len(set(seen)) == 40


async def test_connections_is_a_live_view(start_server: StartServer) -> None:
    server = await start_server()
    view = server.connections
    assert len(view) == 0
    assert list(view) == []
    one, first = await connect_both(server)
    two, second = await connect_both(server)
    assert len(view) == 2
    assert set(view) == {first, second}
    assert view[first.id] is first
    assert view[second.id] is second
    assert first in view
    await one.shake_close()
    await one.close()
    await wait_until(lambda: len(view) == 1)
    assert list(view) == [second]
    with pytest.raises(KeyError):
        view[first.id]
    await two.close()
    await wait_until(lambda: len(view) == 0)
    assert not view


async def test_connections_is_a_live_view_from_before_the_start(engine: str) -> None:
    server = sockwave.create_server(engine=engine)
    view = server.connections
    assert len(view) == 0
    server.listen(0, "127.0.0.1")
    async with server:
        wire, conn = await connect_both(server)
        assert list(view) == [conn]
        assert view[conn.id] is conn
        await wire.close()
        await wait_until(lambda: not view)


async def test_connections_may_go_while_they_are_listed(start_server: StartServer) -> None:
    server = await start_server()
    wires = [await Wire.connect(server.addresses[0]) for _ in range(10)]
    await wait_until(lambda: len(server.connections) == 10)
    for conn in server.connections:
        conn.abort()
    await wait_until(lambda: not server.connections)
    for wire in wires:
        await wire.receive_end()
        await wire.close()


async def test_ready_states_are_the_ancestors_numbers() -> None:
    assert [(state.name, int(state)) for state in ReadyState] == [
        ("UNKNOWN", 0),
        ("OPENING", 1),
        ("WAITING", 2),
        ("HANDSHAKING", 3),
        ("CONNECTED", 4),
        ("CLOSED", 5),
    ]


async def test_states_change_in_order_on_server_and_connection(start_server: StartServer) -> None:
    server = await start_server()
    seen: list[tuple[str, object]] = []
    server.on("readyStateChange", lambda conn, state: seen.append(("server", state)))

    @server.on("connection")
    def connected(conn: sockwave.Connection) -> None:
        seen.append(("connection", conn.ready_state))
        conn.on("readyStateChange", lambda state: seen.append(("conn", state)))
        conn.on("close", lambda: seen.append(("close", conn.ready_state)))

    wire = await Wire.connect(server.addresses[0])
    await wire.shake_close()
    await wire.close()
    await wait_until(lambda: seen[-1][0] == "close")
    assert [entry for entry in seen if entry[0] != "conn"] == [
        ("server", ReadyState.OPENING),
        ("server", ReadyState.HANDSHAKING),
        ("server", ReadyState.CONNECTED),
        ("connection", ReadyState.CONNECTED),
        ("server", ReadyState.CLOSED),
        ("close", ReadyState.CLOSED),
    ]
    assert [entry[1] for entry in seen if entry[0] == "conn"] == [ReadyState.CLOSED]
    assert all(isinstance(entry[1], ReadyState) for entry in seen)

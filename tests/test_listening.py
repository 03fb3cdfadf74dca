"""Listening: the event, the addresses, what cannot be listened on."""

import re
import socket
from pathlib import Path
from typing import Any

import pytest
from conftest import ErrorLog, StartServer, echo
from wire import (
    Wire,
    assert_echoes,
    build_request,
    wait_until,
)

import sockwave


async def test_listening_event_comes_after_listen(engine: str) -> None:
    server = sockwave.create_server(engine=engine)
    told: list[object] = []
    server.on("listening", lambda: told.append(server.addresses))
    server.listen(0, "127.0.0.1")
    async with server:
        await wait_until(lambda: told)
        assert len(told) == 1
        (host, port) = server.addresses[0]
        assert host == "127.0.0.1"
        assert port > 0


async def test_port_in_use_raises_in_listen_and_names_the_address(
    start_server: StartServer, engine: str
) -> None:
    first = await start_server()
    host, port = first.addresses[0]
    second = sockwave.create_server(engine=engine)
    with pytest.raises(OSError, match=re.escape(f"{host}:{port}")):
        second.listen(port, host)
    await assert_echoes(first)


async def test_server_listens_at_several_addresses(start_server: StartServer) -> None:
    server = await start_server()
    server.listen(0, "127.0.0.1")
    assert len(set(server.addresses)) == 2
    for address in server.addresses:
        wire = await Wire.connect(address)
        await wire.close()


async def test_server_listens_at_a_unix_socket(start_server: StartServer, tmp_path: Path) -> None:
    server = await start_server()
    path = tmp_path / "socket"
    server.listen(0, path=str(path))
    echo(server)
    assert str(path) in [str(address) for address in server.addresses]
    wire = await Wire.connect(path)
    wire.send("by file")
    assert await wire.receive_message() == "by file"
    await wire.close()


async def test_server_listens_at_a_socket_made_elsewhere(engine: str, error_log: ErrorLog) -> None:
    sock = socket.create_server(("127.0.0.1", 0))
    server = sockwave.create_server(engine=engine)
    server.listen(0, sock=sock)
    async with server:
        assert server.addresses == [sock.getsockname()]
        await assert_echoes(server)
    assert not error_log.records


async def test_without_a_host_all_interfaces_are_listened_at(engine: str) -> None:
    server = sockwave.create_server(engine=engine)
    server.listen(0)
    async with server:
        port = server.addresses[0][1]
        wire = await Wire.connect(("127.0.0.1", port))
        await wire.close()


async def test_stream_event_sees_a_connection_before_any_byte(start_server: StartServer) -> None:
    server = await start_server()
    streams: list[Any] = []
    server.on("stream", streams.append)
    wire = await Wire.open(server.addresses[0])
    await wait_until(lambda: streams)
    assert tuple(streams[0].remote_address) == wire.writer.get_extra_info("sockname")
    wire.write(build_request({"Host": "x"}))
    assert (await wire.receive_head()).status == 426
    await wire.close()


async def test_stream_listener_may_turn_a_peer_away(start_server: StartServer) -> None:
    server = await start_server()
    server.once("stream", lambda stream: stream.close())
    wire = await Wire.open(server.addresses[0])
    await wire.receive_end()
    await wire.close()
    await assert_echoes(server)

"""The server as a whole: what leaves together, and what it says of itself."""

import asyncio
import socket
import struct
import sys
from pathlib import Path

import pytest
from conftest import StartServer, echo
from wire import Wire, connect_both, count_descriptors, reset_at_close, wait_until

import sockwave

# Where struct tcp_info of Linux counts the segments that came with data.
DATA_SEGMENTS = slice(152, 156)


def count_segments(peer: socket.socket) -> int:
    """Say how many segments with data a socket has received: one for each write of its peer."""
    info = peer.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 192)
    return int(struct.unpack("=I", info[DATA_SEGMENTS])[0])


linux_only = pytest.mark.skipif(sys.platform != "linux", reason="tcp_info is Linux's")


@linux_only
async def test_what_one_turn_of_the_loop_sends_leaves_in_one_write(
    start_server: StartServer,
) -> None:
    server = await start_server()
    wire, conn = await connect_both(server)
    peer = wire.writer.get_extra_info("socket")
    before = count_segments(peer)
    for i in range(8):
        server.broadcast(f"broadcast {i}")
        conn.send(b"x" * 500)
        server.broadcast(b"y" * 2000)
    for i in range(8):
        assert await wire.receive_message() == f"broadcast {i}"
        assert await wire.receive_message() == b"x" * 500
        assert await wire.receive_message() == b"y" * 2000
    assert count_segments(peer) - before == 1
    await wire.close()


@linux_only
async def test_replies_to_one_read_leave_in_one_write(start_server: StartServer) -> None:
    server = await start_server()
    wire, conn = await connect_both(server)

    @conn.on("message")
    def message(text: str) -> None:
        conn.send(text)
        server.broadcast(text)

    peer = wire.writer.get_extra_info("socket")
    before = count_segments(peer)
    wire.write(b"".join(b"\x81\x82\0\0\0\0%02d" % i for i in range(50)))
    for i in range(50):
        assert await wire.receive_message() == f"{i:02}"
        assert await wire.receive_message() == f"{i:02}"
    assert count_segments(peer) - before == 1
    await wire.close()


async def test_server_says_where_it_listens_and_for_how_many(start_server: StartServer) -> None:
    server = await start_server()
    wire, _ = await connect_both(server)
    assert repr(server) == f"<Server on {server.addresses[0]}, 1 connected>"
    assert repr(server.connections) == "<Connections 1>"
    await wire.close()


async def test_loop_of_a_server_is_known_while_it_runs(start_server: StartServer) -> None:
    assert (await start_server()).loop is asyncio.get_running_loop()
    with pytest.raises(sockwave.SockwaveError, match="does not run yet"):
        _ = sockwave.create_server().loop


def test_server_shows_no_more_than_its_class() -> None:
    def shown(what: object) -> set[str]:
        return {name for name in dir(what) if not name.startswith("_")}

    assert shown(sockwave.create_server()) == shown(sockwave.Server)


async def test_server_cannot_be_run_where_a_loop_runs() -> None:
    server = sockwave.create_server()
    server.listen(0, "127.0.0.1")
    with pytest.raises(sockwave.SockwaveError, match="serve_forever"):
        server.run()
    await server.close()


async def test_closed_server_removes_the_name_of_its_unix_socket(
    engine: str, tmp_path: Path
) -> None:
    path = tmp_path / "socket"
    server = sockwave.create_server(engine=engine)
    server.listen(path=str(path))
    async with server:
        assert path.is_socket()
        with pytest.raises(OSError, match="already in use"):
            sockwave.create_server().listen(path=str(path))
    assert not path.exists()


async def test_unix_socket_that_a_dead_server_left_behind_is_replaced(
    engine: str, tmp_path: Path
) -> None:
    path = tmp_path / "socket"
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(path))
    async with sockwave.create_server(engine=engine).listen(path=str(path)) as server:
        echo(server)
        async with await Wire.connect(path) as wire:
            wire.send("to the one that lives")
            assert await wire.receive_message() == "to the one that lives"
    assert not path.exists()


async def test_server_that_has_been_closed_neither_listens_nor_runs_again() -> None:
    server = sockwave.create_server()
    await server.close()
    with pytest.raises(sockwave.SockwaveError, match="closed"):
        server.listen(0, "127.0.0.1")
    with pytest.raises(sockwave.SockwaveError, match="closed"):
        await server.start()


async def test_a_client_that_resets_as_the_server_closes_does_no_harm(
    start_server: StartServer,
) -> None:
    server = await start_server()
    accepted: list[sockwave.AcceptedSocket] = []
    server.on("stream", accepted.append)
    address = server.addresses[0]
    before = count_descriptors()
    client = socket.create_connection(address)
    await wait_until(lambda: accepted)
    reset_at_close(client)
    client.close()  # with RST, of which the loop has not heard when the server closes
    await server.close()
    assert not server.connections
    with pytest.raises(ConnectionRefusedError):
        await Wire.open(address)
    await wait_until(lambda: count_descriptors() < before, "the end of its socket")

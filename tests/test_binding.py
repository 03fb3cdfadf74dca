"""Listening sockets: which addresses are taken, and what is left behind where one cannot be had."""

import errno
import socket
from pathlib import Path
from typing import Any

import pytest
from conftest import ErrorLog, StartServer, echo
from wire import Wire, count_descriptors, wait_until

import sockwave


@pytest.mark.parametrize("port", [-1, 65536, "80", 80.0, True, None])
def test_a_port_out_of_range_is_refused(port: Any) -> None:
    with pytest.raises(ValueError, match=f"port: expected 0 to 65535, given {port!r}"):
        sockwave.create_server().listen(port, "127.0.0.1")


def test_a_port_that_one_family_cannot_have_is_taken_in_none() -> None:
    with socket.socket(socket.AF_INET6) as other:
        other.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        other.bind(("::", 0))
        other.listen()
        port = other.getsockname()[1]
        before = count_descriptors()
        server = sockwave.create_server()
        with pytest.raises(OSError, match=f":{port}") as raised:
            server.listen(port)
        assert raised.value.errno == errno.EADDRINUSE
        assert server.addresses == []
        assert count_descriptors() == before


def test_one_family_is_enough_where_the_system_lacks_the_other(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # What a resolver says on a system that knows of IPv6 and has switched it off.
    stranger = "192.0.2.1"  # RFC 5737: nobody's address
    found = [
        (socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", (host, 0))
        for host in ("127.0.0.1", stranger)
    ]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: found)
    server = sockwave.create_server().listen(0)
    assert [host for host, _ in server.addresses] == ["127.0.0.1"]
    server.close()
    with pytest.raises(OSError, match=stranger):
        sockwave.create_server().listen(0, stranger)


def test_a_datagram_socket_is_refused() -> None:
    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock,
        pytest.raises(ValueError, match="sock: expected a stream socket"),
    ):
        sockwave.create_server().listen(sock=sock)


async def test_a_unix_socket_made_elsewhere_is_listened_at(
    start_server: StartServer, tmp_path: Path
) -> None:
    server = await start_server()
    echo(server)
    path = tmp_path / "made.sock"
    made = socket.socket(socket.AF_UNIX)
    made.bind(str(path))
    server.listen(sock=made)
    await wait_until(lambda: str(path) in server.addresses)
    wire = await Wire.connect(path)
    wire.send("here")
    assert await wire.receive_message() == "here"


def test_a_file_in_the_way_of_a_unix_socket_stays(tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("keep me")
    with pytest.raises(OSError, match=str(path)) as raised:
        sockwave.create_server().listen(path=str(path))
    assert raised.value.errno == errno.EADDRINUSE
    assert path.read_text() == "keep me"


async def test_ipv6_peers_are_served_and_named(engine: str, error_log: ErrorLog) -> None:
    server = sockwave.create_server(engine=engine).listen(0, "::1")
    named: list[Any] = []
    server.on("stream", lambda stream: named.append((stream.local_address, stream.remote_address)))
    server.on("connection", lambda conn: named.append((conn.local_address, conn.remote_address)))
    echo(server)
    async with server:
        wire = await Wire.connect(server.addresses[0])
        wire.send("over IPv6")
        assert await wire.receive_message() == "over IPv6"
        own = tuple(wire.writer.get_extra_info("sockname")[:2])
        assert named == [(server.addresses[0], own)] * 2
        await wire.close()

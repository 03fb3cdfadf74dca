"""Listening sockets: which addresses are taken, and what is left behind where one cannot be had."""

import errno
import gc
import socket
import sys
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from typing import Any

import pytest
from commands import PATIENCE_S, Process, started, stop
from conftest import ErrorLog, StartServer, echo
from websockets.sync.client import ClientConnection, connect
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


@pytest.mark.skipif(not hasattr(socket, "SO_REUSEPORT"), reason="needs shared ports")
def test_a_port_is_shared_by_those_alone_who_ask_for_it() -> None:
    with_others = sockwave.create_server().listen(0, "127.0.0.1", reuse_port=True)
    _, port = with_others.addresses[0]
    sockwave.create_server().listen(port, "127.0.0.1", reuse_port=True).close()
    with pytest.raises(OSError, match=f"127.0.0.1:{port}") as raised:
        sockwave.create_server().listen(port, "127.0.0.1")
    assert raised.value.errno == errno.EADDRINUSE
    with_others.close()
    alone = sockwave.create_server().listen(port, "127.0.0.1")
    with pytest.raises(OSError, match=f"127.0.0.1:{port}") as raised:
        sockwave.create_server().listen(port, "127.0.0.1", reuse_port=True)
    assert raised.value.errno == errno.EADDRINUSE
    alone.close()


def test_a_system_that_shares_no_port_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(socket, "SO_REUSEPORT", raising=False)
    before = count_descriptors()
    with pytest.raises(
        OSError, match=r"cannot listen on 127\.0\.0\.1:0: no SO_REUSEPORT"
    ) as raised:
        sockwave.create_server().listen(0, "127.0.0.1", reuse_port=True)
    assert raised.value.errno == errno.ENOPROTOOPT
    assert count_descriptors() == before


def test_nothing_but_a_port_is_shared(tmp_path: Path) -> None:
    path = tmp_path / "shared.sock"
    with pytest.raises(ValueError, match="reuse_port: expected with a port, not with path"):
        sockwave.create_server().listen(path=str(path), reuse_port=True)
    assert not path.exists()
    with (
        socket.socket() as made,
        pytest.raises(ValueError, match="reuse_port: expected with a port, not with sock"),
    ):
        sockwave.create_server().listen(sock=made, reuse_port=True)


SHARING = """
import os, sys, sockwave

async def answer(conn):
    async for _ in conn:
        await conn.send(str(os.getpid()))

server = sockwave.serve(
    answer, "127.0.0.1", int(sys.argv[1]), reuse_port=True, engine=sys.argv[2]
)
server.on("listening", lambda: print(server.addresses[0][1], flush=True))
server.run()
"""


def start_sharing(port: int, engine: str) -> AbstractContextManager[Process]:
    return started("-c", SHARING, str(port), engine)


def read_port(process: Process) -> int:
    assert process.stdout
    return int(process.stdout.readline())


def ask_who(client: ClientConnection) -> int:
    client.send("who?")
    return int(client.recv(PATIENCE_S))


@pytest.mark.skipif(sys.platform != "linux", reason="Linux alone spreads the connections")
@pytest.mark.slow
def test_processes_that_share_a_port_serve_it_together_and_each_alone(engine: str) -> None:
    with ExitStack() as stack:
        first = stack.enter_context(start_sharing(0, engine))
        port = read_port(first)
        second = stack.enter_context(start_sharing(port, engine))
        assert read_port(second) == port
        # All with one of the two would be one time in 2**63.
        clients = [stack.enter_context(connect(f"ws://127.0.0.1:{port}")) for _ in range(64)]
        served = [(ask_who(client), client) for client in clients]
        assert {who for who, _ in served} == {first.pid, second.pid}
        assert stop(first) == (0, "")
        for who, client in served:
            if who == second.pid:
                assert ask_who(client) == second.pid
        for _ in range(64):
            with connect(f"ws://127.0.0.1:{port}") as client:
                assert ask_who(client) == second.pid
        assert stop(second) == (0, "")


def test_what_is_no_path_and_no_socket_is_not_touched(tmp_path: Path) -> None:
    left, right = socket.socketpair()
    with left, right:
        server = sockwave.create_server()
        for path in (left.fileno(), True, left, b"socket"):
            with pytest.raises(TypeError, match="path: expected a path"):
                server.listen(path=path)  # type: ignore[arg-type]
        for sock in (left.fileno(), True, "socket"):
            with pytest.raises(TypeError, match=r"sock: expected a socket\.socket, given "):
                server.listen(sock=sock)  # type: ignore[arg-type]
        for cert, key in ((left.fileno(), None), (True, None), ("cert", left.fileno())):
            with pytest.raises(TypeError, match=r"(cert|key): expected a path \(str, bytes or "):
                server.reload_tls(cert, key)  # type: ignore[arg-type]
        server.close()
        gc.collect()
        left.send(b"still there")
        assert right.recv(100) == b"still there"
    named = sockwave.create_server().listen(path=tmp_path / "socket")
    assert named.addresses == [str(tmp_path / "socket")]
    named.close()

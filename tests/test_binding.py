"""Listening sockets: which addresses are taken, and what is left behind where one cannot be had."""

import contextlib
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


# ---- what one expects without reading


@pytest.mark.parametrize("swapped", [False, True])
def test_a_port_and_a_host_are_understood_in_either_order(swapped: bool) -> None:
    async def handler(conn: sockwave.Connection) -> None:
        """Do nothing."""

    order: list[Any] = [0, "127.0.0.1"]
    server = sockwave.create_server().listen(*(order[::-1] if swapped else order))
    host, port = server.addresses[0]
    assert host == "127.0.0.1"
    with pytest.raises(OSError, match=f"cannot listen on 127.0.0.1:{port}: "):
        sockwave.create_server().listen(*([host, port] if swapped else [port, host]))
    with pytest.raises(OSError, match=f"cannot listen on 127.0.0.1:{port}: "):
        sockwave.serve(handler, *([port, host] if swapped else [host, port]))
    server.close()


def test_a_port_alone_is_understood_and_a_host_alone_is_not() -> None:
    async def handler(conn: sockwave.Connection) -> None:
        """Do nothing."""

    server = sockwave.create_server().listen(0)
    port = server.addresses[0][1]
    with pytest.raises(OSError, match=rf"cannot listen on \S*:{port}: "):
        sockwave.serve(handler, port)  # type: ignore[arg-type]
    for arguments in (("127.0.0.1",), ("127.0.0.1", "localhost")):
        with pytest.raises(ValueError, match=r"port: .*given '127\.0\.0\.1' \(a host stands"):
            sockwave.create_server().listen(*arguments)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="host: expected a name, an address or None, given 80"):
        sockwave.create_server().listen(8000, 80)  # type: ignore[arg-type]
    server.close()


@pytest.mark.parametrize("host", ["::", "0::0", None])
async def test_all_interfaces_are_those_of_both_families(
    start_server: StartServer, host: str | None
) -> None:
    server = await start_server()
    server.listen(0, host)
    await wait_until(lambda: len(server.addresses) == 3)
    (_, port), (_, other) = server.addresses[1:]
    assert port == other
    echo(server)
    named: list[Any] = []
    server.on("connection", lambda conn: named.append(conn.remote_address[0]))
    for local in ("127.0.0.1", "::1"):
        wire = await Wire.connect((local, port))
        wire.send("here")
        assert await wire.receive_message() == "here"
    assert named == ["127.0.0.1", "::1"]


@pytest.mark.parametrize("taken_count", [3, 10])
def test_port_0_is_one_that_is_free_at_all_addresses(
    monkeypatch: pytest.MonkeyPatch, taken_count: int
) -> None:
    """What IPv6 is given may be in use in IPv4, if only by somebody's outgoing connection."""
    bind = socket.socket.bind
    others: list[socket.socket] = []
    tried: list[socket.socket] = []

    class Raced(socket.socket):
        """A socket whose port is taken in the other family as soon as it has one."""

        def bind(self, address: Any) -> None:
            bind(self, address)
            if self.family == socket.AF_INET6:
                tried.append(self)
                if len(tried) <= taken_count:
                    # An OSError: somebody else has taken it already.
                    with contextlib.suppress(OSError):
                        other = socket.create_server(("0.0.0.0", self.getsockname()[1]))
                        others.append(other)

    monkeypatch.setattr(socket, "socket", Raced)
    server = sockwave.create_server()
    try:
        if taken_count < 10:
            server.listen(0, "::")
            assert server.addresses[0][1] == server.addresses[1][1]
        else:
            with pytest.raises(OSError, match=r"cannot listen on 0\.0\.0\.0:\d+: Address already"):
                server.listen(0, "::")
            assert server.addresses == []
    finally:
        for other in others:
            other.close()
    # Beside those of the test, some may be in use by others.
    assert min(taken_count + 1, 10) <= len(tried) <= 10
    assert [sock.fileno() for sock in tried[:taken_count]] == [-1] * taken_count
    server.close()


def test_ipv6_is_enough_where_the_system_has_no_ipv4(monkeypatch: pytest.MonkeyPatch) -> None:
    bind = socket.socket.bind

    class WithoutIPv4(socket.socket):
        """A socket of a system that has switched IPv4 off."""

        def bind(self, address: Any) -> None:
            if self.family == socket.AF_INET:
                raise OSError(errno.EADDRNOTAVAIL, "Cannot assign requested address")
            bind(self, address)

    monkeypatch.setattr(socket, "socket", WithoutIPv4)
    server = sockwave.create_server().listen(0, "::")
    assert [host for host, _ in server.addresses] == ["::"]
    server.close()


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="abstract names are Linux's")
async def test_an_abstract_unix_socket_is_listened_at(
    start_server: StartServer, tmp_path: Path
) -> None:
    server = await start_server()
    echo(server)
    name = f"\0sockwave-{tmp_path}"
    seen: list[Any] = []
    server.on("connection", lambda conn: seen.append((conn.remote_address, conn.local_address)))
    server.listen(path=name)
    assert server.addresses[1:] == [name]
    wire = await Wire.connect(name)
    wire.send("here")
    assert await wire.receive_message() == "here"
    assert seen == [(("", 0), name)]
    with pytest.raises(OSError, match="cannot listen on @sockwave-") as raised:
        sockwave.create_server().listen(path=name)
    assert raised.value.errno == errno.EADDRINUSE
    with pytest.raises(ValueError, match="mode: expected with a file"):
        sockwave.create_server().listen(path=f"{name}.2", mode=0o600)
    await wire.close()  # it would be waited for
    await server.close()
    with pytest.raises(ConnectionRefusedError):
        await Wire.open(name)


async def test_peers_of_a_unix_socket_have_an_address_with_a_host_and_a_port(
    start_server: StartServer, tmp_path: Path
) -> None:
    server = await start_server()
    seen: list[Any] = []

    @server.on("request")
    def request(req: sockwave.Request, res: sockwave.Response) -> None:
        seen.append(req.remote_address)
        res.end()

    server.on("stream", lambda stream: seen.append(stream.remote_address))
    server.on("connection", lambda conn: seen.append(conn.remote_address))
    server.listen(path=tmp_path / "socket")
    await Wire.connect(tmp_path / "socket")
    wire = await Wire.open(tmp_path / "socket")
    wire.write(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    assert (await wire.receive_head()).status == 200
    assert seen == [("", 0)] * 4
    assert [address[0] for address in seen] == [""] * 4

"""Sockets from a service manager (systemd's LISTEN_FDS), readiness, modes of Unix sockets."""

import contextlib
import os
import re
import socket
import stat
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from commands import PATIENCE_S, Process, started, stop
from websockets.sync.client import connect, unix_connect

import sockwave

fcntl = pytest.importorskip("fcntl", reason="systemd's, and Unix sockets")

# What a service manager does: the sockets stand from descriptor 3 on, and the variables are set for
# the process that the command becomes.
MANAGER = """
import os, sys
count, names, *descriptors, program = sys.argv[1:]
for number, given in enumerate(map(int, descriptors), 3):
    os.dup2(given, number)
    os.set_inheritable(number, True)
if names != "-":
    os.environ["LISTEN_FDNAMES"] = names
os.environ["LISTEN_FDS"] = count
os.environ["LISTEN_PID"] = str(os.getpid())
os.execv(sys.executable, [sys.executable, "-c", program])
"""

PROGRAM = """
import sockwave

server = sockwave.create_server(engine={engine!r})

@server.on("connection")
def connected(conn):
    conn.on("message", conn.send)

@server.on("listening")
def listening():
    print(server.addresses, flush=True)

{listen}
server.run()
"""


@contextlib.contextmanager
def managed(
    listen: str,
    *sockets: socket.socket,
    engine: str = "auto",
    names: str = "-",
    count: str | None = None,
    environment: dict[str, str] | None = None,
) -> Iterator[Process]:
    """Run a server as a service manager does."""
    # Above those that they become: none is overwritten before it is copied.
    given = [fcntl.fcntl(one.fileno(), fcntl.F_DUPFD, 20) for one in sockets]
    program = PROGRAM.format(engine=engine, listen=listen)
    arguments = [str(len(sockets)) if count is None else count, names, *map(str, given), program]
    try:
        with started(
            *("-c", MANAGER, *arguments), descriptors=given, environment=environment
        ) as process:
            yield process
    finally:
        for number in given:
            os.close(number)


def read_line(process: Process) -> str:
    assert process.stdout
    return process.stdout.readline().strip()


def last_line(process: Process) -> str:
    """Wait for a process that fails, and give the sentence of its exception."""
    _, errors = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 1
    return next(line for line in errors.splitlines() if re.match(r"[a-z.]*\w+Error: ", line))


@pytest.fixture
def passed() -> Iterator[socket.socket]:
    """A listening socket, as a socket unit makes it."""
    with socket.create_server(("127.0.0.1", 0)) as made:
        yield made


def url_of(made: socket.socket) -> str:
    return f"ws://127.0.0.1:{made.getsockname()[1]}/"


# ---- LISTEN_FDS ----------------------------------------------------------------------------------


@pytest.mark.parametrize("engine", ["auto", "asyncio"])
def test_the_sockets_of_a_service_manager_are_served(
    engine: str, passed: socket.socket, tmp_path: Path
) -> None:
    path = str(tmp_path / "socket")
    with socket.socket(socket.AF_UNIX) as unix:
        unix.bind(path)
        unix.listen()
        with managed("server.listen_fds()", passed, unix, engine=engine) as process:
            assert read_line(process) == repr([passed.getsockname(), path])
            for client in (connect(url_of(passed)), unix_connect(path)):
                with client:
                    client.send("passed on")
                    assert client.recv(PATIENCE_S) == "passed on"
            assert stop(process) == (0, "")
        assert Path(path).exists(), "the name is the service manager's"


@pytest.mark.slow
def test_clients_that_come_during_a_restart_wait(passed: socket.socket) -> None:
    with managed("server.listen_fds()", passed) as process:
        read_line(process)
        assert stop(process) == (0, "")
    with socket.create_connection(passed.getsockname(), PATIENCE_S) as early:
        early.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        with managed("server.listen_fds()", passed):
            assert early.recv(100).startswith(b"HTTP/1.1 426")


@pytest.mark.slow
def test_a_name_chooses_its_sockets(passed: socket.socket) -> None:
    listen = 'server.listen_fds("admin"); server.listen_fds("chat")'
    with (
        socket.create_server(("127.0.0.1", 0)) as admin,
        socket.create_server(("127.0.0.1", 0)) as other,
        managed(listen, passed, admin, other, names="chat:admin:other") as process,
    ):
        assert read_line(process) == repr([admin.getsockname(), passed.getsockname()])


@pytest.mark.parametrize(
    ("listen", "sentence"),
    [
        ("server.listen_fds('none')", "expected 'none', given 'chat'"),
        (
            "server.listen_fds(); server.listen_fds()",
            "expected one more, given 'chat', all of them taken already",
        ),
        (
            "server.listen_fds('chat'); server.listen_fds('chat')",
            "expected 'chat', given 'chat', all of them taken already",
        ),
    ],
)
def test_a_socket_that_cannot_be_had_is_said(
    passed: socket.socket, listen: str, sentence: str
) -> None:
    with managed(listen, passed, names="chat") as process:
        expected = f"sockwave.errors.SockwaveError: sockets passed to this process: {sentence}"
        assert last_line(process) == expected


@pytest.mark.parametrize("count", ["0", "", "x", "-1", "²"])
def test_without_sockets_it_says_so(count: str) -> None:
    with managed("server.listen_fds()", count=count) as process:
        line = last_line(process)
    assert line.startswith("sockwave.errors.SockwaveError: no sockets were passed to this process")


@pytest.mark.parametrize("pid", ["", "1", str(os.getpid() + 1)], ids=["none", "1", "another"])
def test_the_sockets_of_another_process_are_not_taken(
    monkeypatch: pytest.MonkeyPatch, pid: str
) -> None:
    monkeypatch.setenv("LISTEN_FDS", "1")
    monkeypatch.setenv("LISTEN_PID", pid)
    with pytest.raises(sockwave.SockwaveError, match="expected LISTEN_FDS and LISTEN_PID"):
        sockwave.create_server().listen_fds()


@pytest.mark.slow
def test_what_does_not_listen_is_refused(passed: socket.socket) -> None:
    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as datagrams,
        socket.create_connection(passed.getsockname()) as connected,
    ):
        for wrong, what in (
            (datagrams, "a socket for datagrams"),
            (connected, "a socket that does not listen"),
        ):
            with managed("server.listen_fds()", passed, wrong) as process:
                assert last_line(process) == (
                    f"ValueError: descriptor 4: expected a listening stream socket, given {what}"
                )
    with managed("server.listen_fds()", count="1") as process:
        assert last_line(process).startswith("ValueError: descriptor 3: expected a listening")


# ---- NOTIFY_SOCKET -------------------------------------------------------------------------------


@pytest.mark.parametrize("abstract", [False, True])
def test_a_service_manager_hears_of_the_beginning_and_the_end(
    passed: socket.socket, tmp_path: Path, abstract: bool
) -> None:
    if abstract and sys.platform != "linux":
        pytest.skip("abstract names are Linux's")
    path = f"@sockwave-{os.getpid()}" if abstract else str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind("\0" + path[1:] if abstract else path)
        manager.settimeout(PATIENCE_S)
        environment = {"NOTIFY_SOCKET": path}
        with managed("server.listen_fds()", passed, environment=environment) as process:
            assert manager.recv(100) == b"READY=1"
            with connect(url_of(passed)):
                pass
            assert stop(process) == (0, "")
            assert manager.recv(100) == b"STOPPING=1"


@pytest.mark.slow
def test_a_service_manager_that_does_not_listen_is_no_error(
    passed: socket.socket, tmp_path: Path
) -> None:
    environment = {"NOTIFY_SOCKET": str(tmp_path / "nobody")}
    with managed("server.listen_fds()", passed, environment=environment) as process:
        read_line(process)
        assert stop(process) == (0, "")


# ---- modes ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", [0o600, 0o660, 0o666, 0o777, 0])
@pytest.mark.parametrize("umask", [0o022, 0o077, 0])
def test_a_unix_socket_has_the_mode_that_was_asked_for(
    tmp_path: Path, mode: int, umask: int
) -> None:
    path = tmp_path / "socket"
    before = os.umask(umask)
    try:
        server = sockwave.create_server().listen(path=str(path), mode=mode)
        assert stat.S_IMODE(path.stat().st_mode) == mode
        assert os.umask(umask) == umask
        server.close()
    finally:
        os.umask(before)
    assert not path.exists()


def test_nobody_can_connect_before_the_mode_is_set(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = str(tmp_path / "socket")
    refused = []

    def chmod(name: str, mode: int) -> None:
        with socket.socket(socket.AF_UNIX) as early, pytest.raises(ConnectionRefusedError):
            early.connect(name)
        refused.append((name, mode))

    monkeypatch.setattr(os, "chmod", chmod)
    sockwave.create_server().listen(path=path, mode=0o660).close()
    assert refused == [(path, 0o660)]


@pytest.mark.parametrize("mode", [-1, 0o1000, 0o4755, "0660", 6.6, True])
def test_a_mode_that_is_none_raises_and_makes_nothing(tmp_path: Path, mode: object) -> None:
    path = tmp_path / "socket"
    with pytest.raises(ValueError, match="mode: expected permissions such as 0o660, given"):
        sockwave.create_server().listen(path=str(path), mode=mode)  # type: ignore[arg-type]
    assert not path.exists()


def test_a_mode_is_for_paths_alone() -> None:
    with pytest.raises(ValueError, match="mode: expected with path alone"):
        sockwave.create_server().listen(0, "127.0.0.1", mode=0o660)

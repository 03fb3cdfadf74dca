"""Ctrl-C before a command has done what it was asked for: status 130, and no traceback."""

import asyncio
import contextlib
import signal
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from commands import PATIENCE_S, Process, started, stop, wait
from conftest import StartServer
from test_load import port_of

import sockwave

pytest.importorskip("fcntl", reason="needs the signals of Unix")


@contextlib.contextmanager
def silent(listener: socket.socket, *arguments: str) -> Iterator[tuple[Process, socket.socket]]:
    """Run a command until it has connected to somebody who says nothing."""
    quiet = {"PYTHONWARNINGS": ""}  # the process ends with what it has: its sockets, too
    with listener, started("-m", "sockwave", *arguments, environment=quiet) as process:
        listener.settimeout(PATIENCE_S)
        connection, _ = listener.accept()
        with connection:
            yield process, connection


@pytest.fixture
def engine() -> str:
    """The server is not under test."""
    return "auto"


def listen() -> socket.socket:
    return socket.create_server(("127.0.0.1", 0))


def url_of(listener: socket.socket) -> str:
    return f"ws://127.0.0.1:{listener.getsockname()[1]}/"


def test_message_that_was_not_taken_is_not_0(tmp_path: Path) -> None:
    path = str(tmp_path / "sequencer")
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(path)
    listener.listen()
    with silent(listener, "publish", "a", "b", "--to", f"unix:{path}") as (process, connection):
        assert connection.recv(1)
        assert stop(process, signal.SIGINT) == (130, "")


def test_connection_that_was_never_open_is_not_0() -> None:
    listener = listen()
    with silent(listener, "connect", url_of(listener), "--listen") as (process, connection):
        assert connection.recv(1)
        assert stop(process, signal.SIGINT) == (130, "")


async def test_answer_that_has_not_come_is_not_0(start_server: StartServer) -> None:
    server = await start_server()
    has_come = asyncio.Event()

    @server.on("connection")
    def connected(conn: sockwave.Connection) -> None:
        conn.on("message", lambda message: has_come.set())

    uri = f"ws://127.0.0.1:{port_of(server)}/"
    with started("-m", "sockwave", "connect", uri, "-c", "x") as process:
        await has_come.wait()
        process.send_signal(signal.SIGINT)
        assert await asyncio.to_thread(wait, process) == (130, "")


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="the load is Linux's")
def test_load_that_has_no_figures_is_not_0() -> None:
    listener = listen()
    words = ("bench", url_of(listener), "--connections=1")
    with (
        silent(listener, *words) as (process, _),
        listener.accept()[0] as connection,  # the first one has looked who answers
    ):
        assert connection.recv(1)
        status, errors = stop(process, signal.SIGINT)
    assert status == 130
    assert errors == "sockwave bench: interrupted before the load began\n"


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="the load is Linux's")
def test_ctrl_c_waits_until_the_load_can_tell_of_it() -> None:
    """The command is interrupted as soon as it has looked who answers, while the load starts."""
    listener = listen()
    words = ("bench", url_of(listener), "--connections=1")
    with silent(listener, *words) as (process, _):
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
        while not children.read_text():
            pass
        status, errors = stop(process, signal.SIGINT)
    assert status == 130
    assert errors == "sockwave bench: interrupted before the load began\n"


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="the load is Linux's")
@pytest.mark.parametrize(
    ("number", "status"),
    [
        (signal.SIGTERM, 128 + signal.SIGTERM),
        (signal.SIGHUP, 128 + signal.SIGHUP),
        (signal.SIGKILL, -signal.SIGKILL),
    ],
)
async def test_load_ends_with_the_command(
    start_server: StartServer, number: int, status: int
) -> None:
    server = await start_server()
    is_going, has_ended = asyncio.Event(), asyncio.Event()

    @server.on("connection")
    def connected(conn: sockwave.Connection) -> None:
        conn.on("message", conn.send)
        conn.on("message", lambda message: is_going.set())
        conn.on("close", lambda code: has_ended.set())

    words = (f"ws://127.0.0.1:{port_of(server)}/", "--connections=1", "--duration=60")
    with started("-m", "sockwave", "bench", *words) as process:
        await is_going.wait()
        process.send_signal(number)
        assert await asyncio.to_thread(wait, process) == (status, "")
        await has_ended.wait()

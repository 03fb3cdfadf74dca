import errno
import importlib.metadata
import os
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from commands import PATIENCE_S, port_of, run, run_here, serving, stop, wait
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect, unix_connect

import sockwave.cli


@pytest.mark.parametrize(
    ("command", "shape"),
    [("chat", r"http://127\.0\.0\.1:[1-9]\d*/"), ("echo", r"ws://127\.0\.0\.1:[1-9]\d*/")],
)
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_command_prints_the_real_port_and_stops_cleanly_on_a_signal(
    command: str, shape: str, number: int
) -> None:
    with serving(command, "--port", "0") as (process, url):
        assert re.fullmatch(shape, url)
        socket.create_connection(("127.0.0.1", port_of(url)), PATIENCE_S).close()
        assert stop(process, number) == (0, "")


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs processes that fork")
def test_chat_on_several_workers_prints_its_address_once_and_stops_cleanly() -> None:
    with serving("chat", "--port", "0", "--workers", "2") as (process, url):
        socket.create_connection(("127.0.0.1", port_of(url)), PATIENCE_S).close()
        process.send_signal(signal.SIGTERM)
        printed, errors = process.communicate(timeout=PATIENCE_S)
        assert (process.returncode, printed, errors) == (0, "", "")


def test_stopping_tells_the_clients_that_the_server_goes_away() -> None:
    with serving("echo", "--port", "0") as (process, url), connect(url) as client:
        process.send_signal(signal.SIGINT)
        with pytest.raises(ConnectionClosed) as closed:
            client.recv(PATIENCE_S)
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 1001
        assert wait(process) == (0, "")


def test_host_chooses_the_address_and_an_ipv6_address_is_printed_as_a_url() -> None:
    if not socket.has_ipv6:
        pytest.skip("this Python knows no IPv6")
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        pytest.skip("this machine has no IPv6 loopback")
    with serving("echo", "--host", "::1", "--port", "0") as (_, url), connect(url) as client:
        assert url.startswith("ws://[::1]:")
        client.send("over IPv6")
        assert client.recv(PATIENCE_S) == "over IPv6"


@pytest.mark.parametrize("command", ["chat", "echo"])
def test_taken_port_is_said_in_one_line_with_status_1(command: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        ended = run(command, "--port", str(port))
    assert (ended.returncode, ended.stdout) == (1, "")
    assert ended.stderr == (
        f"sockwave {command}: cannot listen on 127.0.0.1:{port}: "
        f"{os.strerror(errno.EADDRINUSE)}; choose another with --port\n"
    )


def test_address_of_another_machine_is_said_in_one_line_with_status_1() -> None:
    ended = run("chat", "--host", "192.0.2.1", "--port", "0")  # reserved for documentation
    assert (ended.returncode, ended.stdout) == (1, "")
    assert ended.stderr.startswith("sockwave chat: cannot listen on 192.0.2.1:0: ")
    assert ended.stderr.count("\n") == 1


@pytest.mark.slow
def test_host_that_cannot_be_a_name_is_said_in_one_line_with_status_1() -> None:
    ended = run("echo", "--host", "a" * 300, "--port", "0")
    assert (ended.returncode, ended.stdout) == (1, "")
    assert ended.stderr.startswith("sockwave echo: cannot listen on aaa")
    assert ended.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ([], "COMMAND"),
        (["dance"], "dance"),
        (["chat", "--port", "65536"], "65536"),
        (["chat", "--port", "-1"], "--port"),
        (["chat", "--colour", "red"], "--colour"),
        (["chat", "--workers", "0"], "--workers"),
        (["echo", "--port", "eighty"], "eighty"),
        (["echo", "--engine", "steam"], "steam"),
        (["echo", "--version", "draft99"], "draft99"),
        (["echo", "--version", "rfc6455,draft99"], "draft99"),
        (["echo", "--max-size", "0"], "--max-size"),
        (["echo", "--max-size", "1.5"], "1.5"),
        (["echo", "--unix", ""], "--unix"),
        (["echo", "--tls-key", "key.pem"], "--tls-cert"),
    ],
)
def test_wrong_arguments_are_named_with_status_2(arguments: list[str], named: str) -> None:
    ended = run_here(*arguments)
    assert (ended.returncode, ended.stdout) == (2, "")
    assert named in ended.stderr.splitlines()[-1]
    assert "Traceback" not in ended.stderr


def test_process_whose_arguments_are_wrong_has_status_2() -> None:
    ended = run("dance")
    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr == run_here("dance").stderr


def test_version_of_the_package_is_printed() -> None:
    ended = run("--version")
    version = importlib.metadata.version("sockwave")
    assert (ended.returncode, ended.stdout) == (0, f"sockwave {version}\n")


def test_command_sockwave_is_the_same_as_the_module() -> None:
    (command,) = importlib.metadata.entry_points(group="console_scripts", name="sockwave")
    assert command.load() is sockwave.cli.main


@pytest.mark.parametrize("engine", ["auto", "epoll", "asyncio"])
def test_echo_returns_text_as_text_and_binary_as_binary(engine: str) -> None:
    if engine == "epoll" and sys.platform != "linux":
        pytest.skip("epoll is Linux's")
    with (
        serving("echo", "--port", "0", "--engine", engine) as (process, url),
        connect(url) as client,
    ):
        for message in ["ünï", b"\x00\xff", "", b"", "x" * 200_000]:
            client.send(message)
            assert client.recv(PATIENCE_S) == message
        client.close()
        assert stop(process) == (0, "")


@pytest.mark.slow
def test_echo_compresses_where_it_is_told_to() -> None:
    for options, answers in (["--compression"], 1), ([], 0):
        with serving("echo", "--port", "0", *options) as (_, url), connect(url) as client:
            assert client.response is not None
            assert len(client.response.headers.get_all("Sec-WebSocket-Extensions")) == answers
            for message in ("x", "y" * 200_000):
                client.send(message)
                assert client.recv(PATIENCE_S) == message


def test_echo_accepts_the_protocol_versions_that_it_is_told() -> None:
    versions = "hybi-08,rfc6455"
    with serving("echo", "--port", "0", "--version", versions) as (_, url), connect(url) as client:
        client.send("hello")
        assert client.recv(PATIENCE_S) == "hello"


def test_echo_refuses_the_protocol_versions_that_it_is_not_told() -> None:
    with serving("echo", "--port", "0", "--version", "hybi-08") as (_, url):
        with pytest.raises(InvalidStatus) as refused:
            connect(url)
        assert refused.value.response.status_code == 426


def test_echo_refuses_a_message_over_the_size_that_it_is_told() -> None:
    with serving("echo", "--port", "0", "--max-size", "10") as (_, url), connect(url) as client:
        client.send("0123456789")
        assert client.recv(PATIENCE_S) == "0123456789"
        client.send("0123456789A")
        with pytest.raises(ConnectionClosed) as closed:
            client.recv(PATIENCE_S)
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 1009


needs_unix = pytest.mark.skipif(not hasattr(socket, "AF_UNIX"), reason="needs Unix sockets")


@needs_unix
def test_echo_listens_on_a_unix_socket(tmp_path: Path) -> None:
    path = str(tmp_path / "echo")
    with serving("echo", "--unix", path) as (process, printed):
        assert printed == f"unix:{path}"
        with unix_connect(path) as client:
            client.send("hello")
            assert client.recv(PATIENCE_S) == "hello"
        assert stop(process) == (0, "")


@pytest.mark.slow
@needs_unix
def test_taken_unix_socket_is_said_in_one_line_with_status_1(tmp_path: Path) -> None:
    path = str(tmp_path / "echo")
    with serving("echo", "--unix", path):
        ended = run("echo", "--unix", path)
        assert (ended.returncode, ended.stdout) == (1, "")
        assert ended.stderr == (
            f"sockwave echo: cannot listen on {path}: "
            f"{os.strerror(errno.EADDRINUSE)}; choose another with --unix\n"
        )
        with unix_connect(path) as client:  # and the first one goes on
            client.send("hello")
            assert client.recv(PATIENCE_S) == "hello"


def test_importing_the_command_runs_nothing() -> None:
    program = "import sockwave.__main__; print(sockwave.__main__.__name__)"
    said = subprocess.run(
        [sys.executable, "-c", program], check=True, capture_output=True, text=True
    )
    assert (said.stdout, said.stderr) == ("sockwave.__main__\n", "")

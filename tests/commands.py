"""The commands as people run them: processes, what they print, and how they end."""

import contextlib
import io
import itertools
import os
import random
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.parse
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

import sockwave.cli

ADDRESS = re.compile(r"(?:Chat|Echo) on (\S+)\n")
PATIENCE_S = 30

Process = subprocess.Popen[str]


@contextlib.contextmanager
def started(
    *command: str, environment: Mapping[str, str] | None = None, descriptors: Sequence[int] = ()
) -> Iterator[Process]:
    """Run a Python command for the length of a block, with its output in pipes."""
    with subprocess.Popen(
        [sys.executable, *command],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONWARNINGS": "error"} | (environment or {}),
        pass_fds=descriptors,
    ) as process:
        try:
            yield process
        finally:
            end(process)


def end(process: Process) -> None:
    """Let a process end by itself, if it can: only then does it say what was reached in it."""
    process.terminate()
    try:
        process.wait(PATIENCE_S)
    except subprocess.TimeoutExpired:
        process.kill()


@contextlib.contextmanager
def serving(*arguments: str) -> Iterator[tuple[Process, str]]:
    """Run a serving command, and give it with the address that it printed."""
    with started("-m", "sockwave", *arguments) as process:
        assert process.stdout
        line = process.stdout.readline()
        printed = ADDRESS.fullmatch(line)
        if printed is None:
            process.kill()
            pytest.fail(f"no address in {line!r}: {process.communicate()[1]}")
        yield process, printed[1]


@contextlib.contextmanager
def running(program: str, *, status: tuple[int, ...] | None = (0,)) -> Iterator[str]:
    """Run a program that listens on port 8000, on a free one, and give its host and port.

    Ctrl-C ends it, with one of these statuses; None: with any.
    """
    port = find_port()
    with started("-c", program.replace("8000", str(port))) as process:
        for attempt in itertools.count():
            try:
                with socket.create_connection(("127.0.0.1", port), PATIENCE_S) as client:
                    # It listens before it runs; when it says something, it does.
                    client.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
                    with contextlib.suppress(ConnectionResetError):
                        client.recv(1)
                break
            except ConnectionRefusedError:
                if process.poll() is not None or attempt == PATIENCE_S * 20:
                    process.kill()
                    pytest.fail(f"nobody listens: {process.communicate()[1]}")
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(0.05)
        yield f"127.0.0.1:{port}"
        ended = stop(process, signal.SIGINT)[0]
        assert status is None or ended in status


def freeze(pid: int) -> None:
    """Send SIGSTOP, and wait until the process has stopped: until then it goes on."""
    os.kill(pid, signal.SIGSTOP)
    state = Path(f"/proc/{pid}/stat")
    while state.exists() and state.read_text().rpartition(")")[2].split()[0] != "T":
        time.sleep(0.001)


def find_port() -> int:
    """Give a port that is free, and stays so until a program binds it: connections that others make
    meanwhile take theirs from 32768 on (ip_local_port_range)."""
    while True:
        port = random.randrange(10_000, 30_000)
        with contextlib.suppress(OSError), socket.create_server(("", port)):
            return port


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a command that ends by itself."""
    return subprocess.run(
        [sys.executable, "-m", "sockwave", *arguments],
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )


def run_here(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a command whose arguments end it, in this process: another one takes a hundred times as
    long to start as to read them."""
    output, errors = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(output), contextlib.redirect_stderr(errors):
        try:
            status: Any = sockwave.cli.main(arguments)
        except SystemExit as ended:
            status = ended.code
    return subprocess.CompletedProcess(arguments, status, output.getvalue(), errors.getvalue())


def stop(process: Process, number: int = signal.SIGTERM) -> tuple[int, str]:
    """Send a signal, and give the exit status and what was said on stderr."""
    process.send_signal(number)
    return wait(process)


def wait(process: Process) -> tuple[int, str]:
    """Wait for the end, and give the exit status and what was said on stderr."""
    errors = process.communicate(timeout=PATIENCE_S)[1]
    return process.returncode, errors


def port_of(url: str) -> int:
    port = urllib.parse.urlsplit(url).port
    assert port
    return port

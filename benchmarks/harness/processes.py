"""The processes of a run: a server and a load client, each pinned to its core."""

import contextlib
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from harness.bench import Bench
from harness.peers import HERE, Peer

START_S = 15.0
"""A server that does not accept connections after so long has failed to start."""
STOP_S = 3.0
"""A process that ignores SIGTERM for so long is killed."""


UNABLE = 77
"""The status with which a peer ends that cannot do what it is asked (peers/serving.py)."""


class BenchmarkError(Exception):
    """One run failed; the others go on."""


class UnableError(BenchmarkError):
    """A server cannot be asked this question, and says why."""


FAILURES = (BenchmarkError, OSError, ValueError, subprocess.SubprocessError)
"""What may go wrong with one server and leaves the others to be measured."""


class Process:
    """A child process pinned to one core, stopped by its id when its block ends in any way."""

    def __init__(
        self, command: Sequence[str], core: int, log: Path, *, piped: bool = False
    ) -> None:
        self.log = log
        own_cores = os.sched_getaffinity(0)
        pipe = subprocess.PIPE if piped else None
        with log.open("w") as errors:
            os.sched_setaffinity(0, {core})
            try:
                self.popen = subprocess.Popen(
                    command,
                    stdin=pipe or subprocess.DEVNULL,
                    stdout=pipe or errors,
                    stderr=errors,
                    text=True,
                )
            finally:
                os.sched_setaffinity(0, own_cores)
        self.pid = self.popen.pid

    def __enter__(self) -> "Process":
        return self

    def __exit__(self, *exception: object) -> None:
        if self.popen.poll() is None:
            self.popen.terminate()
            try:
                self.popen.wait(STOP_S)
            except subprocess.TimeoutExpired:
                self.popen.kill()
        self.popen.wait()
        for stream in (self.popen.stdin, self.popen.stdout):
            if stream is not None:
                with contextlib.suppress(OSError):
                    stream.close()

    def last_words(self) -> str:
        """Return the last three lines of its log."""
        lines = self.log.read_text(errors="replace").strip().splitlines()
        return "\n".join(lines[-3:]) or "(it said nothing)"


def command_for(
    bench: Bench, peer: Peer, role: str, port: int, options: Sequence[str] = ()
) -> list[str]:
    """Give the command that serves a role on a port."""
    if not peer.distributions + peer.packages:
        if bench.floor is None:
            raise UnableError("compiling it for TLS needs the headers of OpenSSL (libssl-dev)")
        own = [*([] if role in {"echo", "http"} else [f"--{role}"]), *bench.floor_options]
        return [str(bench.floor), str(port), *own, *options]
    own = [*peer.arguments_for(role), "--port", str(port)]
    return [peer.interpreter(), *own, *bench.server_options, *options]


def find_port() -> int:
    """Give a port of 127.0.0.1 that is free."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


@contextlib.contextmanager
def serve(
    bench: Bench, name: str, peer: Peer, role: str = "echo", options: Sequence[str] = ()
) -> Iterator[tuple[Process, int]]:
    """Start a peer on a free port of 127.0.0.1, wait until it accepts, and give both."""
    port = find_port()
    command = command_for(bench, peer, role, port, options)
    with Process(command, bench.server_core, bench.directory / f"{name}.log") as process:
        wait_until_it_accepts(process, name, port)
        yield process, port


def wait_until_it_accepts(process: Process, name: str, port: int, start_s: float = START_S) -> None:
    """Wait until a server accepts connections. Raises BenchmarkError where it does not."""
    end = time.monotonic() + start_s
    while True:
        if process.popen.poll() == UNABLE:
            raise UnableError(process.last_words())
        if process.popen.poll() is not None:
            raise BenchmarkError(f"{name} ended at its start: {process.last_words()}")
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        if time.monotonic() > end:
            raise BenchmarkError(f"{name} does not accept connections: {process.last_words()}")
        time.sleep(0.02)


def start_client(bench: Bench, port: int, *arguments: str) -> Process:
    """Start load.py; its stdin and stdout are pipes."""
    command = [sys.executable, str(HERE / "load.py"), "--port", str(port)]
    command += [*bench.client_options, *arguments]
    return Process(command, bench.client_core, bench.directory / "client.log", piped=True)


def parse_event(line: str, event: str, client: Process) -> dict[str, Any]:
    """Read one line of the client's; raises BenchmarkError with its complaint if it has another."""
    record: dict[str, Any] = json.loads(line) if line else {}
    if record.get("event") != event:
        client.popen.wait(STOP_S)
        raise BenchmarkError(client.last_words())
    return record

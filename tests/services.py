"""Services as people run them: a supervisor and its workers, what they log, and their clients."""

import contextlib
import os
import re
import select
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import pytest
from commands import PATIENCE_S

needs_workers = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs processes that fork")

#: An application that tells which process answers, and does what a request asks for.
APPLICATION = """
import asyncio, os, sockwave
server = sockwave.create_server()
PID = os.getpid

@server.on("connection")
def connected(conn):
    conn.send(str(PID()))

@server.on("request")
def request(req, res):
    if req.path == "/exit":
        os._exit(7)
    if req.path == "/close":
        server.close()
    if req.path == "/wait":
        return wait(res)
    answer(res)

def answer(res):
    res.write_head(200, {"Content-Type": "text/plain"})
    res.end(f"{PID()}")

async def wait(res):
    while not os.path.exists("go"):
        await asyncio.sleep(0.01)
    answer(res)
"""

#: The end of a program that runs the same server by forks.
FORKING = """
import logging, sys
logging.basicConfig(level=logging.INFO, format="%(levelname)s: %(message)s")
server.listen(0, "127.0.0.1")
logging.info("running on http://127.0.0.1:%d", server.addresses[0][1])
server.run(workers=int(sys.argv[1]))
logging.info("over")
"""

_READY = re.compile(r"worker (\d+) \(pid (\d+)\) is ready")


class Service:
    """A process that serves, with the lines that it and its workers log."""

    def __init__(self, process: "subprocess.Popen[str]", directory: Path) -> None:
        self.process = process
        self.directory = directory
        self.lines: list[str] = []
        self._changed = threading.Condition()
        self._has_ended = False
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            with self._changed:
                self.lines.append(line.rstrip("\n"))
                self._changed.notify_all()
        with self._changed:
            self._has_ended = True
            self._changed.notify_all()

    def join_reader(self) -> None:
        """Wait until all that has been logged is read."""
        self._thread.join(PATIENCE_S)

    @property
    def log(self) -> str:
        return "\n".join(self.lines)

    def wait_for(self, pattern: str, count: int = 1) -> re.Match[str]:
        """Wait until so many lines match a pattern, and give the last of them."""
        end = time.monotonic() + PATIENCE_S
        with self._changed:
            while True:
                found = [one for line in self.lines if (one := re.search(pattern, line))]
                if len(found) >= count:
                    return found[count - 1]
                if self._has_ended or not self._changed.wait(end - time.monotonic()):
                    pytest.fail(f"no {pattern!r} ({count}) in:\n{self.log}")

    def wait_ready(self, count: int) -> None:
        """Wait until workers have been ready so many times."""
        self.wait_for(_READY.pattern, count)

    def ready_pids(self) -> list[int]:
        """Give the processes that have been ready, in that order."""
        return [int(one[2]) for line in list(self.lines) if (one := _READY.search(line))]

    def wait_gone(self, pids: Sequence[int]) -> None:
        """Wait until workers have drained and ended."""
        for pid in pids:
            self.wait_for(rf"worker \d+ \(pid {pid}\) has ended with exit status 0")

    @property
    def port(self) -> int:
        return int(self.wait_for(r"running on https?://\S+:(\d+)")[1])

    def send(self, number: int) -> None:
        self.process.send_signal(number)

    def wait(self) -> int:
        """Wait for the end, and give the status."""
        status = self.process.wait(PATIENCE_S)
        self.join_reader()
        return status

    def stop(self, number: int = signal.SIGTERM) -> int:
        self.send(number)
        return self.wait()

    # ---- clients

    def open(self, context: ssl.SSLContext | None = None) -> socket.socket:
        client = socket.create_connection(("127.0.0.1", self.port), PATIENCE_S)
        return context.wrap_socket(client, server_hostname="localhost") if context else client

    def get(self, path: str = "/") -> str:
        """Ask by a connection of its own, and give the body of the answer."""
        with self.open() as client:
            ask(client, path)
            return receive_answer(client)

    def pids(self, count: int = 12) -> set[int]:
        """Give the processes that answer so many requests."""
        return {int(self.get()) for _ in range(count)}

    def wait_for_pids(self, expected: set[int]) -> None:
        """Ask until each of these processes has answered, and none but these: a worker that says it
        is ready may get its first connection a little later."""
        end = time.monotonic() + PATIENCE_S
        seen: set[int] = set()
        while seen != expected:
            assert time.monotonic() < end, f"expected {expected}, given {seen}"
            seen.add(int(self.get()))
            assert seen <= expected, f"expected {expected}, given {seen}"


HANDSHAKE = (
    b"GET / HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)


def open_websocket(service: Service) -> tuple[socket.socket, int]:
    """Open a WebSocket, and give it with the process that serves it, as it says."""
    client = service.open()
    client.sendall(HANDSHAKE)
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        head += client.recv(1)
    assert head.startswith(b"HTTP/1.1 101 "), head
    _, text = receive_frame(client)
    return client, int(text)


def receive_frame(client: socket.socket) -> tuple[int, bytes]:
    """Give the opcode and the payload of a short frame; pings are skipped."""
    while True:
        opcode, size = client.recv(2, socket.MSG_WAITALL)
        payload = client.recv(size, socket.MSG_WAITALL) if size else b""
        if opcode & 15 != 9:
            return opcode & 15, payload


def receive_close(client: socket.socket) -> int:
    """Close a WebSocket that the server closes, and give its code."""
    with client:
        opcode, payload = receive_frame(client)
        assert opcode == 8
        client.sendall(b"\x88\x82\0\0\0\0" + payload[:2])
        receive_all(client)
    return int.from_bytes(payload[:2])


def ask(client: socket.socket, path: str = "/", headers: str = "") -> None:
    request = f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{headers}\r\n"
    client.sendall(request.encode())


def receive_all(client: socket.socket) -> bytes:
    data = b""
    while more := client.recv(65536):
        data += more
    return data


def receive_answer(client: socket.socket) -> str:
    """Give the body of an answer with status 200."""
    data = receive_all(client)
    head, _, body = data.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 "), data
    return body.decode()


@contextlib.contextmanager
def started_service(
    directory: Path,
    *command: str,
    environment: Mapping[str, str] | None = None,
    descriptors: Sequence[int] = (),
) -> Iterator[Service]:
    """Run a Python command that serves, in a process group of its own."""
    with subprocess.Popen(
        [sys.executable, *command],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        cwd=directory,
        env=os.environ | {"PYTHONWARNINGS": "error", "NO_COLOR": "1"} | (environment or {}),
        pass_fds=descriptors,
        start_new_session=True,
    ) as process:
        service = Service(process, directory)
        try:
            yield service
        finally:
            for _ in range(3):  # the third kills what is left
                if process.poll() is None:
                    process.terminate()
                    with contextlib.suppress(subprocess.TimeoutExpired):
                        process.wait(PATIENCE_S / 3)
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            service.join_reader()  # which must not find its pipe closed


@contextlib.contextmanager
def serving_application(
    directory: Path, *flags: str, application: str = APPLICATION, target: str = "main:server"
) -> Iterator[Service]:
    """Run `sockwave serve` for an application, on a free port."""
    (directory / "main.py").write_text(application)
    command = ("-m", "sockwave", "serve", target, "--port", "0", *flags)
    with started_service(directory, *command) as service:
        yield service


@contextlib.contextmanager
def wait_for_end_of(pids: Sequence[int]) -> Iterator[None]:
    """Wait, behind the block, until these processes have ended: they are not ours."""
    descriptors = [os.pidfd_open(pid) for pid in pids]
    try:
        yield
        for descriptor in descriptors:
            assert select.select([descriptor], [], [], PATIENCE_S)[0], "a process goes on"
    finally:
        for descriptor in descriptors:
            os.close(descriptor)


class Hammer:
    """Clients that ask without end, each request by a connection of its own, in threads."""

    def __init__(self, service: Service, count: int = 3) -> None:
        self._service = service
        self._has_to_end = threading.Event()
        self.answers: list[str] = []
        self.failures: list[BaseException] = []
        self._threads = [threading.Thread(target=self._run) for _ in range(count)]

    def _run(self) -> None:
        while not self._has_to_end.is_set() and not self.failures:
            try:
                self.answers.append(self._service.get())
            except BaseException as error:
                self.failures.append(error)

    def __enter__(self) -> "Hammer":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._has_to_end.set()
        for thread in self._threads:
            thread.join()
        assert not self.failures, self.failures
        assert self.answers

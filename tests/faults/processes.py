"""The processes of a fault: the server under test, its attackers; each ended by its id."""

import asyncio
import contextlib
import json
import os
import signal
import socket
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterable, Mapping
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
START_S = 30.0
#: A server that has been told to end and does not.
STOP_S = 60.0
PAGE_SIZE = os.sysconf("SC_PAGE_SIZE")


class Process:
    """A Python program of this folder, run apart; what it says is read line by line."""

    def __init__(self, process: asyncio.subprocess.Process, log: Any) -> None:
        self.process = process
        self.pid = process.pid
        self.log = log

    @classmethod
    @contextlib.asynccontextmanager
    async def run(
        cls,
        program: str,
        *arguments: str,
        core: int | None = None,
        gives_way: bool = False,
        environment: Mapping[str, str | None] | None = None,
    ) -> AsyncIterator["Process"]:
        """Run a program; at the end of the block it is killed if it is still there.

        `environment` is what it has besides ours or, where that is None, has not.
        """
        wanted = {**os.environ, **(environment or {})}

        with tempfile.TemporaryFile() as log:
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                str(HERE / program),
                *arguments,
                stdout=asyncio.subprocess.PIPE,
                stderr=log,
                stdin=asyncio.subprocess.DEVNULL,
                env={name: value for name, value in wanted.items() if value is not None},
                limit=2**24,
            )
            if core is not None:
                os.sched_setaffinity(process.pid, {core})
            if gives_way:
                # To whoever else wants the core, at once: the nicest process keeps it for some ms.
                os.sched_setscheduler(process.pid, os.SCHED_IDLE, os.sched_param(0))
            self = cls(process, log)
            try:
                yield self
            finally:
                if process.returncode is None:
                    with contextlib.suppress(ProcessLookupError):
                        process.kill()
                await process.wait()
                # Its end of the pipe, which asyncio closes when it has been read.
                assert process.stdout is not None
                with contextlib.suppress(ValueError):
                    await process.stdout.read()

    async def hear(self, patience_s: float = START_S) -> dict[str, Any]:
        """Read the next line; raises RuntimeError with its last words if it has ended instead."""
        assert self.process.stdout is not None
        async with asyncio.timeout(patience_s):
            line = await self.process.stdout.readline()
        if not line:
            await self.process.wait()
            raise RuntimeError(f"it ended with {self.process.returncode}: {self.last_words()}")
        return dict(json.loads(line))

    @property
    def is_alive(self) -> bool:
        """Tell whether the process runs."""
        return self.process.returncode is None

    def last_words(self, count: int = 2000) -> str:
        """Give the end of what it wrote to stderr."""
        self.log.seek(0, os.SEEK_END)
        self.log.seek(max(0, self.log.tell() - count))
        return str(self.log.read().decode(errors="replace")).strip()

    def signal(self, number: signal.Signals) -> None:
        """Send a signal."""
        self.process.send_signal(number)

    async def wait(self) -> int:
        """Wait for its end, and give the exit code."""
        async with asyncio.timeout(STOP_S):
            return await self.process.wait()

    async def ask(self, port: int, path: str = "/state") -> dict[str, Any]:
        """Ask its server how much it holds; the one of served.py collects garbage before, where the
        path is `/collect`."""
        async with asyncio.timeout(START_S):
            try:
                reader, writer = await asyncio.open_connection("127.0.0.1", port)
            except ConnectionRefusedError:
                raise RuntimeError(f"it has gone away: {self.last_words()}") from None
            try:
                writer.write(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
                answer = await reader.read()
            finally:
                writer.close()
                with contextlib.suppress(OSError):
                    await writer.wait_closed()
        return dict(json.loads(answer.partition(b"\r\n\r\n")[2]))

    # ---- what the kernel knows about it

    @property
    def cpu_s(self) -> float:
        """Processor time used so far."""
        # The clock of another process, as clock_getcpuclockid(3) makes its number.
        return time.clock_gettime((~self.pid << 3) | 2)

    @property
    def resident_size(self) -> int:
        """Resident memory in bytes."""
        return int(Path(f"/proc/{self.pid}/statm").read_text().split()[1]) * PAGE_SIZE

    @property
    def descriptor_count(self) -> int:
        """Open descriptors."""
        return len(os.listdir(f"/proc/{self.pid}/fd"))


class Served(Process):
    """The server of served.py."""

    port: int

    @classmethod
    @contextlib.asynccontextmanager
    async def start(
        cls,
        engine: str,
        *arguments: str,
        options: Mapping[str, object] | None = None,
        **settings: Any,
    ) -> AsyncIterator["Served"]:
        """Start it, and wait until it listens."""
        given = ["--engine", engine, "--options", json.dumps(options or {}), *arguments]
        async with cls.run("served.py", *given, **settings) as self:
            assert isinstance(self, Served)
            self.port = (await self.hear())["port"]
            yield self

    async def settle(self, like: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Ask it until it holds no more than `like`, or for a few seconds."""
        end = time.monotonic() + 8
        while True:
            state = await self.ask(self.port, "/collect")
            if like is None or not growth(like, state) or time.monotonic() > end:
                return state
            await asyncio.sleep(0.1)


COUNTED = ("connections", "carriers", "openings", "tasks", "timers", "descriptors")


def growth(before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, int]:
    """Give what there is more of than before."""
    grown = {name: after[name] - before[name] for name in COUNTED}
    kinds = {*before["kinds"], *after["kinds"]}
    grown |= {kind: after["kinds"].get(kind, 0) - before["kinds"].get(kind, 0) for kind in kinds}
    # What asyncio has stranded holds its connection and that one's transport, whatever we do. A
    # task that is just being woken looks like it: there may have been more of them before.
    stranded = max(0, after["stranded"] - before["stranded"])
    for held in ("tasks", "Connection", "EpollSocket", "TransportProtocol"):
        grown[held] = grown.get(held, 0) - stranded
    return {name: count for name, count in grown.items() if count > 0}


def choose_cores() -> tuple[int, int]:
    """Give a core for the server and one for everybody else; the same where there is but one."""
    cores = sorted(os.sched_getaffinity(0))
    return cores[0], cores[-1]


def reset(sockets: Iterable[socket.socket]) -> None:
    """Close sockets with RST."""
    for one in sockets:
        one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        one.close()

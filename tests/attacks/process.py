"""A server in a process of its own, and what can be measured of it from outside (Linux's /proc)."""

import asyncio
import json
import os
import re
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from wire import PATIENCE_S, ROUNDS, Wire, wait_until

import sockwave

TESTS = Path(__file__).parent.parent

Application = Callable[..., sockwave.Server]


@dataclass
class Report:
    """What the server saw since the last report, bystanders not counted."""

    #: The close codes and reasons of connections that have ended.
    closes: list[tuple[int, str]]
    #: How many connections came.
    opened: int
    #: How many are there now, bystanders too.
    connections: int
    tasks: int
    #: How often its loop has turned, all in all: each time, whoever has something to say is heard.
    turn_count: int
    #: How often each limit was applied, those that were not left out; to bystanders too.
    limit_hits: dict[str, int]
    #: Warnings and worse; those left fail the attack if they are errors.
    log: list[str] = field(default_factory=list)

    def followed_by(self, later: "Report") -> "Report":
        """Give what this report and the next tell together."""
        names = self.limit_hits | later.limit_hits
        return Report(
            self.closes + later.closes,
            self.opened + later.opened,
            later.connections,
            later.tasks,
            later.turn_count,
            {n: self.limit_hits.get(n, 0) + later.limit_hits.get(n, 0) for n in names},
            self.log + later.log,
        )

    @property
    def codes(self) -> list[int]:
        """The close codes alone."""
        return [code for code, _ in self.closes]


class Victim:
    """A server in a process of its own."""

    def __init__(
        self,
        engine: str,
        application: Application,
        options: dict[str, Any],
        tls: tuple[str, str] | None,
        environment: dict[str, str],
    ) -> None:
        #: What it is kept under, and the descriptors and tasks that it has without a connection.
        self.key, self.idle_descriptors, self.idle_tasks = "", 0, 0
        self.size_before = 0
        ours, theirs = socket.socketpair()
        self.control = ours
        self.unread = b""
        self.log: list[str] = []
        self.stderr = tempfile.TemporaryFile()  # noqa: SIM115 - it lives as long as the process
        wanted = {
            "application": f"{application.__module__}:{application.__qualname__}",
            "options": {"engine": engine, **options},
            "tls": tls,
            "control": theirs.fileno(),
        }
        path = os.pathsep.join(filter(None, [str(TESTS), os.environ.get("PYTHONPATH")]))
        with theirs:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "attacks.victim", json.dumps(wanted)],
                env=os.environ | {"PYTHONPATH": path} | environment,
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stderr=self.stderr,
            )
        self.pid = self.process.pid
        ours.settimeout(PATIENCE_S * 2)
        addresses = json.loads(self._read_line())["addresses"]
        ours.setblocking(False)
        self.address: tuple[str, int] = tuple(addresses[0])
        self.tls_address: tuple[str, int] | None = tuple(addresses[1]) if tls else None

    def _read_line(self) -> bytes:
        """Read the first line of all, which says that the server is there."""
        line = b""
        while not line.endswith(b"\n"):
            line += (some := self.control.recv(1))
            assert some, f"the server has not come up: {self.errors}"
        return line

    # ---- what it says

    async def ask(self, question: str) -> Report:
        """Ask the process; it answers in its loop, so an answer shows that the loop turns."""
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(PATIENCE_S * 2):
            await loop.sock_sendall(self.control, question.encode() + b"\n")
            while b"\n" not in self.unread:
                self.unread += (some := await loop.sock_recv(self.control, 65536))
                assert some, f"the server has gone: {self.errors}"
        line, _, self.unread = self.unread.partition(b"\n")
        report = Report(**json.loads(line))
        report.closes = [(code, reason) for code, reason in report.closes]
        self.log += report.log
        return report

    async def report(self, *, closes: int = 0) -> Report:
        """Tell what happened since the last report, once so many connections have ended."""
        report = await self.ask("report")
        async with asyncio.timeout(PATIENCE_S):
            while len(report.closes) < closes:
                await asyncio.sleep(0.01)
                report = report.followed_by(await self.ask("report"))
        return report

    async def closes(self, count: int = 1) -> list[tuple[int, str]]:
        """Wait until so many connections have ended, and give their codes and reasons."""
        return (await self.report(closes=count)).closes

    async def settle(self, number: Callable[[], object]) -> None:
        """Wait until a number no longer changes, however often the process's loop turns.

        It reads little more than 64 KiB of each socket in a turn, and takes one for each answer.
        While messages that it has read wait for their turn, it does not sleep.
        """
        last = None
        while last != (last := number()):
            for _ in range(ROUNDS):
                await self.ask("turn")
            await wait_until(self.is_asleep)

    async def turn_count(self) -> int:
        """Tell how often its loop has turned, on which no other process has an influence."""
        return (await self.ask("turn")).turn_count

    def take_log(self) -> list[str]:
        """Give the warnings and errors logged up to the last report, and forget them."""
        lines, self.log = self.log, []
        return lines

    @property
    def errors(self) -> str:
        """What stands on its stderr."""
        self.stderr.seek(0)
        return self.stderr.read().decode(errors="replace")

    # ---- what can be seen from outside

    @property
    def is_alive(self) -> bool:
        return self.process.poll() is None

    def is_asleep(self) -> bool:
        """Tell whether the process waits for something to happen."""
        status = Path(f"/proc/{self.pid}/stat").read_text("utf-8")
        return status.rpartition(")")[2].split()[0] == "S"

    def cpu_s(self) -> float:
        """Give the CPU time that the process has used, in seconds, up to when it slept last."""
        # The clock of another process, as clock_getcpuclockid(3) makes its number.
        return time.clock_gettime((~self.pid << 3) | 2)

    def descriptor_count(self) -> int:
        return len(os.listdir(f"/proc/{self.pid}/fd"))

    def resident_size(self) -> int:
        """Give the resident memory, in bytes."""
        return self._read_size("smaps_rollup", "Rss")

    def own_size(self) -> int:
        """Give the resident memory that is no file's, in bytes: what can be leaked."""
        return self._read_size("smaps_rollup", "Anonymous")

    def peak_growth(self) -> int:
        """Give how far the resident memory has risen at most since `forget_peak`, in bytes."""
        return self._read_size("status", "VmHWM") - self.size_before

    def forget_peak(self) -> None:
        """Let `peak_growth` begin anew (proc_pid_clear_refs(5))."""
        Path(f"/proc/{self.pid}/clear_refs").write_text("5")
        self.size_before = self.resident_size()

    def _read_size(self, file: str, name: str) -> int:
        text = Path(f"/proc/{self.pid}/{file}").read_text()
        found = re.search(rf"^{name}:\s+(\d+) kB$", text, re.MULTILINE)
        assert found, text
        return int(found[1]) * 1024

    # ---- attackers

    async def open(self, **options: Any) -> Wire:
        """Connect, and send nothing."""
        return await Wire.open(self.address, **options)

    async def connect(self, **options: Any) -> Wire:
        """Connect and shake hands; see `Wire.connect`."""
        return await Wire.connect(self.address, **options)

    async def connect_hixie(self, draft: int, **options: Any) -> Wire:
        """Connect and shake hands in a draft; see `Wire.connect_hixie`."""
        return await Wire.connect_hixie(self.address, draft, **options)

    # ---- the end

    def stop(self) -> int:
        """End the process in order, and give its exit status."""
        self.control.close()
        try:
            return self.process.wait(PATIENCE_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            return self.process.wait()
        finally:
            self.stderr.close()

    def kill(self) -> None:
        """End the process, whatever state it is in."""
        self.process.kill()
        self.stop()

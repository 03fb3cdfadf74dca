"""A service of several workers as a fault has it: who serves, who has died, what was logged."""

import asyncio
import contextlib
import json
import os
import re
import signal
import time
from collections.abc import AsyncIterator, Callable, Mapping

from faults.processes import Process

_READY = re.compile(r"worker (\d+) \(pid (\d+)\) is ready")
_SEQUENCER = re.compile(r"the sequencer is started \(pid (\d+)\)")
PATIENCE_S = 60.0


class Service(Process):
    """The service of served_topics.py."""

    port: int

    @classmethod
    @contextlib.asynccontextmanager
    async def start(
        cls,
        engine: str,
        *,
        workers: int = 2,
        options: Mapping[str, object] | None = None,
    ) -> AsyncIterator["Service"]:
        """Start it, and wait until all workers are ready."""
        given = json.dumps(options or {})
        told = ("--engine", engine, "--workers", str(workers), "--options", given)
        async with cls.run("served_topics.py", *told) as self:
            assert isinstance(self, Service)
            self.port = (await self.hear())["port"]
            #: Place → the process that serves there.
            self.workers: dict[int, int] = {}
            self.sequencer = 0
            self.sequencer_count = 0
            self.lines: list[str] = []
            self.ready_count = 0
            self._changed = asyncio.Event()
            follower = asyncio.ensure_future(self._follow())
            try:
                await self.wait_until(lambda: len(self.workers) == workers, "workers")
                yield self
                if self.is_alive:
                    self.signal(signal.SIGTERM)
                    await self.wait()
            finally:
                follower.cancel()
                await asyncio.wait([follower])

    async def _follow(self) -> None:
        """Hear what it logs."""
        with contextlib.suppress(RuntimeError):
            while True:
                line = str((await self.hear(1e6))["log"])
                self.lines.append(line)
                if found := _READY.search(line):
                    self.workers[int(found[1])] = int(found[2])
                    self.ready_count += 1
                elif found := _SEQUENCER.search(line):
                    self.sequencer = int(found[1])
                    self.sequencer_count += 1
                self._changed.set()
        self._changed.set()

    async def wait_until(self, holds: Callable[[], object], what: str) -> None:
        """Wait until something is so that it logs."""
        end = time.monotonic() + PATIENCE_S
        while not holds():
            self._changed.clear()
            try:
                async with asyncio.timeout(end - time.monotonic()):
                    await self._changed.wait()
            except TimeoutError:
                raise RuntimeError(f"no {what}: {self.lines[-10:]}") from None

    async def wait_for_line(self, pattern: str, count: int = 1) -> None:
        """Wait until so many lines match."""
        await self.wait_until(
            lambda: sum(bool(re.search(pattern, line)) for line in self.lines) >= count, pattern
        )

    def kill_worker(self, place: int) -> None:
        """Kill the worker of a place, which is gone until `wait_until` finds another."""
        os.kill(self.workers.pop(place), signal.SIGKILL)

    def kill_sequencer(self) -> None:
        """Kill the sequencer, which is gone until `wait_until` finds another."""
        pid, self.sequencer = self.sequencer, 0
        os.kill(pid, signal.SIGKILL)


def list_ms(seconds: list[float], *shares: float) -> str:
    """Write percentiles of times in milliseconds."""
    ordered = sorted(seconds) or [float("nan")]
    return " / ".join(
        f"{1000 * ordered[min(int(share * len(ordered)), len(ordered) - 1)]:.1f}"
        for share in shares
    )

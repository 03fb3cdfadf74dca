"""T5: NATS restarts, drops its clients and the slow ones, loses its stream, fails over; the way to
it falls silent.

Plain topics, and those with a history, as in T4.
"""

import asyncio
import contextlib
import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path

from log_brokers import JetStream

from faults.broker_hosts import TOPIC, BrokerFaults, Hosts
from faults.ledger import Verdict
from sockwave.brokers.nats_subjects import subject_of

LONG = {"trials": 250}
SHORT = {"trials": 7}

#: What the server holds for a client that does not read, and for how long it may not.
SETTINGS = 'max_pending: 4MB\nwrite_deadline: "1s"\n'


class NatsFaults(BrokerFaults):
    """What can happen to a server of NATS."""

    harmless = "freezes"
    losing = emptying = frozenset({"failovers", "purges"})

    def __init__(self, hosts: Hosts, server: JetStream, directory: Path) -> None:
        super().__init__(hosts, server)
        self._directory = directory
        self._count = 0

    def kinds(self) -> dict[str, Callable[[], Awaitable[None]]]:
        return super().kinds() | {"cuts": self.cut, "freezes": self.freeze, "purges": self.purge}

    async def cut(self) -> None:
        self.hosts.random.choice(self.hosts.roads).cut()

    async def freeze(self) -> None:
        self.server.freeze()
        await asyncio.sleep(0.3)
        self.server.thaw()

    async def purge(self) -> None:
        await asyncio.to_thread(self.server.purge)
        await asyncio.to_thread(self.server.cut)

    def publish(self, message: bytes) -> None:
        self.server.publish(b"sockwave.t." + subject_of(TOPIC), message)

    async def fail_over(self) -> None:
        """Have another server take the place of the server, which is gone, and keeps nothing."""
        old = self.server
        self._count += 1
        other = make_server(self._directory / f"{self._count}")
        await asyncio.to_thread(other.start)
        self.lead_to(other)
        old.kill()


def make_server(directory: Path) -> JetStream:
    """Return a server with a directory of its own, in which each message is written at once."""
    directory.mkdir()
    server = JetStream(directory)
    with server.configuration.open("a") as file:
        file.write(SETTINGS)
    return server


async def run(engine: str, seed: int, *, trials: int, only: str | None = None) -> Verdict:
    """Break one thing after the other, or the same again and again."""
    verdict = Verdict("T5" if only is None else f"T5 {only}", engine, seed)
    with contextlib.ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        server = make_server(directory / "first").start()
        async with Hosts(engine, seed, server.url, server.port).run() as hosts:
            faults = NatsFaults(hosts, server, directory)
            stack.callback(faults.kill)
            return await hosts.bear_all(verdict, faults, trials, only)

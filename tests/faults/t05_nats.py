"""T5: NATS restarts, drops its clients and the slow ones, fails over; the way to it falls silent.

Plain topics, as in T4.
"""

import asyncio
import contextlib
import random
import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path

from nats_server import NatsServer

from faults.broker_hosts import TOPIC, BrokerFaults, Hosts
from faults.ledger import Verdict
from sockwave.brokers.nats_subjects import subject_of

LONG = {"trials": 250}
SHORT = {"trials": 6}

#: What the server holds for a client that does not read, and for how long it may not.
SETTINGS = 'max_pending: 1MB\nwrite_deadline: "1s"\n'


class NatsFaults(BrokerFaults):
    """What can happen to a server of NATS."""

    harmless = "freezes"

    def kinds(self) -> dict[str, Callable[[], Awaitable[None]]]:
        return super().kinds() | {"cuts": self.cut, "freezes": self.freeze}

    async def cut(self) -> None:
        self.hosts.roads[random.randrange(2)].cut()

    async def freeze(self) -> None:
        self.server.freeze()
        await asyncio.sleep(0.3)
        self.server.thaw()

    def publish(self, message: bytes) -> None:
        self.server.publish(b"sockwave.t." + subject_of(TOPIC), message)

    async def fail_over(self) -> None:
        """Have another server take the place of the server, which is gone."""
        old = self.server
        other = NatsServer(*old.arguments)
        await asyncio.to_thread(other.start)
        self.lead_to(other)
        old.kill()


async def run(engine: str, seed: int, *, trials: int, only: str | None = None) -> Verdict:
    """Break one thing after the other, or the same again and again."""
    verdict = Verdict("T5" if only is None else f"T5 {only}", engine, seed)
    with contextlib.ExitStack() as stack:
        settings = Path(stack.enter_context(tempfile.TemporaryDirectory())) / "nats.conf"
        settings.write_text(SETTINGS)
        server = NatsServer("-c", str(settings)).start()
        async with Hosts(engine, server.url, server.port).run() as hosts:
            faults = NatsFaults(hosts, server)
            stack.callback(faults.kill)
            return await hosts.bear_all(verdict, faults, trials, only)

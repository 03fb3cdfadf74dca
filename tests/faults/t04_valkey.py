"""T4: Valkey restarts, drops its clients, is flushed, fails over; the way to it falls silent.

Plain topics: what is published while a host is away is lost to it, and told. Nothing comes twice,
and no host stays deaf. Topics with a history, where the server writes each change before it
answers: nothing is lost, but with the keys or the server, and then that is told.
"""

import asyncio
import contextlib
import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path

from valkey_server import ValkeyServer, until

from faults.broker_hosts import TOPIC, BrokerFaults, Hosts
from faults.ledger import Verdict

LONG = {"trials": 250}
SHORT = {"trials": 7}

#: Each change is on the disk before it is answered.
DURABLE = ("--appendonly", "yes", "--appendfsync", "always")

#: What the broker holds for a subscriber that does not read.
BUFFER_LIMIT = b"pubsub 1mb 1mb 1"


class ValkeyFaults(BrokerFaults):
    """What can happen to a server of Valkey."""

    harmless = "flushes"
    losing = frozenset({"flushes", "failovers"})
    emptying = frozenset({"flushes"})
    flood_count = 600  # sockets hold up to 32 MiB and more, where the system lets them

    def __init__(self, hosts: Hosts, server: ValkeyServer, directory: Path) -> None:
        super().__init__(hosts, server)
        self._directory = directory
        self._count = 0

    def kinds(self) -> dict[str, Callable[[], Awaitable[None]]]:
        return super().kinds() | {
            "killed subscribers": self.kill_subscribers,
            "killed publishers": self.kill_publishers,
            "flushes": self.flush,
        }

    def limit(self) -> None:
        """Set what a fresh server does not know."""
        self.server.ask(b"CONFIG", b"SET", b"client-output-buffer-limit", BUFFER_LIMIT)

    async def restart(self) -> None:
        await super().restart()
        self.limit()

    async def kill_subscribers(self) -> None:
        self.server.ask(b"CLIENT", b"KILL", b"TYPE", b"pubsub")

    async def kill_publishers(self) -> None:
        self.server.ask(b"CLIENT", b"KILL", b"TYPE", b"normal")

    async def flush(self) -> None:
        self.server.ask(b"FLUSHALL")

    def count_subscribed(self) -> int:
        count: int = self.server.ask(b"PUBSUB", b"NUMSUB", b"sockwave:t:" + TOPIC.encode())[1]
        return count

    def publish(self, message: bytes) -> None:
        self.server.ask(b"PUBLISH", b"sockwave:t:" + TOPIC.encode(), message)

    async def fail_over(self) -> None:
        """Have a replica take the place of the server, which is gone.

        Every other time it lacks what the server has taken at the end.
        """
        old = self.server
        self._count += 1
        place = self._directory / f"{self._count}"
        place.mkdir()
        replica = ValkeyServer(place, *DURABLE, "--replicaof", f"127.0.0.1 {old.port}")
        await asyncio.to_thread(replica.start)
        await until(lambda: b"master_link_status:up" in replica.ask(b"INFO", b"replication"))
        if self._count % 2:
            replica.ask(b"REPLICAOF", b"NO", b"ONE")
            await asyncio.sleep(0.1)
        old.kill()
        replica.ask(b"REPLICAOF", b"NO", b"ONE")
        replica.arguments = DURABLE
        self.lead_to(replica)
        self.limit()


async def run(engine: str, seed: int, *, trials: int, only: str | None = None) -> Verdict:
    """Break one thing after the other, or the same again and again."""
    verdict = Verdict("T4" if only is None else f"T4 {only}", engine, seed)
    with contextlib.ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        server = ValkeyServer(directory, *DURABLE).start()
        async with Hosts(engine, seed, server.url, server.port).run() as hosts:
            faults = ValkeyFaults(hosts, server, directory)
            stack.callback(faults.kill)
            faults.limit()
            return await hosts.bear_all(verdict, faults, trials, only)

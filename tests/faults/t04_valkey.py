"""T4: Valkey restarts, drops its clients, is flushed, fails over; the way to it falls silent.

Plain topics: what is published while a host is away is lost to it, and told. Nothing comes twice,
and no host stays deaf.
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

#: What the broker holds for a subscriber that does not read.
BUFFER_LIMIT = b"pubsub 1mb 1mb 1"


class ValkeyFaults(BrokerFaults):
    """What can happen to a server of Valkey."""

    harmless = "flushes"

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

    def publish(self, message: bytes) -> None:
        self.server.ask(b"PUBLISH", b"sockwave:t:" + TOPIC.encode(), message)

    async def fail_over(self) -> None:
        """Have a replica take the place of the server, which is gone."""
        old = self.server
        replica = ValkeyServer(
            old.directory, "--replicaof", f"127.0.0.1 {old.port}", "--dbfilename", "b"
        )
        await asyncio.to_thread(replica.start)
        await until(lambda: b"master_link_status:up" in replica.ask(b"INFO", b"replication"))
        old.kill()
        replica.ask(b"REPLICAOF", b"NO", b"ONE")
        replica.arguments = ()
        self.lead_to(replica)
        self.limit()


async def run(engine: str, seed: int, *, trials: int, only: str | None = None) -> Verdict:
    """Break one thing after the other, or the same again and again."""
    verdict = Verdict("T4" if only is None else f"T4 {only}", engine, seed)
    with contextlib.ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        server = ValkeyServer(directory).start()
        async with Hosts(engine, server.url, server.port).run() as hosts:
            faults = ValkeyFaults(hosts, server)
            stack.callback(faults.kill)
            faults.limit()
            return await hosts.bear_all(verdict, faults, trials, only)

"""T2: a network that delays, slices, swallows and resets, between the clients and the server.

What arrives is what was sent, in order and once; of a connection that the proxy ended, a beginning.
"""

import asyncio
import math
import signal
import time
from collections import defaultdict

from faults.client import BINARY, Client
from faults.ledger import Ledger, Stream, Verdict
from faults.processes import Process, Served, choose_cores, growth

#: Messages that are on their way at once, on a connection.
DEPTH = 400
#: Far more than a loaded machine takes to answer: who is swallowed is told by the proxy.
SILENCE_S = 60.0
ENDING_PERCENT = 10


LONG = {"connection_count": 200, "message_count": 10_000}
SHORT = {"connection_count": 20, "message_count": 300}

#: By a client's port: the proxy passes nothing on any more.
Silences = defaultdict[int, asyncio.Event]


class Talker:
    """One connection that echoes so many messages, or until it is ended."""

    def __init__(self, port: int, ledger: Ledger, sender: int, message_count: int) -> None:
        self.port = port
        self.stream = Stream(ledger, sender)
        self.message_count = message_count
        self.heard = asyncio.Event()
        self.has_failed = False

    def hear(self, opcode: int, payload: bytes) -> None:
        """Take an echo."""
        if opcode == BINARY:
            self.stream.hear(payload)
            self.heard.set()

    async def talk(self, silences: Silences) -> None:
        """Connect, and say all that there is to say, unless the proxy falls silent."""
        try:
            client = await Client.open(self.port, "/", self.hear)
        except OSError:
            self.has_failed = True
            return
        silence = silences[client.transport.get_extra_info("sockname")[1]]
        ways = [asyncio.ensure_future(one) for one in (self.converse(client), silence.wait())]
        await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        self.has_failed |= not ways[0].done()
        for way in ways:
            way.cancel()
        await asyncio.wait(ways)
        client.reset()

    async def converse(self, client: Client) -> None:
        """Send all, in batches, wait for every echo, and close."""
        stream = self.stream
        client.ended.add_done_callback(lambda _: self.heard.set())
        try:
            async with asyncio.timeout(SILENCE_S):
                self.has_failed = await client.opened != 101
            while stream.heard_count < self.message_count and not self.has_failed:
                room = min(DEPTH - (stream.sent_count - stream.heard_count), DEPTH // 2)
                for _ in range(min(room, self.message_count - stream.sent_count)):
                    client.send(stream.next_message())
                self.heard.clear()
                async with asyncio.timeout(SILENCE_S):
                    await self.heard.wait()
                self.has_failed |= client.ended.done()
            if not self.has_failed:
                client.close()
                async with asyncio.timeout(SILENCE_S):
                    self.has_failed = await client.ended != 1000
        except TimeoutError:
            self.has_failed = True


async def hear_cuts(proxy: Process, silences: Silences) -> dict[str, int]:
    """Note who is swallowed, until the proxy says how much it has cut."""
    while "silent" in (said := await proxy.hear(math.inf)):
        silences[said["silent"]].set()
    return said


async def run(
    engine: str,
    seed: int,
    *,
    connection_count: int,
    message_count: int,
) -> Verdict:
    """Have so many connections echo so many messages each, through the proxy."""
    verdict = Verdict("T2", engine, seed)
    server_core, client_core = choose_cores()
    async with Served.start(engine, core=server_core) as served:
        before = await served.settle()
        arguments = ["--target", str(served.port), "--seed", str(seed)]
        arguments += ["--ending-percent", str(ENDING_PERCENT)]
        async with Process.run("proxy.py", *arguments, core=client_core) as proxy:
            port = (await proxy.hear())["port"]
            talkers = [
                Talker(port, verdict.ledger, sender, message_count)
                for sender in range(1, connection_count + 1)
            ]
            silences: Silences = defaultdict(asyncio.Event)
            cuts = asyncio.ensure_future(hear_cuts(proxy, silences))
            began = time.monotonic()
            await asyncio.gather(*(talker.talk(silences) for talker in talkers))
            seconds = time.monotonic() - began
            proxy.signal(signal.SIGTERM)
            cut = await cuts
        failed_count = sum(talker.has_failed for talker in talkers)
        for talker in talkers:
            # Whatever the proxy ended, it has counted; nobody else may.
            talker.stream.settle(explained=talker.has_failed)
        ended_count = cut["resets"] + cut["swallowed"]
        verdict.ledger.unexplained += max(0, failed_count - ended_count)
        grown = growth(before, await served.settle(before))
        verdict.require(not grown, f"there is more {grown}")
        verdict.require(served.is_alive, f"it died: {served.last_words()}")
    ledger = verdict.ledger
    wrong = ledger.corrupted + ledger.lost + ledger.reordered + ledger.duplicated
    return verdict.close(
        f"{cut['slices']} slices, {wrong} corrupted/lost/reordered; {connection_count} connections "
        f"x {message_count} messages in {seconds:.0f} s, {cut['resets']} reset and "
        f"{cut['swallowed']} swallowed by the proxy"
    )

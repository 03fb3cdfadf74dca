"""T2: a network that delays, slices, swallows and resets, between the clients and the server.

What arrives is what was sent, in order and once; of a connection that the proxy ended, a beginning.
"""

import asyncio
import signal
import time

from faults.client import BINARY, Client
from faults.ledger import Ledger, Stream, Verdict
from faults.processes import Process, Served, choose_cores, growth

#: Messages that are on their way at once, on a connection.
DEPTH = 400
#: A connection that gets nothing for so long has been swallowed by the proxy, if anything has.
SILENCE_S = 15.0
ENDING_PERCENT = 10


LONG = {"connection_count": 200, "message_count": 10_000}
SHORT = {"connection_count": 20, "message_count": 300, "silence_s": 3.0}


class Talker:
    """One connection that echoes so many messages, or until it is ended."""

    def __init__(self, port: int, ledger: Ledger, sender: int, message_count: int) -> None:
        self.port = port
        self.stream = Stream(ledger, sender)
        self.message_count = message_count
        self.heard = asyncio.Event()
        self.has_failed = False
        self.silence_s = SILENCE_S

    def hear(self, opcode: int, payload: bytes) -> None:
        """Take an echo."""
        if opcode == BINARY:
            self.stream.hear(payload)
            self.heard.set()

    async def talk(self) -> None:
        """Send all, in batches, and wait for every echo."""
        try:
            async with asyncio.timeout(self.silence_s):
                client = await Client.open(self.port, "/", self.hear)
                self.has_failed = await client.opened != 101
        except (OSError, TimeoutError):
            self.has_failed = True
            return
        client.ended.add_done_callback(lambda _: self.heard.set())
        stream = self.stream
        while stream.heard_count < self.message_count and not self.has_failed:
            room = min(DEPTH - (stream.sent_count - stream.heard_count), DEPTH // 2)
            for _ in range(min(room, self.message_count - stream.sent_count)):
                client.send(stream.next_message())
            self.heard.clear()
            try:
                async with asyncio.timeout(self.silence_s):
                    await self.heard.wait()
            except TimeoutError:
                self.has_failed = True
            self.has_failed |= client.ended.done()
        if not self.has_failed:
            client.close()
            try:
                async with asyncio.timeout(self.silence_s):
                    self.has_failed = await client.ended != 1000
            except TimeoutError:
                self.has_failed = True
        client.reset()


async def run(
    engine: str,
    seed: int,
    *,
    connection_count: int,
    message_count: int,
    silence_s: float = SILENCE_S,
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
            for talker in talkers:
                talker.silence_s = silence_s
            began = time.monotonic()
            await asyncio.gather(*(talker.talk() for talker in talkers))
            seconds = time.monotonic() - began
            proxy.signal(signal.SIGTERM)
            cut = await proxy.hear()
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

"""T6: SIGTERM under load: who was heard is answered, everybody is told 1001, exit code 0.

And a second SIGTERM, one in the middle of a handshake, one in the middle of a large send.
"""

import asyncio
import inspect
import json
import random
import signal
import time
from dataclasses import dataclass, field

import sockwave
from faults.client import BINARY, Client, make_frame, make_request
from faults.ledger import Ledger, Stream, Verdict
from faults.processes import Served

CONNECTION_COUNT = 20
DEPTH = 20
#: What `close` gives 1001 out in, if it spreads it; and what it gives the whole.
JITTER_S = 1.0
SHORT_JITTER_S = 0.2
DRAIN_S = 8.0
#: How long a second signal may take to end it: nobody is waited for any more.
ABORT_S = 5.0


LONG = {"trial_count": 100}
SHORT = {"trial_count": 3, "jitter_s": SHORT_JITTER_S}


def drain_options(jitter_s: float) -> tuple[dict[str, object], float]:
    """Give the options that set how SIGTERM drains, where the server has such; and its time."""
    parameters = inspect.signature(sockwave.Server.close).parameters
    if "jitter" not in parameters:
        return {}, 10.0 + 5
    return {"drain": DRAIN_S, "jitter": jitter_s}, DRAIN_S + 5


@dataclass
class Trial:
    """One server, told to end while it is at work."""

    engine: str
    ledger: Ledger
    chance: random.Random
    jitter_s: float
    drain_s: float = 0.0
    exit_code: int | None = None
    codes: list[int] = field(default_factory=list)

    async def run(self) -> None:
        """Load it, tell it to end, and hold what it says it echoed against what came."""
        close_options, patience_s = drain_options(self.jitter_s)
        async with Served.start(
            self.engine, "--close-options", json.dumps(close_options)
        ) as served:
            clients = [
                await self.connect(served.port, number) for number in range(CONNECTION_COUNT)
            ]
            await asyncio.sleep(self.chance.uniform(0.02, 0.2))
            began = time.monotonic()
            served.signal(signal.SIGTERM)
            async with asyncio.timeout(patience_s):
                for client, _ in clients:
                    self.codes.append(await client.ended)
                echoed = (await served.hear())["echoed"]
                self.exit_code = await served.wait()
            self.drain_s = time.monotonic() - began
        for number, (_, stream) in enumerate(clients):
            # Accepted is what the application has heard: it has answered all of that.
            accepted = echoed.get(f"c={number}", 0)
            self.ledger.expected += accepted
            self.ledger.lost += accepted - stream.heard_count

    async def connect(self, port: int, number: int) -> tuple[Client, Stream]:
        """Connect a client that keeps so many messages on their way until it is told to go."""
        stream = Stream(self.ledger, number)

        def hear(opcode: int, payload: bytes) -> None:
            if opcode == BINARY:
                stream.hear(payload)
                if not client.has_closed:
                    client.send(stream.next_message())

        client = await Client.open(port, f"/count?c={number}", hear)
        assert await client.opened == 101
        for _ in range(DEPTH):
            client.send(stream.next_message())
        return client, stream


async def interrupt(engine: str, kind: str, verdict: Verdict, jitter_s: float) -> None:
    """Send SIGTERM in one of the awkward moments."""
    close_options, patience_s = drain_options(jitter_s)
    async with Served.start(engine, "--close-options", json.dumps(close_options)) as served:
        sizes: list[int] = []
        began = time.monotonic()
        if kind == "twice":
            client = await Client.open(served.port)
            await client.opened
            client.answers_close = False  # one that has to be waited for
            client.transport.pause_reading()
            served.signal(signal.SIGTERM)
            await wait_until_refused(served.port)
            began = time.monotonic()
            served.signal(signal.SIGTERM)
            patience_s = ABORT_S
        elif kind == "handshake":
            client = Client()
            loop = asyncio.get_running_loop()
            await loop.create_connection(lambda: client, "127.0.0.1", served.port)
            client.write(make_request()[:50])
            await served.ask(served.port)  # the server has read those bytes, which came before
            served.signal(signal.SIGTERM)
        else:
            client = await Client.open(served.port, "/", lambda _, data: sizes.append(len(data)))
            await client.opened
            client.transport.pause_reading()
            client.write(make_frame(bytes(900_000)))
            await client.drain()
            await served.ask(served.port)
            served.signal(signal.SIGTERM)
            await wait_until_refused(served.port)
            client.transport.resume_reading()
        try:
            async with asyncio.timeout(patience_s):
                code = await served.wait()
        except TimeoutError:
            verdict.require(False, f"SIGTERM, {kind}: it does not end in {patience_s:.0f} s")
            client.reset()
            return
        seconds = time.monotonic() - began
        client.transport.resume_reading()
        ended = await client.ended
        client.reset()
        verdict.require(code == 0, f"SIGTERM, {kind}: exit code {code} after {seconds:.1f} s")
        if kind == "large send":
            verdict.require(sizes[:1] == [900_000], f"SIGTERM, {kind}: {sizes} came")
            verdict.require(ended == 1001, f"SIGTERM, {kind}: code {ended}")


async def wait_until_refused(port: int) -> None:
    """Wait until nobody listens any more: the signal has been taken."""
    async with asyncio.timeout(10):
        while True:
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", port)
            except OSError:
                return
            writer.close()
            await asyncio.sleep(0.01)


async def run(
    engine: str, seed: int, *, trial_count: int, at_once: int = 5, jitter_s: float = JITTER_S
) -> Verdict:
    """Tell so many servers to end, a few at a time."""
    verdict = Verdict("T6", engine, seed)
    chance = random.Random(seed)
    trials = [
        Trial(engine, verdict.ledger, random.Random(chance.random()), jitter_s)
        for _ in range(trial_count)
    ]
    gate = asyncio.Semaphore(at_once)

    async def attempt(trial: Trial) -> None:
        async with gate:
            try:
                await trial.run()
            except TimeoutError:
                verdict.require(False, "a drain took too long")

    await asyncio.gather(*map(attempt, trials))
    for kind in ("twice", "handshake", "large send"):
        await interrupt(engine, kind, verdict, jitter_s)
    codes = [code for trial in trials for code in trial.codes]
    share = codes.count(1001) / max(len(codes), 1)
    exits = {trial.exit_code for trial in trials}
    verdict.require(share == 1, f"{len(codes) - codes.count(1001)} clients did not see 1001")
    verdict.require(exits == {0}, f"exit codes {exits}")
    return verdict.close(
        f"{trial_count} SIGTERM under load, {verdict.ledger.expected} messages accepted, "
        f"{verdict.ledger.lost} lost, {share:.0%} of {len(codes)} clients saw 1001, "
        f"longest drain {max(trial.drain_s for trial in trials):.1f} s, exit codes {exits}; "
        "twice, during a handshake and a large send"
    )

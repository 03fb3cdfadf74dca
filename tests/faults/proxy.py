"""A proxy that delays, slices, resets and swallows what goes through it, as its seed says.

Says its port on stdout, then the port of each client for whom it falls silent, and at SIGTERM how
much it has cut. Each connection has a temper of its own: most are only slow and cut small; some end
with RST, or pass nothing on from some byte on, for ever.
"""

import argparse
import asyncio
import json
import random
import signal
import sys
from dataclasses import dataclass

from client import abort_transport

SLICE_SIZES = (1, 2, 7, 64, 300, 1460, 9000, 65536)
LEAST_DELAY_S, MOST_DELAY_S = 0.001, 0.2
#: A cut costs a system call and a turn of the loop: of a long stretch only the beginning is cut as
#: small as the temper has it, the rest in pieces of at least one such part.
PART_COUNT = 100


@dataclass
class Temper:
    """What a connection has to bear."""

    slice_size: int
    delay_s: float
    ends_after: int | None = None  # bytes, both ways
    swallows: bool = False  # it does not end then, it falls silent


class Proxy:
    """Listens, and passes on."""

    def __init__(self, target: int, seed: int, ending_percent: int) -> None:
        self.target = target
        self.chance = random.Random(seed)
        self.ending_percent = ending_percent
        self.slice_count = self.reset_count = self.swallowed_count = 0
        self.tasks: set[asyncio.Task[None]] = set()

    def draw_temper(self) -> Temper:
        """Choose what the next connection has to bear."""
        temper = Temper(self.chance.choice(SLICE_SIZES), self.chance.uniform(0, MOST_DELAY_S))
        if self.chance.randrange(100) < self.ending_percent:
            temper.ends_after = self.chance.randrange(300, 200_000)
            temper.swallows = self.chance.random() < 0.5
        return temper

    async def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Connect a client to the server, until one of them ends."""
        temper = self.draw_temper()
        client_port = writer.get_extra_info("peername")[1]
        there, back = await asyncio.open_connection("127.0.0.1", self.target)
        ways = [
            asyncio.ensure_future(self.carry(reader, back, temper, client_port)),
            asyncio.ensure_future(self.carry(there, writer, temper, client_port)),
        ]
        self.tasks.update(ways)
        await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        if not any(way.done() and way.result() for way in ways):
            # One way has ended in order, so the other may still have something to say.
            await asyncio.wait(ways)
        for way in ways:
            way.cancel()
        self.tasks.difference_update(ways)
        if any(way.done() and not way.cancelled() and way.result() for way in ways):
            abort_transport(writer.transport)
            abort_transport(back.transport)
        writer.close()
        back.close()

    async def carry(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        temper: Temper,
        client_port: int,
    ) -> bool:
        """Pass on one way; True if it ends with RST."""
        size = 0
        try:
            while data := await reader.read(65536):
                await asyncio.sleep(self.chance.uniform(LEAST_DELAY_S, temper.delay_s + 0.002))
                size += len(data)
                if temper.ends_after is not None and size > temper.ends_after:
                    if temper.swallows:
                        self.swallowed_count += 1
                        say(silent=client_port)
                        await asyncio.Event().wait()
                    self.reset_count += 1
                    return True
                await self.slice(data, writer, temper.slice_size)
            if writer.can_write_eof():
                writer.write_eof()
        except OSError:
            return True
        return False

    async def slice(self, data: bytes, writer: asyncio.StreamWriter, slice_size: int) -> None:
        """Write in slices, each in a turn of the loop of its own."""
        at = count = 0
        while at < len(data):
            least = slice_size if count < PART_COUNT else max(slice_size, len(data) // PART_COUNT)
            end = at + self.chance.randint(1, least)
            writer.write(data[at:end])
            at = end
            count += 1
            await asyncio.sleep(0)
        await writer.drain()
        self.slice_count += count


async def main() -> None:
    """Serve until SIGTERM."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--target", type=int, required=True)
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--ending-percent", type=int, default=0)
    arguments = parser.parse_args()
    proxy = Proxy(arguments.target, arguments.seed, arguments.ending_percent)
    over = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, over.set)
    server = await asyncio.start_server(proxy.accept, "127.0.0.1", 0, backlog=1000)
    say(port=server.sockets[0].getsockname()[1])
    await over.wait()
    say(
        slices=proxy.slice_count,
        resets=proxy.reset_count,
        swallowed=proxy.swallowed_count,
    )


def say(**record: int) -> None:
    """Tell the test a line."""
    sys.stdout.write(json.dumps(record) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    asyncio.run(main())

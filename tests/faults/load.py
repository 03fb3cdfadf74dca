"""Clients that echo all the time, each message in its ledger, while something goes wrong."""

import asyncio
import time
from collections.abc import Callable

from faults.client import BINARY, Client
from faults.ledger import Ledger, Stream


class Load:
    """Connections that send a message, wait for its echo, and send the next.

    One that is lost is replaced; what was on its way on it is explained, as `must_hold` is False.
    """

    def __init__(
        self, port: int, ledger: Ledger, count: int, *, must_hold: bool, depth: int = 1
    ) -> None:
        self.port = port
        self.ledger = ledger
        self.must_hold = must_hold
        self.depth = depth
        self.lost_count = 0
        self.opened_count = 0
        self.sender = 0
        self.heard_count = 0
        self.is_over = False
        self.tasks = [asyncio.ensure_future(self.keep_up()) for _ in range(count)]

    async def keep_up(self) -> None:
        """Keep one connection up."""
        while not self.is_over:
            self.sender += 1
            stream = Stream(self.ledger, self.sender)
            more = asyncio.Event()
            client = Client(self._hearer(stream, more))
            try:
                await self.converse(client, stream, more)
            except OSError:
                pass
            finally:
                if hasattr(client, "transport"):
                    client.reset()
                was_lost = client.ended.done() and not self.is_over
                self.lost_count += was_lost
                stream.settle(explained=was_lost and not self.must_hold)
            await asyncio.sleep(0.02)

    def _hearer(self, stream: Stream, more: asyncio.Event) -> Callable[[int, bytes], None]:
        def hear(opcode: int, payload: bytes) -> None:
            if opcode == BINARY:
                stream.hear(payload)
                self.heard_count += 1
                more.set()

        return hear

    async def converse(self, client: Client, stream: Stream, more: asyncio.Event) -> None:
        """Echo until the end of the load, or the connection's."""
        loop = asyncio.get_running_loop()
        await loop.create_connection(lambda: client, "127.0.0.1", self.port)
        client.open_with("/")
        if await client.opened != 101:
            return
        self.opened_count += 1
        client.ended.add_done_callback(lambda _: more.set())
        while not client.ended.done():
            if self.is_over and stream.heard_count == stream.sent_count:
                return
            while not self.is_over and stream.sent_count - stream.heard_count < self.depth:
                client.send(stream.next_message())
            more.clear()
            await more.wait()

    async def wait(self, seconds: float, patience: float = 10.0) -> bool:
        """Let it run for a while, then until something has been heard; False if nothing is."""
        before, end = self.heard_count, time.monotonic() + seconds + patience
        await asyncio.sleep(seconds)
        while self.heard_count == before and time.monotonic() < end:  # noqa: ASYNC110 - no event
            await asyncio.sleep(0.01)
        return self.heard_count > before

    async def stop(self, patience: float = 10.0) -> None:
        """Wait for the echoes that are due, and end; what does not come by then is lost."""
        self.is_over = True
        _, late = await asyncio.wait(self.tasks, timeout=patience)
        for task in late:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)

"""How an attacker sends: more than is taken, and byte by byte."""

import asyncio
import math
import socket
from collections.abc import Awaitable, Callable

from costs import Costs
from kernel import measure_unread
from wire import Wire, wait_until

from attacks.process import Victim


async def pour(victim: Victim, wire: Wire, batch: bytes, count: int) -> int:
    """Send a batch so many times, until it is no longer taken; give how often it was."""
    for taken in range(count):
        wire.write(batch)
        draining = asyncio.ensure_future(wire.drain())
        await asyncio.wait([draining], timeout=0)
        if not draining.done():
            # All of it leaves, or the server reads no more of it.
            await victim.settle(wire.writer.transport.get_write_buffer_size)
        # Where it has read all that came, the rest is on its way.
        await wait_until(lambda sent=draining: sent.done() or measure_unread(wire) != 0)
        if not draining.done():
            draining.cancel()
            await asyncio.wait([draining])
            return taken
        if isinstance(draining.exception(), ConnectionError) or wire.reader.has_ended:
            return taken
    return count


async def drip(wire: Wire, data: bytes) -> None:
    """Send each byte in a segment of its own, from a thread: the server reads meanwhile."""
    await wire.drain()
    raw = wire.writer.get_extra_info("socket")

    def send() -> None:
        sock = socket.socket(fileno=socket.dup(raw.fileno()))
        try:
            sock.setblocking(True)
            for i in range(len(data)):
                sock.send(data[i : i + 1])
        finally:
            sock.setblocking(False)
            sock.close()

    await asyncio.to_thread(send)


async def cpu_ratio(
    victim: Victim, attack: Callable[[int], Awaitable[None]], size: int, *, enough: float = 2.5
) -> float:
    """Give how much more CPU time an attack of twice the size takes: 2 where each costs the same.

    Half the size is compared with twice the size, as two doublings tell a square (16 times) from a
    line (4 times) more surely than one; what is given is the root. `Costs` measures on until
    it is below `enough`.
    """

    async def take_time() -> float:
        # The clock of another process moves when that is put to sleep, or at a tick: what is still
        # at work behind its answer would be counted with the next attack.
        await wait_until(victim.is_asleep)
        return victim.cpu_s()

    async def measure(size: int) -> float:
        before = await take_time()
        await attack(size)
        return await take_time() - before

    await attack(size)
    costs = Costs(enough**2)
    while costs.are_in_doubt:
        costs.take(await measure(size // 2), await measure(2 * size))
    return math.sqrt(costs.ratio)

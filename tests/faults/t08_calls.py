"""T8: system calls fail: no descriptors, no buffers, connections gone before they were accepted.

The process goes on without spinning, and serves again when the fault is over.
"""

import asyncio
import errno
import math
import resource
import time
from dataclasses import dataclass

from faults.client import Client
from faults.ledger import Verdict
from faults.load import Load
from faults.processes import Served, growth
from faults.shim import PARTIAL, Shim

CONNECTION_COUNT = 20
#: The processor time that a server may use while it cannot accept, of all the time.
IDLE_CPU = 0.05
#: asyncio rests for a second when it cannot accept; then it has to be up to the job.
RECOVERY_MS = 3000.0
PATIENCE_S = 15.0


LONG = {"seconds": 2.0}
SHORT = {"seconds": 0.1}


@dataclass(frozen=True)
class Fault:
    """What befalls which call, how often, and what it may cost."""

    call: str
    error: int
    permille: int
    #: Whether connections that stand must go on standing.
    must_hold: bool
    #: Whether nobody can connect meanwhile.
    shuts_door: bool = False

    def __str__(self) -> str:
        return f"{self.call} {'partial' if self.error == PARTIAL else errno.errorcode[self.error]}"


FAULTS = (
    Fault("accept4", errno.EMFILE, 1000, must_hold=True, shuts_door=True),
    Fault("accept4", errno.ENFILE, 1000, must_hold=True, shuts_door=True),
    Fault("accept4", errno.ENOBUFS, 1000, must_hold=True, shuts_door=True),
    Fault("accept4", errno.ENOMEM, 1000, must_hold=True, shuts_door=True),
    Fault("accept4", errno.ECONNABORTED, 500, must_hold=True),
    Fault("accept4", errno.EINTR, 500, must_hold=True),
    Fault("recv", errno.EINTR, 300, must_hold=True),
    Fault("recv", errno.EAGAIN, 300, must_hold=True),
    Fault("recv", PARTIAL, 500, must_hold=True),
    Fault("recv", errno.ECONNRESET, 20, must_hold=False),
    Fault("recv", errno.ENOBUFS, 20, must_hold=False),
    Fault("recv", errno.ENOMEM, 20, must_hold=False),
    Fault("send", errno.EINTR, 300, must_hold=True),
    Fault("send", errno.EAGAIN, 300, must_hold=True),
    Fault("send", PARTIAL, 500, must_hold=True),
    Fault("send", errno.EPIPE, 20, must_hold=False),
    Fault("send", errno.ENOBUFS, 20, must_hold=False),
    Fault("epoll_wait", errno.EINTR, 300, must_hold=True),
    Fault("epoll_wait", PARTIAL, 500, must_hold=True),
    Fault("epoll_ctl", errno.ENOSPC, 200, must_hold=True),
    Fault("epoll_ctl", errno.ENOMEM, 200, must_hold=True),
)


class Campaign:
    """One server, and one fault after the other."""

    def __init__(self, served: Served, shim: Shim, verdict: Verdict) -> None:
        self.served = served
        self.shim = shim
        self.verdict = verdict
        self.cpu = 0.0
        self.recovery_ms = 0.0
        self.lost_count = 0

    async def try_fault(self, fault: Fault, seconds: float) -> None:
        """Let one fault befall the server under load, and see it over."""
        load = Load(
            self.served.port, self.verdict.ledger, CONNECTION_COUNT, must_hold=fault.must_hold
        )
        strangers: list[Client] = []
        try:
            is_heard = await load.wait(min(0.2, seconds))
            self.verdict.require(is_heard, f"{fault}: nothing is echoed before it")
            self.shim.befall(fault.call, fault.error, fault.permille)
            if fault.shuts_door:
                await load.stop()
                strangers += await self.knock(5)
                await self.watch_idle(fault, seconds)
            else:
                # New ones all the time, for the calls that come with them.
                for _ in range(10):
                    strangers += await self.knock(2)
                    await load.wait(seconds / 10, 0)
        finally:
            self.shim.let_be()
            await self.see_recovery(fault, strangers)
            await load.stop()
        self.lost_count += load.lost_count
        if fault.must_hold:
            self.verdict.require(not load.lost_count, f"{fault}: {load.lost_count} lost")

    async def knock(self, count: int) -> list[Client]:
        """Connect, without waiting for an answer."""
        return [await Client.open(self.served.port) for _ in range(count)]

    async def watch_idle(self, fault: Fault, seconds: float) -> None:
        """See that a server that cannot accept does not spin: then it would do so each time."""
        cpu = math.inf
        for _ in range(5):
            before, began = self.served.cpu_s, time.monotonic()
            await asyncio.sleep(seconds)
            cpu = min(cpu, (self.served.cpu_s - before) / (time.monotonic() - began))
            if cpu < IDLE_CPU:
                break
        self.cpu = max(self.cpu, cpu)
        self.verdict.require(cpu < IDLE_CPU, f"{fault}: {cpu:.0%} of a processor")

    async def see_recovery(self, fault: Fault, strangers: list[Client]) -> None:
        """See that whoever knocked is let in, or was hung up on, and that a new one is served."""
        began = time.monotonic()
        try:
            async with asyncio.timeout(PATIENCE_S):
                guest = await Client.open(self.served.port)
                status = await guest.opened
                while status != 101:
                    guest.reset()
                    guest = await Client.open(self.served.port)
                    status = await guest.opened
                recovery_ms = (time.monotonic() - began) * 1000
                guest.reset()
                for stranger in strangers:
                    await stranger.opened
        except TimeoutError:
            self.verdict.require(False, f"{fault}: nobody is let in behind it")
            return
        finally:
            for stranger in strangers:
                stranger.reset()
        self.recovery_ms = max(self.recovery_ms, recovery_ms)
        self.verdict.require(recovery_ms < RECOVERY_MS, f"{fault}: {recovery_ms:.0f} ms to recover")

    async def run_out_of_descriptors(self, seconds: float) -> None:
        """Have no descriptors for real, five clients later."""
        hard = resource.prlimit(self.served.pid, resource.RLIMIT_NOFILE)[1]
        limit = self.served.descriptor_count + 5
        resource.prlimit(self.served.pid, resource.RLIMIT_NOFILE, (limit, hard))
        fault = Fault("accept4", errno.EMFILE, 1000, must_hold=True, shuts_door=True)
        strangers = await self.knock(20)
        try:
            await asyncio.sleep(0.2)
            await self.watch_idle(fault, seconds)
        finally:
            resource.prlimit(self.served.pid, resource.RLIMIT_NOFILE, (hard, hard))
            await self.see_recovery(fault, strangers)


async def run(engine: str, seed: int, *, seconds: float) -> Verdict:
    """Let each fault befall the server for so many seconds."""
    verdict = Verdict("T8", engine, seed)
    # asyncio's own transports do not survive an epoll that takes no more, nor does their loop.
    faults = [one for one in FAULTS if engine == "epoll" or one.call != "epoll_ctl"]
    shim = Shim(seed)
    crash_count = 0
    try:
        async with Served.start(engine, environment=shim.environment) as served:
            before = await served.settle()
            campaign = Campaign(served, shim, verdict)
            try:
                await campaign.run_out_of_descriptors(seconds)
                for fault in faults:
                    await campaign.try_fault(fault, seconds)
                grown = growth(before, await served.settle(before))
                verdict.require(not grown, f"there is more {grown}")
            except (OSError, TimeoutError) as error:
                verdict.require(False, f"{error!r}")
            if not served.is_alive:
                crash_count = 1
                verdict.require(False, f"it died: {served.last_words()}")
            count = shim.fault_count
    finally:
        shim.close()
    return verdict.close(
        f"{count} faults of {len(faults) + 1} kinds, {crash_count} crashes, "
        f"CPU {campaign.cpu:.1%} without descriptors, recovery {campaign.recovery_ms:.0f} ms, "
        f"{campaign.lost_count} connections lost to errors of their own"
    )

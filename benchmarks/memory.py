"""How much resident memory does an idle connection cost the server?

``--tls`` and ``--deflate`` ask it of connections that are encrypted or may compress; ``--talk`` of
connections that have echoed a message before they fell silent. Each run starts a fresh server,
opens and closes a few connections, and takes the difference that many more make. What the kernel
holds for a socket is not in it.
"""

import argparse
import contextlib
import dataclasses
import re
import statistics
import sys
import time
from pathlib import Path

import harness
from harness import Bench, BenchmarkError, Peer

WARMUP_COUNT = 200
"""Connections opened and closed first, so that what a server loads once is not counted."""
SETTLE_S = 1.0
"""Seconds between the last handshake and the reading."""
HOLD_S = 600
"""Seconds after which the client closes by itself."""
TALK_SIZE = 1024
"""Bytes of the message that is echoed with --talk: sockwave compresses none that is smaller."""
PEERS = {
    "plain": "sockwave,sockwave-cli,picows,websockets,aiohttp,ws,floor",
    "tls": "sockwave,picows,websockets",
    "deflate": "sockwave-zlib-ng,sockwave-zlib,websockets",
}
"""The servers that are asked unless others are named."""


def read_rss(pid: int) -> int:
    """Return the resident memory of a process in bytes, summed by the kernel page by page."""
    text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    match = re.search(r"^Rss:\s+(\d+) kB", text, re.MULTILINE)
    if match is None:
        raise BenchmarkError(f"no Rss in /proc/{pid}/smaps_rollup")
    return int(match[1]) << 10


def measure(bench: Bench, name: str, peer: Peer, count: int) -> dict[str, int]:
    """Return the resident memory without and with `count` connections, and their request's size."""
    with harness.serve(bench, name, peer) as (server, port):
        hold(bench, server.pid, port, WARMUP_COUNT)
        time.sleep(SETTLE_S)
        before = read_rss(server.pid)
        after, request_size = hold(bench, server.pid, port, count)
    return {"before_bytes": before, "after_bytes": after, "request_size": request_size}


def hold(bench: Bench, pid: int, port: int, count: int) -> tuple[int, int]:
    """Open connections and close them; returns the memory between, and the request's size."""
    options = [f"--connections={count}", f"--idle={HOLD_S}"]
    with harness.start_client(bench, port, *options) as client:
        assert client.popen.stdin is not None
        assert client.popen.stdout is not None
        opened = harness.parse_event(client.popen.stdout.readline(), "open", client)
        time.sleep(SETTLE_S)
        resident = read_rss(pid)
        with contextlib.suppress(BrokenPipeError):
            client.popen.stdin.close()
        if client.popen.wait(HOLD_S) != 0:
            raise BenchmarkError(client.last_words())
    return resident, int(opened["request_size"])


def format_row(name: str, peer: Peer, runs: list[dict[str, int]], count: int) -> list[str]:
    """Format one peer's medians; the request is taken off where the server is known to keep it."""
    costs = [(run["after_bytes"] - run["before_bytes"]) / count for run in runs]
    cost = statistics.median(costs)
    keys = ("before_bytes", "after_bytes")
    totals = [statistics.median(run[key] for run in runs) for key in keys]
    return [
        name,
        harness.format_spread(costs, cost, 0),
        f"{cost - runs[0]['request_size']:.0f}" if peer.keeps_request else "-",
        *(f"{total / 2**20:.1f}" for total in totals),
    ]


def prepare_kind(bench: Bench, options: argparse.Namespace) -> tuple[Bench, str]:
    """Return a bench for the connections that were asked for, and words that describe them."""
    kind = ""
    if options.tls:
        bench, kind = harness.encrypt(bench), " over TLS"
    if options.deflate:
        bench = harness.compress(bench, options.deflate)
        kind += f" with permessage-deflate (offer: {options.deflate})"
    if options.talk:
        talk = ("--talk", f"--size={TALK_SIZE}")
        bench = dataclasses.replace(bench, client_options=(*bench.client_options, *talk))
        kind += ", after an echo on each"
    return bench, kind


def main() -> int:
    """Measure and print the table; returns 1 if a server failed."""
    parser = argparse.ArgumentParser(description=__doc__)
    harness.add_arguments(parser, runs=3, timed=False)
    parser.add_argument("--connections", type=int, default=15_000, help="(default %(default)s)")
    parser.add_argument("--quick", action="store_true", help="one run of 2,000 connections")
    parser.add_argument("--talk", action="store_true", help="each echoes 1 KiB before it idles")
    parser.add_argument("--tls", action="store_true", help="connections over TLS")
    harness.add_deflate(parser)
    options = parser.parse_args()
    if options.peers is None:
        kind = "deflate" if options.deflate else "tls" if options.tls else "plain"
        options.peers = PEERS[kind]
    if options.quick:
        options.runs, options.connections = 1, 2_000
    count = options.connections
    with harness.prepare(options) as plain:
        bench, kind = prepare_kind(plain, options)
        choice = harness.choose_peers(options.peers)
        machine = harness.describe_machine(bench)
        harness.print_preface(machine, choice)
        runs, failures = harness.repeat(
            "idle connections",
            options.runs,
            choice.peers,
            lambda name, peer: measure(bench, name, peer, count),
        )
    size = next((own[0]["request_size"] for own in runs.values()), 0)
    harness.print_table(
        f"{count:,} idle connections{kind}, each opened by a request of {size} bytes",
        ["server", "bytes/connection", "less the request", "RSS before, MiB", "RSS with, MiB"],
        [format_row(name, choice.peers[name], own, count) for name, own in runs.items()],
        [f"FAILED {name}: {complaint}" for name, complaint in failures.items()],
    )
    record = {
        "machine": machine,
        "versions": choice.versions,
        "skipped": choice.skipped,
        "connections": count,
        "tls": options.tls,
        "deflate": options.deflate,
        "talk": options.talk,
        "runs": runs,
        "failures": failures,
    }
    name = "memory" + "-tls" * options.tls + "-deflate" * bool(options.deflate)
    harness.write_results(options.output, name, record)
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())

"""What does a message cost the server when many connections each say little?

15,000 connections, each of which sends a message every ten seconds, evenly spread; each message is
echoed, so that the reply can be checked and timed. A wake-up of the server finds few messages, and
what it needs of a connection is not in the processor's caches any more.
"""

import argparse
import sys

import harness
from harness import Question

PEERS = "sockwave,sockwave-run,picows-uvloop,picows,websockets,aiohttp,ws,floor"
CONNECTION_COUNT = 15_000
EVERY_S = 10
SIZE = 128


def main() -> int:
    """Ask the question; returns 1 if a server failed."""
    parser = argparse.ArgumentParser(description=__doc__)
    harness.add_arguments(parser, runs=3, peers=PEERS)
    parser.add_argument("--connections", type=int, default=CONNECTION_COUNT)
    parser.set_defaults(seconds=float(EVERY_S), warmup=2.0)
    options = parser.parse_args()
    count, every_s = options.connections, EVERY_S
    if options.quick:  # the same number of messages a second
        count, every_s = count // 10, EVERY_S // 10
    title = f"Fan-in: {count:,} connections, each {SIZE} B every {every_s} s"
    load = (f"--connections={count}", f"--every={every_s}", f"--size={SIZE}")
    with harness.prepare(options) as bench:
        return harness.answer("fan-in", bench, [Question(title, load)], options)


if __name__ == "__main__":
    sys.exit(main())

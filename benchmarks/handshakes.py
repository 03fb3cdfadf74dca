"""What does an opening handshake cost the server, and how many a second does one core take?

From the connection's SYN to the answer with the right Sec-WebSocket-Accept (RFC 6455, section 4.1),
a number of them under way at any time. What closing costs is not in it.
"""

import argparse
import sys

import harness
from harness import Question

PEERS = "sockwave,sockwave-run,picows-uvloop,picows,websockets,aiohttp,ws,floor"
ROUND_COUNTS = {64: 1_000, 1: 250}
"""Handshakes under way: connections opened before all of them are closed."""


def describe(in_flight: int) -> Question:
    """Describe the question with so many handshakes under way."""
    load = ("--handshakes", f"--connections={ROUND_COUNTS[in_flight]}", f"--depth={in_flight}")
    return Question(f"Handshakes, {in_flight} under way", load, unit="handshake")


def main() -> int:
    """Ask the questions; returns 1 if a server failed."""
    parser = argparse.ArgumentParser(description=__doc__)
    harness.add_arguments(parser, runs=5, peers=PEERS)
    options = parser.parse_args()
    with harness.prepare(options) as bench:
        questions = [describe(in_flight) for in_flight in ROUND_COUNTS]
        return harness.answer("handshakes", bench, questions, options)


if __name__ == "__main__":
    sys.exit(main())

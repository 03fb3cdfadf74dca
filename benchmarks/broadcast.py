"""What does it cost the server to send a message to everybody?

One connection speaks; the server sends what it says to all, the speaker too, and the next message
comes when all have it. In bursts, eight messages come in one write, so that a server may answer
them in one write to each receiver. A delivery is one message to one receiver.
"""

import argparse
import sys

import harness
from harness import Question

PEERS = "sockwave,sockwave-run,picows-uvloop,picows,websockets,aiohttp,ws,floor"
RECEIVER_COUNTS = "1000,5000,15000"
SIZE = 128
BURST_COUNT = 8


def describe(receiver_count: int, depth: int) -> Question:
    """Describe a question: to how many, and how many messages at a time."""
    way = "one at a time" if depth == 1 else f"in bursts of {depth}"
    load = ("--speaker", f"--connections={receiver_count}", f"--size={SIZE}", f"--depth={depth}")
    title = f"Broadcast to {receiver_count:,}, {SIZE} B, {way}"
    return Question(title, load, unit="delivery", role="broadcast")


def main() -> int:
    """Ask the questions; returns 1 if a server failed."""
    parser = argparse.ArgumentParser(description=__doc__)
    harness.add_arguments(parser, runs=5, peers=PEERS)
    parser.add_argument(
        "--receivers", help=f"how many, with commas (default {RECEIVER_COUNTS}; 1000 with --quick)"
    )
    options = parser.parse_args()
    texts = options.receivers or ("1000" if options.quick else RECEIVER_COUNTS)
    counts = [int(text) for text in texts.split(",")]
    questions = [describe(count, depth) for count in counts for depth in (1, BURST_COUNT)]
    with harness.prepare(options) as bench:
        return harness.answer("broadcast", bench, questions, options)


if __name__ == "__main__":
    sys.exit(main())

"""The differential run: `python -m fuzz.differential --cases 1000000 --seed 1`."""

import argparse
import random
import sys
import time
from collections.abc import Callable

from fuzz.differential import frames, http, requests, streams
from fuzz.differential.accepted import REASONS
from fuzz.differential.verdict import Tally


def compare_frames(rng: random.Random, tally: Tally) -> None:
    """Compare readers of frames on one stream."""
    frames.compare(streams.make_stream(rng), rng.choice(frames.SIZES), rng, tally)


def compare_http(rng: random.Random, tally: Tally) -> None:
    """Compare readers of requests on one stream."""
    http.compare(requests.make_requests(rng), rng, tally)


KINDS: dict[str, Callable[[random.Random, Tally], None]] = {
    "frames": compare_frames,
    "http": compare_http,
}


def run(kind: str, seed: int, cases: int, seconds: float) -> Tally:
    """Compare readers until there were so many cases, or so much time has passed."""
    tally = Tally()
    end = time.monotonic() + seconds
    number = 0
    while tally.cases < cases and time.monotonic() < end:
        # A generator for each input, so that one alone can be made again.
        KINDS[kind](random.Random(f"{kind} {seed} {number}"), tally)
        number += 1
    return tally


def main() -> int:
    """Run what is asked for, and print the figures."""
    parser = argparse.ArgumentParser(prog="python -m fuzz.differential", description=__doc__)
    parser.add_argument("kinds", nargs="*", default=list(KINDS), metavar="KIND")
    parser.add_argument("--seed", type=int, default=1, help="of the inputs (%(default)s)")
    parser.add_argument("--cases", type=int, default=1_000_000, help="in all (%(default)s)")
    parser.add_argument("--seconds", type=float, default=3600.0, help="at most (%(default)s)")
    given = parser.parse_args()
    count = 0
    for kind in given.kinds:
        if kind not in KINDS:
            parser.error(f"no such kind: {kind}; there are {', '.join(KINDS)}")
        tally = run(
            kind, given.seed, given.cases // len(given.kinds), given.seconds / len(given.kinds)
        )
        print(tally.summary(f"{kind}, seed {given.seed}"), flush=True)
        for name, times in sorted(tally.listed.items()):
            print(f"    {times:>9,} times {name}")
            assert name in REASONS, "an accepted difference without a reason"
        for difference in tally.unexplained[:20]:
            print(f"  {difference}")
        count += len(tally.unexplained)
    return min(count, 1)


if __name__ == "__main__":
    sys.exit(main())

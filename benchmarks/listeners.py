"""What does the way cost in which an application takes its messages?

sockwave calls a function, or starts a coroutine for each message (`async def`), or is iterated over
(`async for`); websockets and aiohttp are iterated over. First each message is echoed, then the
listeners do nothing: with each batch of 32 comes a ping, and its pong says that it was read.
"""

import argparse
import sys

import harness
from harness import Question

PEERS = "sockwave,sockwave-async-def,sockwave-async-for,websockets,aiohttp"
CONNECTION_COUNT, SIZE = 64, 20
BATCH_COUNT = 32


def describe(depth: int, *, silent: bool = False) -> Question:
    """Describe a question: how many messages in a batch; nothing is answered where it is silent."""
    what = "Nothing is done with" if silent else "Echo of"
    title = f"{what} {SIZE} B, {CONNECTION_COUNT} connections, depth {depth}"
    load = (f"--connections={CONNECTION_COUNT}", f"--size={SIZE}", f"--depth={depth}")
    if silent:
        return Question(title, (*load, "--silent"), serve=("--silent",))
    return Question(title, load)


def main() -> int:
    """Ask the questions; returns 1 if a server failed."""
    parser = argparse.ArgumentParser(description=__doc__)
    harness.add_arguments(parser, runs=5, peers=PEERS)
    options = parser.parse_args()
    questions = [describe(1), describe(BATCH_COUNT), describe(BATCH_COUNT, silent=True)]
    with harness.prepare(options) as bench:
        return harness.answer("listeners", bench, questions, options)


if __name__ == "__main__":
    sys.exit(main())

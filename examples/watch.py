"""Watch a ticker from a plain script, without asyncio: what it is slow to print, it skips.

    python examples/ticker.py
    python examples/watch.py ws://127.0.0.1:8000/prices/ACME,INIT 10

The address, and after how many prices to end.
"""

import sys
from itertools import islice

from sockwave.sync import connect


def name_of(message: str | bytes) -> str:
    return str(message).partition(" ")[0]


def watch(uri: str, count: int) -> None:
    with connect(uri, conflate=name_of) as conn:  # of each name, the newest price that waits
        for message in islice(conn, count):
            print(message, flush=True)


if __name__ == "__main__":
    watch(sys.argv[1], int(sys.argv[2]))

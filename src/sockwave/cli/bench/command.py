"""`sockwave bench`: its arguments."""

import argparse
import sys

from sockwave.cli.shell.client import add_headers, add_trust, make_context
from sockwave.cli.shell.extra import missing_extra
from sockwave.cli.shell.parser import CommandParser
from sockwave.cli.shell.values import (
    byte_count,
    seconds,
    seconds_or_none,
    up_to,
    uri,
)

_FAILURE = 1
#: What is counted in 64 bits with room, and far above what any machine does.
_MOST_COUNT = 10**15
_MOST_CONNECTIONS = 10**9
_MOST_RATE = 10**8
_MOST_DEPTH = 10**6
_MOST_BATCH_SIZE = 1 << 30
MODES = ("echo", "broadcast", "handshake", "idle")
#: Those that send messages.
SPEAKING = ("echo", "broadcast")

_DESCRIPTION = """\
Load a WebSocket server, check every reply byte by byte, and tell how many came
and how late. Runs on Linux.

  echo       each connection sends, and gets its messages back
  broadcast  the first one sends, and all get its messages, itself included
  handshake  connections are opened, and reset once they are open
  idle       connections are opened and held

Without --rate each connection sends its next messages when the last ones are
answered: a server that is stuck is asked nothing, so its latencies say how fast
it is, and not how long a client would wait. With --rate messages leave at a
constant rate, and a latency counts from when the message was to leave.

Exit status: 0 when the load has run, also until Ctrl-C, which gives the figures
so far; 1 when the server cannot be reached, refuses, or does not answer as it
must: the figures until then are printed; 2 for wrong arguments; 130 when Ctrl-C
came before there was any figure.
"""


def add_bench(parser: CommandParser) -> None:
    """Add the arguments of `sockwave bench`."""
    parser.example = "$ sockwave bench ws://127.0.0.1:9001 --rate 10000 --html report.html"
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.description = _DESCRIPTION
    add = parser.add_argument
    add("uri", metavar="URI", type=uri, help="ws://HOST or wss://HOST; HOST alone is ws://HOST")
    add("--mode", choices=MODES, default="echo", help="what is done (default: echo)")
    add(
        "-c",
        "--connections",
        metavar="N",
        type=up_to(_MOST_CONNECTIONS),
        default=64,
        help="connections; with handshake, those under way at once (default: 64)",
    )
    add("--size", metavar="N", type=byte_count, default=20, help="of a message (default: 20 bytes)")
    add(
        "--depth",
        metavar="N",
        type=up_to(_MOST_DEPTH),
        default=1,
        help="messages that a connection sends at once (default: 1)",
    )
    add("--binary", action="store_true", help="binary messages instead of text")
    add("--deflate", action="store_true", help="compressed JSON (permessage-deflate)")
    add(
        "--rate",
        metavar="N",
        type=up_to(_MOST_RATE),
        help="messages in a second, of all connections",
    )
    add(
        "--ramp",
        metavar="S",
        type=seconds_or_none,
        default=0.0,
        help="seconds in which the connections are opened; with --rate, in which it rises from 0",
    )
    add(
        "--warmup",
        metavar="S",
        type=seconds_or_none,
        default=0.5,
        help="seconds of load that are not counted (default: 0.5)",
    )
    add("--duration", metavar="S", type=seconds, default=10.0, help="seconds (default: 10)")
    add(
        "--count",
        metavar="N",
        type=up_to(_MOST_COUNT),
        help="end after so many replies, or handshakes",
    )
    add(
        "--timeout",
        metavar="S",
        type=seconds,
        default=10.0,
        help="seconds to connect, and without any reply (default: 10)",
    )
    add_headers(parser, "each opening request")
    add("--subprotocol", metavar="NAME", help="a subprotocol to offer")
    add_trust(parser)
    add("--json", metavar="FILE", help="write the figures as JSON; - for standard output")
    add("--html", metavar="FILE", help="write a page with plots, which fetches nothing")
    add("--hdr", metavar="FILE", help="write the latencies as a log of HdrHistogram")
    parser.set_defaults(command=run_bench, parser=parser)


def run_bench(chosen: argparse.Namespace) -> int:
    """Load the server, tell of it, and return the exit status."""
    if (lacking := missing_extra("prompt_toolkit", "rich")) is not None:
        print(f"{chosen.parser.prog}: {lacking}", file=sys.stderr)
        return _FAILURE
    if sys.platform != "linux":  # pragma: no cover - other systems
        print(f"{chosen.parser.prog}: needs Linux", file=sys.stderr)
        return _FAILURE
    check(chosen)
    from sockwave.cli.bench.plan import Unreachable, make_plan
    from sockwave.cli.bench.running import run

    try:
        make_context(chosen)  # here, so that a wrong file is told before anything is started
        plan = make_plan(chosen)
    except (OSError, Unreachable) as error:
        print(f"{chosen.parser.prog}: {error}", file=sys.stderr)
        return _FAILURE
    except ValueError as error:
        chosen.parser.error(str(error))
    return run(plan, chosen)


def check(chosen: argparse.Namespace) -> None:
    """End the command where its arguments contradict each other."""
    speaks = chosen.mode in SPEAKING
    for flag, is_given in (
        ("--rate", chosen.rate is not None),
        ("--depth", chosen.depth != 1),
        ("--deflate", chosen.deflate),
        ("--binary", chosen.binary),
    ):
        if is_given and not speaks:
            chosen.parser.error(f"{flag}: expected --mode echo or broadcast, got {chosen.mode}")
    if chosen.size * chosen.depth > _MOST_BATCH_SIZE:
        chosen.parser.error(
            "--size: expected at most 1 GiB that a connection sends at once, "
            f"got {chosen.size} bytes" + (f" {chosen.depth} times" if chosen.depth != 1 else "")
        )
    if chosen.rate is not None and chosen.depth != 1:
        chosen.parser.error("--depth: expected 1 with --rate")
    if chosen.ramp and chosen.mode == "handshake":
        chosen.parser.error("--ramp: expected another --mode than handshake")
    if chosen.count is not None and chosen.mode == "idle":
        chosen.parser.error("--count: expected another --mode than idle")

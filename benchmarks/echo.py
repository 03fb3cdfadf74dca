"""What does an echo cost the server, how many a second does one core serve, how late do they come?

Rounds are interleaved (A B C A B C), each with a fresh server process pinned to one core and the
load client on another; the table shows medians. Everything is taken while the load is steady:
handshakes and warm-up are not in it. With ``--tls`` it is asked over TLS, with ``--deflate`` of
compressed JSON.
"""

import argparse
import re
import sys

import harness
from harness import Question

QUESTIONS = "64x20B,64x20B@32"
MORE_QUESTIONS = "64x1KiB,64x16KiB,8x1MiB,1000x20B,1x64B"
PEERS = "sockwave,sockwave-run,picows-uvloop,picows,websockets,aiohttp,uvicorn-uvloop,granian"
PEERS += ",socketify,ws,floor"
TLS_QUESTIONS = "64x1KiB"
TLS_PEERS = "sockwave,sockwave-run,sockwave-portable,picows,picows-uvloop,websockets,aiohttp,floor"
DEFLATE_QUESTIONS = "64x1KiB"
DEFLATE_PEERS = (
    "sockwave-zlib-ng,sockwave-zlib,sockwave-context,websockets,aiohttp,aiohttp-zlib-ng,ws"
)
DEFLATE_TLS_PEERS = "sockwave-zlib-ng,sockwave-zlib,websockets,aiohttp,aiohttp-zlib-ng"
UNITS = {"B": 1, "KiB": 1 << 10, "MiB": 1 << 20}


def describe(text: str, options: argparse.Namespace) -> Question:
    """Read ``CONNECTIONSxSIZE`` or ``CONNECTIONSxSIZE@DEPTH``, like ``64x1KiB@32``."""
    match = re.fullmatch(r"(\d+)x(\d+)(B|KiB|MiB)(?:@(\d+))?", text)
    if match is None:
        sys.exit(f"expected a question like 64x20B or 64x1KiB@32, got {text!r}")
    count, number, unit, depth = match.groups(default="1")
    plural = "" if count == "1" else "s"
    title = f"{int(count):,} connection{plural} x {number} {unit}, depth {depth}"
    title += ", TLS" * options.tls
    if options.deflate:
        title += f", permessage-deflate (offer: {options.deflate})"
    size = int(number) * UNITS[unit]
    load = (f"--connections={count}", f"--size={size}", f"--depth={depth}")
    return Question(title, (*load, *["--binary"] * options.binary))


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    harness.add_arguments(parser, runs=5)
    add = parser.add_argument
    add("--questions", help=f"CONNECTIONSxSIZE[@DEPTH],... (default {QUESTIONS})")
    add("--all", action="store_true", help=f"ask {MORE_QUESTIONS} too")
    add("--tls", action="store_true", help="over TLS")
    harness.add_deflate(parser)
    add("--binary", action="store_true", help="binary messages instead of text")
    options = parser.parse_args()
    if options.peers is None:
        plain, deflated = (TLS_PEERS, DEFLATE_TLS_PEERS) if options.tls else (PEERS, DEFLATE_PEERS)
        options.peers = deflated if options.deflate else plain
    if options.questions is None:
        options.questions = QUESTIONS
        if options.tls or options.deflate:
            options.questions = DEFLATE_QUESTIONS if options.deflate else TLS_QUESTIONS
    if options.all:
        options.questions += f",{MORE_QUESTIONS}"
    return options


def main() -> int:
    """Ask the questions; returns 1 if a server failed."""
    options = parse_arguments()
    questions = [describe(text, options) for text in options.questions.split(",")]
    with harness.prepare(options) as plain:
        bench = harness.encrypt(plain) if options.tls else plain
        if options.deflate:
            bench = harness.compress(bench, options.deflate)
        name = "echo" + "-tls" * options.tls + "-deflate" * bool(options.deflate)
        return harness.answer(name, bench, questions, options)


if __name__ == "__main__":
    sys.exit(main())

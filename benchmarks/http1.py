"""What does a request of HTTP/1.1 cost the server: through its own interface, ASGI, a framework?

Rounds are interleaved (A B C A B C), each with a fresh server pinned to one core, with all of its
threads and processes, and the load client on another; the table shows medians. Every answer has to
be a 200 with the right body. Where sockwave is asked by ``request``, its own event, the other
servers run the same as a bare ASGI application; the floor parses nothing, and always answers.
"""

import argparse
import sys

import harness
from harness import Question

PEERS = "sockwave,uvicorn,uvicorn-uvloop,granian,hypercorn,floor"
CONNECTIONS = "--connections=64"
GREETING_SIZE, JSON_SIZE, LARGE_SIZE = 12, 26, 10_000
"""Bytes that peers/applications.py answers."""


def describe(
    title: str,
    app: str,
    *load: str,
    own: bool = False,
    size: int = GREETING_SIZE,
    needs: tuple[str, ...] = (),
) -> Question:
    """Describe requests to an application; `own` asks sockwave's `request` event."""
    floor = ["--http", f"--body={size}" if size != GREETING_SIZE else ""]
    floor += ["--close"] * ("--close" in load)
    return Question(
        f"{title}, 64 connections",
        (CONNECTIONS, "--http", f"--reply={size}", *load),
        unit="request",
        role="http",
        serve=(f"--app={app}", *["--own"] * own),
        floor=tuple(filter(None, floor)),
        needs=needs,
    )


def describe_echo(framework: str) -> Question:
    """Describe a WebSocket that echoes 20 B through a framework."""
    return Question(
        f"WebSocket echo of 20 B through {framework}, 64 connections",
        (CONNECTIONS, "--size=20"),
        role="http",
        serve=(f"--app={framework.lower()}",),
        floor=(),
        needs=(framework.lower(),),
    )


QUESTIONS = {
    "get": describe("`request` event, tiny GET", "hello", own=True),
    "pipelined": describe("`request` event, 16 pipelined", "hello", "--depth=16", own=True),
    "reading": describe(
        "`request` event, method, path and five of 16 fields read", "reading", "--browser", own=True
    ),
    "close": describe("`request` event, Connection: close", "hello", "--close", own=True),
    "asgi": describe("ASGI, tiny GET", "hello"),
    "asgi-pipelined": describe("ASGI, 16 pipelined", "hello", "--depth=16"),
    "asgi-reading": describe(
        "ASGI, method, path and five of 16 fields read", "reading", "--browser"
    ),
    "asgi-post": describe("ASGI, POST of 1 KiB of JSON", "posted", "--body=1024"),
    "asgi-large": describe("ASGI, 10 KB response", "large", size=LARGE_SIZE),
    "asgi-close": describe("ASGI, Connection: close", "hello", "--close"),
    "starlette": describe("Starlette, text", "starlette", needs=("starlette",)),
    "middleware": describe(
        "Starlette behind BaseHTTPMiddleware", "middleware", needs=("starlette",)
    ),
    "fastapi": describe("FastAPI, JSON", "fastapi", size=JSON_SIZE, needs=("fastapi",)),
    "starlette-echo": describe_echo("Starlette"),
    "fastapi-echo": describe_echo("FastAPI"),
}


def main() -> int:
    """Ask the questions; returns 1 if a server failed."""
    parser = argparse.ArgumentParser(description=__doc__)
    harness.add_arguments(parser, runs=5, peers=PEERS)
    parser.add_argument(
        "--questions", default=",".join(QUESTIONS), help="some of %(default)s (default: all)"
    )
    parser.add_argument("--tls", action="store_true", help="over TLS")
    options = parser.parse_args()
    names = options.questions.split(",")
    if unknown := set(names) - set(QUESTIONS):
        parser.error(f"--questions: expected some of {', '.join(QUESTIONS)}, given {unknown}")
    if options.tls:
        names = [name for name in names if "close" not in name]
    with harness.prepare(options) as plain:
        bench = harness.encrypt(plain) if options.tls else plain
        name = "http1" + "-tls" * options.tls
        return harness.answer(name, bench, [QUESTIONS[key] for key in names], options)


if __name__ == "__main__":
    sys.exit(main())

"""What the servers compared here have in common: arguments, and the loop that runs them."""

import argparse
import asyncio
import os
import ssl
from collections.abc import Coroutine
from typing import Any

MAX_SIZE = 16 << 20
"""Bytes of a message that all take: their own defaults go from 1 MiB to 100 MiB."""
UNABLE = 77
"""The status with which a server ends that cannot do what it is asked; automake's for a skip."""


def parse_arguments(*loops: str) -> argparse.Namespace:
    """Read ``--port``, ``--loop`` (asyncio, uvloop, or one of `loops`), ``--compression``, ...

    ``--engine`` is sockwave's; ``--zlib`` names what compresses, where a library lets one choose,
    and ``--context`` lets messages refer to those before them, which sockwave's do on demand;
    ``--silent`` asks for a listener that does nothing; ``--max-size`` is that of a message;
    ``--listener``, ``--reuse-port`` and ``--work`` (numbers added up for each message) are
    sockwave's too. ``--app`` names one of `applications`, which run behind ASGI unless ``--own``
    asks for a server's own interface, where it has one.
    """
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--loop", choices=["asyncio", "uvloop", *loops], default="asyncio")
    parser.add_argument("--engine", default="auto")
    parser.add_argument("--compression", action="store_true")
    parser.add_argument("--silent", action="store_true")
    parser.add_argument("--listener", choices=["def", "async-def", "async-for"], default="def")
    parser.add_argument("--reuse-port", action="store_true")
    parser.add_argument("--work", type=int, default=0)
    parser.add_argument("--max-size", type=int, default=MAX_SIZE)
    parser.add_argument("--context", action="store_true")
    parser.add_argument("--zlib", choices=["default", "zlib", "zlib-ng"], default="default")
    parser.add_argument("--app", default="hello")
    parser.add_argument("--own", action="store_true")
    parser.add_argument("--tls-cert")
    parser.add_argument("--tls-key")
    parser.add_argument("--portable-tls", action="store_true")
    arguments = parser.parse_args()
    if arguments.portable_tls:
        os.environ["SOCKWAVE_TLS"] = "portable"
    return arguments


def create_context(arguments: argparse.Namespace) -> ssl.SSLContext | None:
    """Create the TLS context that the arguments ask for, if they do."""
    if arguments.tls_cert is None:
        return None
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(arguments.tls_cert, arguments.tls_key)
    return context


def run(main: Coroutine[Any, Any, None], loop: str) -> None:
    """Run `main` to its end on a stock asyncio loop or on uvloop."""
    if loop == "uvloop":
        import uvloop

        uvloop.run(main)
    else:
        asyncio.run(main)

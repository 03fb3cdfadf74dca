"""On what the processes of a benchmark run, and the options that all benchmarks share."""

import argparse
import contextlib
import dataclasses
import resource
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

from harness.machine import choose_cores, compile_program, try_compiling
from harness.peers import HERE, PEERS

OFFERS = {
    "no-context": "permessage-deflate; client_max_window_bits; "
    "client_no_context_takeover; server_no_context_takeover",
    "browser": "permessage-deflate; client_max_window_bits",
}
"""What a client asks for: the same work of every server, or what the server likes best."""

QUICK = {"runs": 3, "seconds": 1.0, "warmup": 0.3}


@dataclass(frozen=True)
class Bench:
    """Cores, a directory for logs, and what every server and every client is told."""

    directory: Path
    floor: Path | None
    server_core: int
    client_core: int
    server_options: tuple[str, ...] = ()
    floor_options: tuple[str, ...] = ()
    client_options: tuple[str, ...] = ()


def add_arguments(
    parser: argparse.ArgumentParser, *, runs: int, peers: str | None = None, timed: bool = True
) -> None:
    """Add the options that all benchmarks share; `peers` and `runs` are their defaults.

    Where a run takes as long as it is told to, it is `timed`.
    """
    add = parser.add_argument
    add("--peers", default=peers, help=f"servers, the one to judge first: {', '.join(PEERS)}")
    add("--runs", type=int, default=runs, help="rounds over all servers (default %(default)s)")
    if timed:
        add("--seconds", type=float, default=3.0, help="measured in a run (default %(default)s)")
        add("--warmup", type=float, default=0.5, help="seconds before that (default %(default)s)")
        add("--quick", action=Quick, help="three runs of one second")
    add("--server-core", type=int, help="core for the server (default: the first)")
    add("--client-core", type=int, help="core for the client (default: the last)")
    add("--output", type=Path, help="file for the JSON (default: a new one in results/)")


class Quick(argparse.Action):
    """Makes the runs short and few; what stands behind it on the command line wins."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(nargs=0, default=False, **settings)

    def __call__(self, parser: Any, namespace: argparse.Namespace, *others: Any) -> None:
        vars(namespace).update(QUICK, quick=True)


def add_deflate(parser: Any) -> None:
    """Add the option that asks for compressed messages; `parser` may be a group of options."""
    parser.add_argument(
        "--deflate",
        nargs="?",
        const="no-context",
        choices=OFFERS,
        help="compressed JSON messages; by the offer no-context (default) no side remembers the "
        "message before, with browser the server chooses",
    )


@contextlib.contextmanager
def prepare(arguments: argparse.Namespace) -> Iterator[Bench]:
    """Compile the floor, choose the cores, raise the limit of descriptors.

    Everything is cleaned up at the end, on SIGINT and SIGTERM too.
    """

    def leave(number: int, frame: FrameType | None) -> NoReturn:
        sys.exit(128 + number)

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, leave)
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    server_core, client_core = choose_cores(arguments.server_core, arguments.client_core)
    with tempfile.TemporaryDirectory(prefix="sockwave-bench-") as name:
        directory = Path(name)
        floor = compile_program(HERE / "floor.c", directory)
        yield Bench(directory, floor, server_core, client_core)


def compress(bench: Bench, offer: str) -> Bench:
    """Return a bench on which servers and clients compress, as the offer of that name has it."""
    return dataclasses.replace(
        bench,
        server_options=(*bench.server_options, "--compression"),
        client_options=(*bench.client_options, f"--deflate={OFFERS[offer]}"),
    )


def encrypt(bench: Bench) -> Bench:
    """Return a bench on which all speak TLS, with a certificate that signs itself."""
    cert, key = str(bench.directory / "cert.pem"), str(bench.directory / "key.pem")
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"]
    command += ["-nodes", "-days", "2", "-subj", "/CN=localhost", "-keyout", key, "-out", cert]
    subprocess.run(command, check=True, capture_output=True)
    files = ("--tls-cert", cert, "--tls-key", key)
    floor = try_compiling(
        HERE / "floor.c", bench.directory / "tls", "-DFLOOR_TLS", "-lssl", "-lcrypto"
    )
    return dataclasses.replace(
        bench,
        floor=None if isinstance(floor, str) else floor,
        server_options=(*bench.server_options, *files),
        floor_options=files,
        client_options=(*bench.client_options, "--tls"),
    )

"""What every benchmark needs: the peers, their processes, the load client, a table."""

import argparse
import contextlib
import dataclasses
import datetime
import json
import os
import platform
import resource
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

HERE = Path(__file__).resolve().parent
START_S = 15.0
"""A server that does not accept connections after so long has failed to start."""
STOP_S = 3.0
"""A process that ignores SIGTERM for so long is killed."""
BUSY_LOAD = 0.5
"""A one-minute load average above this means that somebody else is using the machine."""


class BenchmarkError(Exception):
    """One run failed; the others go on."""


FAILURES = (BenchmarkError, OSError, ValueError, subprocess.SubprocessError)
"""What may go wrong with one server and leaves the others to be measured."""


@dataclass(frozen=True)
class Peer:
    """An echo server: the distributions it needs, its command behind the interpreter's name.

    With `packages`, which are of npm's, the interpreter is Node.js.
    """

    distributions: tuple[str, ...]
    command: tuple[str, ...]
    keeps_request: bool = False
    packages: tuple[str, ...] = ()


def describe_script(
    *distributions: str,
    loop: str = "asyncio",
    engine: str = "auto",
    zlib: str = "default",
    arguments: tuple[str, ...] = (),
) -> Peer:
    """Describe the peer served by peers/NAME_echo.py, where NAME is the first distribution."""
    script = str(HERE / "peers" / f"{distributions[0]}_echo.py")
    command = (script, "--loop", loop, "--engine", engine, "--zlib", zlib, *arguments)
    return Peer(distributions, command, keeps_request=distributions[0] == "sockwave")


PEERS = {
    "sockwave": describe_script("sockwave"),
    "sockwave-run": describe_script("sockwave", loop="run"),
    "sockwave-uvloop": describe_script("sockwave", "uvloop", loop="uvloop"),
    "sockwave-asyncio-engine": describe_script("sockwave", engine="asyncio"),
    "sockwave-portable": describe_script("sockwave", arguments=("--portable-tls",)),
    "sockwave-zlib": describe_script("sockwave", zlib="zlib"),
    "sockwave-zlib-ng": describe_script("sockwave", "zlib-ng", zlib="zlib-ng"),
    "sockwave-cli": Peer(("sockwave",), ("-m", "sockwave", "echo"), keeps_request=True),
    "picows": describe_script("picows"),
    "picows-uvloop": describe_script("picows", "uvloop", loop="uvloop"),
    "websockets": describe_script("websockets"),
    "websockets-uvloop": describe_script("websockets", "uvloop", loop="uvloop"),
    "aiohttp": describe_script("aiohttp"),
    "aiohttp-uvloop": describe_script("aiohttp", "uvloop", loop="uvloop"),
    "aiohttp-zlib-ng": describe_script("aiohttp", "zlib-ng", zlib="zlib-ng"),
    "ws": Peer((), (str(HERE / "peers" / "ws_echo.js"),), packages=("ws", "bufferutil")),
    "floor": Peer((), ()),
}
"""The floor is floor.c: what the kernel costs; ws runs on Node.js, the others on Python.

The portable sockwave calls OpenSSL by way of the ssl module.
"""

NODE_MODULES = HERE / ".peers" / "node_modules"
"""Where ``make bench-peers`` puts what the peers on Node.js need."""

OFFERS = {
    "no-context": "permessage-deflate; client_max_window_bits; "
    "client_no_context_takeover; server_no_context_takeover",
    "browser": "permessage-deflate; client_max_window_bits",
}
"""What a client asks for: the same work of every server, or what the server likes best."""

FIND_VERSIONS = """
import importlib.metadata as metadata, json, platform, sys
versions = {"python": platform.python_version()}
for name in sys.argv[1:]:
    try: versions[name] = metadata.version(name)
    except metadata.PackageNotFoundError: versions[name] = None
print(json.dumps(versions))
"""


@dataclass(frozen=True)
class Bench:
    """On what the processes run: programs, an interpreter, cores, and a directory for logs.

    Every server is given `server_options`, every client `client_options`.
    """

    directory: Path
    client: Path
    floor: Path
    peer_python: str
    server_core: int
    client_core: int
    server_options: tuple[str, ...] = ()
    client_options: tuple[str, ...] = ()

    def python_for(self, peer: Peer) -> str:
        return sys.executable if "sockwave" in peer.distributions else self.peer_python

    def command_for(self, name: str, peer: Peer, port: int) -> list[str]:
        if name == "floor":
            return [str(self.floor), str(port)]
        interpreter = "node" if peer.packages else self.python_for(peer)
        return [interpreter, *peer.command, "--port", str(port), *self.server_options]


def add_arguments(parser: argparse.ArgumentParser, *, runs: int, peers: str | None = None) -> None:
    """Add the options that all benchmarks share; `peers` and `runs` are their defaults."""
    add = parser.add_argument
    add("--peers", default=peers, help=f"servers, the one to judge first: {', '.join(PEERS)}")
    add("--runs", type=int, default=runs, help="rounds over all servers (default %(default)s)")
    add("--server-core", type=int, help="core for the server (default: the first)")
    add("--client-core", type=int, help="core for the client (default: the last)")
    add("--peer-python", default=sys.executable, help="interpreter for all but sockwave")
    add("--output", type=Path, help="file for the JSON (default: a new one in results/)")


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
    """Compile the C programs, choose the cores, raise the limit of descriptors.

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
        client = compile_program(HERE / "client.c", directory, "-lz")
        floor = compile_program(HERE / "floor.c", directory)
        yield Bench(directory, client, floor, arguments.peer_python, server_core, client_core)


def compile_program(source: Path, directory: Path, *libraries: str) -> Path:
    """Compile one C file at -O3 with ``$CC``, by default cc; ends the benchmark if it fails."""
    compiler = os.environ.get("CC", "cc")
    if shutil.which(compiler) is None:
        sys.exit(f"{compiler}: not found; a C compiler is needed (set CC to name another)")
    target = directory / source.stem
    command = [compiler, "-O3", "-std=gnu11", "-o", str(target), str(source), *libraries]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    if result.returncode:
        sys.exit(f"{shlex.join(command)} failed:\n{result.stderr}")
    return target


def choose_cores(server: int | None, client: int | None) -> tuple[int, int]:
    """Choose two cores that share no physical core where there are such; one core is refused."""
    usable = sorted(os.sched_getaffinity(0))
    server = usable[0] if server is None else server
    if client is None:
        siblings = Path(f"/sys/devices/system/cpu/cpu{server}/topology/thread_siblings_list")
        shared = parse_cores(siblings.read_text()) if siblings.exists() else {server}
        others = [core for core in usable if core != server] or [server]
        client = ([core for core in others if core not in shared] or others)[-1]
    if server == client or not {server, client} <= set(usable):
        sys.exit(
            f"expected two different cores out of {usable}, "
            f"got {server} for the server and {client} for the client"
        )
    return server, client


def parse_cores(text: str) -> set[int]:
    """Read a list of the kernel's, like ``0,4-6``."""
    cores: set[int] = set()
    for part in text.strip().split(","):
        first, _, last = part.partition("-")
        cores.update(range(int(first), int(last or first) + 1))
    return cores


def compress(bench: Bench, offer: str) -> Bench:
    """Return a bench on which servers and clients compress, as the offer of that name has it."""
    return dataclasses.replace(
        bench,
        server_options=("--compression",),
        client_options=(f"--deflate={OFFERS[offer]}",),
    )


def encrypt(bench: Bench) -> Bench:
    """Return a bench on which all speak TLS, with a certificate that signs itself."""
    client = compile_program(HERE / "tls_client.c", bench.directory, "-lssl", "-lcrypto")
    cert, key = str(bench.directory / "cert.pem"), str(bench.directory / "key.pem")
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"]
    command += ["-nodes", "-days", "2", "-subj", "/CN=localhost", "-keyout", key, "-out", cert]
    subprocess.run(command, check=True, capture_output=True)
    options = ("--tls-cert", cert, "--tls-key", key)
    return dataclasses.replace(bench, client=client, server_options=options)


@dataclass(frozen=True)
class Choice:
    """The peers that can run, the versions of what they use, and a sentence about each left out."""

    peers: dict[str, Peer] = field(default_factory=dict)
    versions: dict[str, dict[str, str]] = field(default_factory=dict)
    skipped: list[str] = field(default_factory=list)


def choose_peers(bench: Bench, names: str) -> Choice:
    """Look up which of the peers named are installed; ends the benchmark if none is."""
    choice = Choice()
    for name in names.split(","):
        if name not in PEERS:
            sys.exit(f"unknown peer {name!r}; known are {', '.join(PEERS)}")
        peer = PEERS[name]
        found: dict[str, str | None] = {}
        install = "make bench-peers, with Node.js"
        if peer.packages:
            found = find_node_versions(peer.packages)
        elif peer.distributions:
            python = bench.python_for(peer)
            command = [python, "-c", FIND_VERSIONS, *peer.distributions]
            found = json.loads(subprocess.check_output(command, text=True))
            missing = " ".join(key for key, version in found.items() if version is None)
            install = f"{python} -m pip install {missing}"
        if None in found.values():
            choice.skipped.append(f"SKIPPED {name}: not installed; run: {install}")
        else:
            choice.peers[name] = peer
            choice.versions[name] = {key: version for key, version in found.items() if version}
    if not choice.peers:
        sys.exit("\n".join([*choice.skipped, "no server is left"]))
    return choice


def find_node_versions(packages: Sequence[str]) -> dict[str, str | None]:
    """Look up the versions of Node.js and of npm's packages; None is what is not there."""
    found: dict[str, str | None] = dict.fromkeys(["node", *packages])
    if shutil.which("node") is not None:
        command = ["node", "--version"]
        found["node"] = subprocess.check_output(command, text=True).strip().removeprefix("v")
    for name in packages:
        path = NODE_MODULES / name / "package.json"
        if path.exists():
            found[name] = json.loads(path.read_text())["version"]
    return found


class Process:
    """A child process pinned to one core, stopped by its id when its block ends in any way."""

    def __init__(
        self, command: Sequence[str], core: int, log: Path, *, piped: bool = False
    ) -> None:
        self.log = log
        own_cores = os.sched_getaffinity(0)
        pipe = subprocess.PIPE if piped else None
        with log.open("w") as errors:
            os.sched_setaffinity(0, {core})
            try:
                self.popen = subprocess.Popen(
                    command,
                    stdin=pipe or subprocess.DEVNULL,
                    stdout=pipe or errors,
                    stderr=errors,
                    text=True,
                )
            finally:
                os.sched_setaffinity(0, own_cores)
        self.pid = self.popen.pid

    def __enter__(self) -> "Process":
        return self

    def __exit__(self, *exception: object) -> None:
        if self.popen.poll() is None:
            self.popen.terminate()
            try:
                self.popen.wait(STOP_S)
            except subprocess.TimeoutExpired:
                self.popen.kill()
        self.popen.wait()
        for stream in (self.popen.stdin, self.popen.stdout):
            if stream is not None:
                with contextlib.suppress(OSError):
                    stream.close()

    def last_words(self) -> str:
        """Return the last three lines of its log."""
        lines = self.log.read_text(errors="replace").strip().splitlines()
        return "\n".join(lines[-3:]) or "(it said nothing)"


@contextlib.contextmanager
def serve(bench: Bench, name: str, peer: Peer) -> Iterator[tuple[Process, int]]:
    """Start a peer on a free port of 127.0.0.1, wait until it accepts, and give both."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    command = bench.command_for(name, peer, port)
    with Process(command, bench.server_core, bench.directory / f"{name}.log") as process:
        end = time.monotonic() + START_S
        while True:
            if process.popen.poll() is not None:
                raise BenchmarkError(f"{name} ended at its start: {process.last_words()}")
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                break
            if time.monotonic() > end:
                raise BenchmarkError(f"{name} does not accept connections: {process.last_words()}")
            time.sleep(0.02)
        yield process, port


def start_client(bench: Bench, port: int, *arguments: str) -> Process:
    """Start the load client; its stdin and stdout are pipes."""
    command = [str(bench.client), "--port", str(port), *bench.client_options, *arguments]
    return Process(command, bench.client_core, bench.directory / "client.log", piped=True)


def parse_event(line: str, event: str, client: Process) -> dict[str, Any]:
    """Read one line of the client's; raises BenchmarkError with its complaint if it has another."""
    record: dict[str, Any] = json.loads(line) if line else {}
    if record.get("event") != event:
        client.popen.wait(STOP_S)
        raise BenchmarkError(client.last_words())
    return record


def describe_machine(bench: Bench) -> dict[str, Any]:
    """Describe what the figures depend on: processor, kernel, cores, load at the start."""
    model = platform.processor() or "unknown"
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            model = line.partition(":")[2].strip()
            break
    return {
        "processor": model,
        "cores": os.cpu_count(),
        "kernel": platform.release(),
        "load": os.getloadavg()[0],
        "server_core": bench.server_core,
        "client_core": bench.client_core,
    }


def print_preface(machine: dict[str, Any], choice: Choice) -> None:
    """Print the command line, the machine, the versions and what is left out, before the tables."""
    print(f"$ {describe_command()}")
    print(
        f"{machine['processor']}, {machine['cores']} cores, Linux {machine['kernel']}; "
        f"server on core {machine['server_core']}, client on core {machine['client_core']}"
    )
    used = {item for found in choice.versions.values() for item in found.items()}
    print(", ".join(f"{name} {version}" for name, version in sorted(used)))
    if machine["load"] > BUSY_LOAD:
        print(
            f"NOTE: the load average is {machine['load']:.2f}: others use this machine, "
            "and what they push out of the caches is paid by those measured here"
        )
    for sentence in choice.skipped:
        print(sentence)
    print(flush=True)


def describe_command() -> str:
    """Return the command line as it was typed, the interpreter by its bare name."""
    return shlex.join([Path(sys.executable).name, *sys.argv])


def write_results(path: Path | None, benchmark: str, record: dict[str, Any]) -> None:
    """Write the record as JSON to `path`, or to a new file in results/ named after the time."""
    if path is None:
        stamp = datetime.datetime.now().strftime("%Y%m%d-%H%M%S")
        path = HERE / "results" / f"{benchmark}-{stamp}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    whole = {"benchmark": benchmark, "command": describe_command(), **record}
    path.write_text(json.dumps(whole, indent=1) + "\n")
    print(f"written to {path}")


def show_progress(text: str) -> None:
    """Show on a terminal what is being done, in a line that is written over; "" clears it."""
    if sys.stderr.isatty():
        print(f"\r{text:78}" if text else f"\r{'':78}\r", end="", file=sys.stderr, flush=True)


def print_table(
    title: str,
    columns: Sequence[str],
    rows: Sequence[Sequence[str]],
    sentences: Sequence[str] = (),
) -> None:
    """Print a Markdown table, its columns aligned, the first to the left; `sentences` under it."""
    widths = [max(len(row[i]) for row in [columns, *rows]) for i in range(len(columns))]
    rulers = ["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])]
    print(f"### {title}\n")
    for first, *others in [columns, rulers, *rows]:
        cells = [first.ljust(widths[0])]
        cells += [cell.rjust(width) for cell, width in zip(others, widths[1:], strict=True)]
        print(f"| {' | '.join(cells)} |")
    print("", *sentences, *([""] if sentences else []), sep="\n", flush=True)


def format_spread(values: Sequence[float], median: float, digits: int) -> str:
    """Format a median with the least and the greatest value behind it."""
    return f"{median:.{digits}f} ({min(values):.{digits}f}-{max(values):.{digits}f})"

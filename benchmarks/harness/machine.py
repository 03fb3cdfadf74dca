"""The machine: which cores are used, what the figures depend on, C programs."""

import os
import platform
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any


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


def describe_machine(bench: Any) -> dict[str, Any]:
    """Describe what the figures depend on: processor, kernel, cores."""
    model = platform.processor() or "unknown"
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            model = line.partition(":")[2].strip()
            break
    return {
        "processor": model,
        "cores": os.cpu_count(),
        "kernel": platform.release(),
        "server_core": bench.server_core,
        "client_core": bench.client_core,
    }


def compile_program(source: Path, directory: Path, *options: str) -> Path:
    """Compile one C file at -O3 with ``$CC``, by default cc; ends the benchmark if it fails."""
    target = try_compiling(source, directory, *options)
    if isinstance(target, str):
        sys.exit(target)
    return target


def try_compiling(source: Path, directory: Path, *options: str) -> Path | str:
    """Compile as `compile_program` does; gives a sentence if it fails."""
    compiler = os.environ.get("CC", "cc")
    if shutil.which(compiler) is None:
        return f"{compiler}: not found; a C compiler is needed (set CC to name another)"
    directory.mkdir(exist_ok=True)
    target = directory / source.stem
    # Libraries stand behind what needs them.
    command = [compiler, "-O3", "-std=gnu11", "-o", str(target), str(source), *options]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    if result.returncode:
        return f"{shlex.join(command)} failed:\n{result.stderr}"
    return target

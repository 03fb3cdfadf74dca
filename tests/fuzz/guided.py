"""Coverage-guided runs: each target in a process of its own, under atheris and libFuzzer."""

import os
import re
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from fuzz import replay
from fuzz.sanitized import check_sanitizers, environment
from fuzz.targets import LENGTHS, load

# What a run leaves behind: inputs that reached something new, and those that failed.
WORK = Path(sys.prefix) / "fuzz"

# Those that are mostly Python's: its branches guide the fuzzer too.
PYTHON_TARGETS = {"handshake", "http", "extensions", "proxy", "forwarded"}

#: One input may not take longer, in seconds, sanitizers included; honest ones take milliseconds.
INPUT_TIMEOUT_S = 10

_STATISTIC = re.compile(r"^stat::(\w+):\s+(\d+)", re.MULTILINE)
_COVERAGE = re.compile(r"cov: (\d+) ft: (\d+)")
_SLOWEST = re.compile(r"^slowest so far: ([\d.]+) ms", re.MULTILINE)


def fuzz(name: str, options: list[str]) -> None:
    """Fuzz one target in this process; `options` are libFuzzer's."""
    import atheris

    if name in PYTHON_TARGETS:
        with atheris.instrument_imports(include=["sockwave"]):
            run = load(name)
    else:
        run = load(name)
    atheris.Setup([name, *options], timed(run))
    atheris.Fuzz()


def timed(run: Callable[[bytes], None]) -> Callable[[bytes], None]:
    """Make a target say how long its slowest input took."""
    slowest = 0.005

    def run_timed(data: bytes) -> None:
        nonlocal slowest
        start = time.process_time()
        run(data)
        duration = time.process_time() - start
        if duration > slowest:
            slowest = duration
            print(f"slowest so far: {duration * 1000:.1f} ms", file=sys.stderr, flush=True)

    return run_timed


def run_targets(names: list[str], seconds: int, seed: int) -> int:
    """Fuzz these targets, so many seconds each and as many at a time as there are cores, and print
    what each has found; give how many failed."""
    check_sanitizers()
    failures = 0
    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        for has_passed, said in pool.map(lambda name: run_target(name, seconds, seed), names):
            print(said, flush=True)
            failures += not has_passed
    return failures


def run_target(name: str, seconds: int, seed: int) -> tuple[bool, str]:
    """Fuzz one target in a process of its own; tell whether nothing was found, and what there is to
    say: a line of figures, and the report of a failure."""
    found, findings = WORK / "corpus" / name, WORK / "findings"
    found.mkdir(parents=True, exist_ok=True)
    findings.mkdir(parents=True, exist_ok=True)
    log = WORK / f"{name}.log"
    options = [
        f"-max_total_time={seconds}",
        f"-max_len={LENGTHS[name]}",
        f"-timeout={INPUT_TIMEOUT_S}",
        f"-seed={seed}",
        "-rss_limit_mb=2048",
        "-len_control=20",  # let inputs grow soon: the interesting ones are conversations
        "-print_final_stats=1",
        f"-artifact_prefix={findings}/{name}-",
        str(found),
        str(replay.CORPUS / name),
    ]
    words = Path(__file__).parent / "words" / f"{name}.dict"
    if words.exists():
        options.insert(0, f"-dict={words}")
    command = [sys.executable, "-m", "fuzz", "target", name, *options]
    with log.open("w") as file:
        done = subprocess.run(command, env=environment(), stdout=file, stderr=file, check=False)
    text = log.read_text(errors="replace")
    said = [summarize(name, text, done.returncode)]
    if done.returncode != 0:
        said.append(first_report(text))
        said.append(f"fuzz: the input is in {findings}, all of what was said in {log}")
    return done.returncode == 0, "\n".join(said)


def first_report(text: str) -> str:
    """Give the beginning of what a sanitizer or Python has said about the input, if it is there."""
    lines = text.splitlines()
    for number, line in enumerate(lines):
        if "Uncaught Python exception" in line or "runtime error:" in line or "ERROR: " in line:
            return "\n".join(lines[number : number + 40])
    return "\n".join(lines[-40:])


def summarize(name: str, text: str, status: int) -> str:
    """Give the line of figures for what a target's process has printed."""
    statistics = dict(_STATISTIC.findall(text))
    count = int(statistics.get("number_of_executed_units", 0))
    edges, features = (_COVERAGE.findall(text) or [("0", "0")])[-1]
    slowest = (_SLOWEST.findall(text) or ["under 5"])[-1]
    return (
        f"{name:10} {count:>10,} execs  {int(edges):>6,} edges  {int(features):>6,} features  "
        f"slowest {slowest:>7} ms  {statistics.get('peak_rss_mb', '?'):>4} MB  "
        f"{'0 crashes, 0 reports' if status == 0 else 'FAILED'}"
    )

"""Run Autobahn's cases against `python -m sockwave echo`, once for each engine.

RFC 6455, and RFC 7692 in sections 12 and 13.

    python tests/autobahn/run.py --sections 1-7,10      the cases of the test suite
    python tests/autobahn/run.py --all                  sizes and times (9.*) and all of
                                                        permessage-deflate (12.*, 13.*) as well
    python tests/autobahn/run.py --tls                  the same over TLS
    python tests/autobahn/run.py --client               the same the other way round: our client
    python tests/autobahn/run.py --sync-client          … for threads without asyncio

Exits with 0 only if every case is OK; cases in `INFORMATIONAL` may report just that.
"""

import argparse
import asyncio
import contextlib
import os
import re
import sys
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from fnmatch import fnmatch
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import kosoku
from fuzzed_client import ask_client
from tunnel import make_certificate, open_tunnel

if TYPE_CHECKING:
    from kosoku._kosoku import CaseResult

    Asking = Callable[[Sequence[str]], Awaitable[list[CaseResult]]]

# The suite gives these to every server: RFC 6455 leaves open what they probe.
INFORMATIONAL = ("7.1.6", "7.13.*")

# 8 and 11 are empty in the suite. 12 and 13 are permessage-deflate, RFC 7692.
ALL_SECTIONS = (1, 2, 3, 4, 5, 6, 7, 9, 10, 12, 13)

# Section 9 echoes messages of up to 16 MiB.
MAX_SIZE = 16 * 2**20

START_TIMEOUT_S = 20
STOP_TIMEOUT_S = 10


def parse_sections(text: str) -> tuple[int, ...]:
    """Read "1-7,10" as (1, 2, ..., 7, 10); ValueError for anything else."""
    sections: list[int] = []
    for part in text.split(","):
        first, _, last = part.partition("-")
        sections.extend(range(int(first), int(last or first) + 1))
    return tuple(sections)


@contextlib.asynccontextmanager
async def run_echo_server(engine: str, *options: str) -> AsyncIterator[str]:
    """Start the echo server in a process of its own and give its host:port."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-u", "-m", "sockwave", "echo"),
        *("--host", "127.0.0.1", "--port", "0"),
        *("--engine", engine, "--max-size", str(MAX_SIZE), "--compression", *options),
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    try:
        async with asyncio.timeout(START_TIMEOUT_S):
            line = (await process.stdout.readline()).decode()
        found = re.search(r"127\.0\.0\.1:(\d+)", line)
        if found is None:
            raise RuntimeError(f"the echo server should print its address, and printed {line!r}")
        yield f"127.0.0.1:{found[1]}"
        if process.returncode is not None:
            raise RuntimeError(f"the echo server ended early, with status {process.returncode}")
    finally:
        if process.returncode is None:
            process.terminate()
            try:
                await asyncio.wait_for(process.wait(), STOP_TIMEOUT_S)
            except TimeoutError:
                process.kill()
                await process.wait()


@contextlib.asynccontextmanager
async def run_tls_echo_server(engine: str) -> AsyncIterator[str]:
    """Start the echo server with TLS, and give the host:port of a tunnel to it."""
    with tempfile.TemporaryDirectory(prefix="sockwave-autobahn-") as directory:
        options, context = make_certificate(Path(directory))
        async with run_echo_server(engine, *options) as started:
            host, _, port = started.partition(":")
            async with open_tunnel(host, int(port), context) as near:
                yield near


async def run_cases(address: str, patterns: Sequence[str]) -> "list[CaseResult]":
    """Run the cases matching the patterns, and give the result of each, passed or not.

    Autobahn waits a second for the end of a connection, however busy the machine is: a case that
    fails is asked once more, and says so.
    """
    return await ask_twice(partial(ask, address), patterns)


async def ask_twice(ask_once: "Asking", patterns: Sequence[str]) -> "list[CaseResult]":
    """Run the cases matching the patterns, and those that fail once more."""
    results = await ask_once(patterns)
    for place, result in enumerate(results):
        if not is_allowed(result):
            print(f"  {result.case_id} {judge(result)}: asked again")
            results[place] = (await ask_once([result.case_id]))[0]
    return results


async def ask(address: str, patterns: Sequence[str]) -> "list[CaseResult]":
    """Run the cases matching the patterns, each once."""
    try:
        return list(await kosoku.run_fuzzingclient(address, list(patterns)))
    except kosoku.FailureError as failure:
        return list(failure.results)


def judge(result: "CaseResult") -> str:
    """Give the worse of a case's two verdicts, on its messages and on its close."""
    verdicts = {result.behavior.value, result.behavior_close.value}
    if verdicts == {"OK"}:
        return "OK"
    for verdict in ("INFORMATIONAL", "NON-STRICT"):
        if verdicts <= {"OK", verdict}:
            return verdict
    return "FAILED"


def is_allowed(result: "CaseResult") -> bool:
    """Tell whether a case is OK, or is informational and may be that."""
    return judge(result) == "OK" or (
        judge(result) == "INFORMATIONAL"
        and any(fnmatch(result.case_id, pattern) for pattern in INFORMATIONAL)
    )


def report(title: str, results: "Sequence[CaseResult]") -> bool:
    """Print the totals and each case that is not as it should be; True if there is none."""
    verdicts = {result.case_id: judge(result) for result in results}
    totals = {
        verdict: sum(found == verdict for found in verdicts.values())
        for verdict in ("OK", "INFORMATIONAL", "NON-STRICT", "FAILED")
    }
    expected = len(results) - totals["INFORMATIONAL"]
    wrong = 0
    for result in results:
        if is_allowed(result):
            continue
        wrong += 1
        verdict = verdicts[result.case_id]
        print(f"  {result.case_id} {verdict}: {result.result} {result.result_close}")
    print(
        f"{title}: {totals['OK']}/{expected} OK, {totals['INFORMATIONAL']} INFORMATIONAL, "
        f"{totals['NON-STRICT']} NON-STRICT, {totals['FAILED']} FAILED",
        flush=True,
    )
    return bool(results) and not wrong


async def run(
    engines: Sequence[str], patterns: Sequence[str], address: str | None, *, tls: bool
) -> bool:
    """Run the cases on each engine, or against the server at an address; True if all is well."""
    if address is not None:
        return report(address, await run_cases(address, patterns))
    passed = True
    for engine in engines:
        start = run_tls_echo_server if tls else run_echo_server
        async with start(engine) as started:
            title = f"{engine}, TLS" if tls else engine
            passed &= report(title, await run_cases(started, patterns))
    return passed


async def run_client(engines: Sequence[str], patterns: Sequence[str], *, is_sync: bool) -> bool:
    """Run the cases against our client on each engine; True if all is well."""
    passed = True
    title = "sync client" if is_sync else "client"
    for engine in engines:
        ask_once = partial(ask_client, engine, max_size=MAX_SIZE, is_sync=is_sync)
        results = await ask_twice(ask_once, patterns)
        passed &= report(f"{engine}, {title}", results)
    return passed


def main() -> int:
    """Read the command line and run; the exit status is 0 if every case is as it should be."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--sections", type=parse_sections, default=parse_sections("1-7,10"))
    which.add_argument("--all", action="store_true", help="every section")
    which.add_argument("--case", action="append", help="a case or a pattern, as 6.4.*; repeatable")
    parser.add_argument("--engine", action="append", choices=["epoll", "asyncio"])
    parser.add_argument("--address", help="host:port of an echo server that runs already")
    parser.add_argument("--tls", action="store_true", help="speak TLS, by way of a tunnel")
    parser.add_argument("--client", action="store_true", help="run them against our client")
    parser.add_argument("--sync-client", action="store_true", help="… without asyncio")
    arguments = parser.parse_args()

    default_engines = ["epoll", "asyncio"] if sys.platform == "linux" else ["asyncio"]
    sections = ALL_SECTIONS if arguments.all else arguments.sections
    patterns = arguments.case or [f"{section}.*" for section in sections]
    engines = arguments.engine or default_engines
    if arguments.client or arguments.sync_client:
        asking = run_client(engines, patterns, is_sync=arguments.sync_client)
        passed = asyncio.run(asking)
    else:
        passed = asyncio.run(run(engines, patterns, arguments.address, tls=arguments.tls))
    return 0 if passed else 1


if __name__ == "__main__":
    status = main()
    sys.stdout.flush()
    # Without the interpreter's own end: it stops a thread that asks for it meanwhile by unwinding
    # its stack, and one of Autobahn's, which is written in Rust, aborts the process at that.
    os._exit(status)

"""Runs a load in a process of its own, shows how it goes, and writes what it gave."""

import argparse
import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import Any, TextIO

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from sockwave.cli.bench.hdr import write_log
from sockwave.cli.bench.page import make_page
from sockwave.cli.bench.plan import Plan
from sockwave.cli.bench.report import print_report
from sockwave.cli.bench.results import Results, format_time
from sockwave.cli.shell.colours import has_colours

_FAILURE = 1
_INTERRUPTED = 130
#: What ends a command without Ctrl-C: `kill`, and a terminal that is closed.
_ENDINGS = (signal.SIGTERM, signal.SIGHUP)


def run(plan: Plan, chosen: argparse.Namespace) -> int:
    """Load the server as planned; returns the exit status."""
    results = Results(plan, time.time())
    with make_progress(make_console(sys.stderr)) as progress:
        task = progress.add_task(f"{plan.mode} {plan.uri}", total=plan.duration, told="opening")
        for event in read_events(plan):
            results.take(event)
            if event["event"] == "tick":
                progress.update(task, completed=results.seconds, told=tell_tick(results))
    if results.is_complete:
        print_report(results, make_console(sys.stderr if chosen.json == "-" else sys.stdout))
        try:
            write_files(results, chosen)
        except OSError as error:
            print(f"{chosen.parser.prog}: {error}", file=sys.stderr)
            return _FAILURE
    if results.error is not None:
        print(f"{chosen.parser.prog}: {results.error}", file=sys.stderr)
    elif results.missing:
        print(f"{chosen.parser.prog}: {results.missing:,} replies are missing", file=sys.stderr)
    if results.is_in_vain:
        return _INTERRUPTED
    return _FAILURE if results.error is not None or results.missing else 0


class ReportConsole(Console):  # type: ignore[misc]  # rich is an extra
    """What writes the report: that nobody reads it is no matter for the console."""

    def on_broken_pipe(self) -> None:
        """Leave it to the command's `main`; rich would end the process, with status 1."""
        raise BrokenPipeError


def make_console(stream: TextIO) -> Console:
    """Return what writes to a stream: as to a pipe where it may have no colours."""
    return ReportConsole(file=stream, force_terminal=None if has_colours(stream) else False)


def make_progress(console: Console) -> Progress:
    """Make the line that shows how the load goes: none where stderr is no terminal."""
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.fields[told]}"),
        TimeRemainingColumn(),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    )


def tell_tick(results: Results) -> str:
    """Return what is shown of the last tick."""
    tick = results.ticks[-1]
    if results.plan.mode == "idle":
        return f"{results.plan.connections:,} connections"
    rate = tick.count / tick.seconds if tick.seconds else 0.0
    return f"{rate:,.0f}/s  p99 {format_time(tick.latencies.percentile_ns(0.99))}"


def read_events(plan: Plan) -> Iterator[dict[str, Any]]:
    """Run the load, and give its events.

    The load has a session of its own, so that Ctrl-C reaches it once: by us. The second one ends it
    at once, and so does whatever ends us, with the status that shells give it.
    """
    command = [sys.executable, "-m", "sockwave.cli.bench.program", str(os.getpid())]
    process: subprocess.Popen[bytes] | None = None
    asked = 0

    def interrupt(_number: int, _frame: FrameType | None) -> None:
        nonlocal asked
        asked += 1
        if process is not None:
            process.send_signal(signal.SIGINT if asked == 1 else signal.SIGKILL)

    def end(number: int, _frame: FrameType | None) -> None:
        raise SystemExit(128 + number)

    before = {
        number: signal.signal(number, end)
        for number in _ENDINGS
        if signal.getsignal(number) is not signal.SIG_IGN  # as `nohup` does
    }
    before[signal.SIGINT] = signal.signal(signal.SIGINT, interrupt)
    # The process inherits that SIGINT waits, and lets it come once it can tell of it.
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        process = subprocess.Popen(  # noqa: S603  (the program is our own)
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True
        )
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    with process:
        assert process.stdin is not None
        assert process.stdout is not None
        # Not as an argument: others can read those, and a header may be a secret.
        with contextlib.suppress(BrokenPipeError):  # it has ended already, and says why
            process.stdin.write(plan.dump().encode())
            process.stdin.close()
        has_ended = False
        try:
            for line in process.stdout:
                event: dict[str, Any] = json.loads(line)
                has_ended = event["event"] in ("result", "error")
                yield event
        except BaseException:
            process.kill()  # nobody waits for it any more
            raise
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
            process.stdout.close()
        process.wait()
    if not has_ended:
        error = f"the load has ended with {process.returncode}"
        yield {"event": "error", "error": error, "interrupted": asked > 0}


def write_files(results: Results, chosen: argparse.Namespace) -> None:
    """Write what was asked for; raises OSError."""
    if chosen.json is not None:
        text = json.dumps(results.export(), indent=2) + "\n"
        if chosen.json == "-":
            sys.stdout.write(text)
        else:
            Path(chosen.json).write_text(text, "utf-8")
    if chosen.html is not None:
        Path(chosen.html).write_text(make_page(results), "utf-8")
    if chosen.hdr is not None:
        parts = [(tick.at, tick.seconds, tick.latencies) for tick in results.ticks]
        lines = write_log(results.begin, parts)
        Path(chosen.hdr).write_text("".join(f"{line}\n" for line in lines), "utf-8")

"""What came out, as tables and as JSON."""

import argparse
import datetime
import json
import shlex
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from harness.bench import Bench
from harness.machine import describe_machine
from harness.peers import HERE, Choice, choose_peers
from harness.rounds import Answer, Question, Row, Run, ask

PLURALS = {"delivery": "deliveries"}

_printed: list[dict[str, Any]] = []
"""The tables so far: they stand in the JSON as they were printed."""


def answer(
    benchmark: str, bench: Bench, questions: Sequence[Question], options: argparse.Namespace
) -> int:
    """Ask all the questions, print, and write the JSON; returns 1 if a server failed."""
    machine = describe_machine(bench)
    kinds = dict.fromkeys((question.role, question.needs) for question in questions)
    choices = {kind: choose_peers(options.peers, *kind) for kind in kinds}
    whole = Choice()
    for choice in choices.values():
        for name, versions in choice.versions.items():
            whole.versions.setdefault(name, {}).update(versions)
        whole.skipped.extend(said for said in choice.skipped if said not in whole.skipped)
    print_preface(machine, whole)
    answers = []
    for question in questions:
        peers = choices[question.role, question.needs].peers
        answers.append(ask(bench, peers, question, options))
        print_answer(answers[-1])
    settings = {key: getattr(options, key) for key in ("runs", "seconds", "warmup")}
    record = {
        "machine": machine,
        "versions": whole.versions,
        "skipped": whole.skipped,
        "settings": settings,
        "answers": [to_json(own) for own in answers],
    }
    write_results(options.output, benchmark, record)
    return 1 if any(own.failures for own in answers) else 0


def print_preface(machine: dict[str, Any], choice: Choice) -> None:
    """Print the command line, the machine, the versions and what is left out, before the tables."""
    print(f"$ {describe_command()}")
    print(
        f"{machine['processor']}, {machine['cores']} cores, Linux {machine['kernel']}; "
        f"server on core {machine['server_core']}, client on core {machine['client_core']}"
    )
    used = {item for found in choice.versions.values() for item in found.items()}
    print(", ".join(f"{name} {version}" for name, version in sorted(used)))
    for sentence in choice.skipped:
        print(sentence)
    print(flush=True)


def print_answer(answer: Answer) -> None:
    """Print the table of one question."""
    subject = next(iter(answer.rows), "none")
    first = answer.rows[subject].median if answer.rows else None
    unit = answer.question.unit
    columns = ["server", f"CPU us/{unit}", "user", "system", f"{subject} / it", "reply B"]
    columns += [f"{PLURALS.get(unit, f'{unit}s')}/s", "p50 us", "p99 us", "p99.9 us", "RSS MiB"]
    columns += ["server", "client", "waited", "runs"]
    rows = [format_row(name, row, first) for name, row in answer.rows.items()]
    print_table(answer.question.title, columns, rows, answer.sentences)


def format_row(name: str, row: Row, first: Run | None) -> list[str]:
    """Format one server's medians; the ratio is what one costs the first server over that here."""
    median = row.median
    runs = f"{len(row.sound_runs)}/{len(row.runs)}"
    if median is None:
        return [name, "client-bound", *["-"] * 12, runs]
    digits = 1 if median.cpu_us >= 100 else 2 if median.cpu_us >= 1 else 3
    return [
        name,
        format_spread([run.cpu_us for run in row.sound_runs], median.cpu_us, digits),
        f"{median.user_us:.{digits}f}",
        f"{median.system_us:.{digits}f}",
        "-" if first is None else f"{first.cpu_us / median.cpu_us:.3f}",
        f"{median.reply_bytes:,.0f}",
        f"{median.throughput:,.0f}",
        *(f"{value:,.0f}" for value in (median.p50_us, median.p99_us, median.p999_us)),
        f"{median.rss_bytes / 2**20:.1f}",
        *(
            f"{share:.0%}"
            for share in (median.server_share, median.client_share, median.waited_share)
        ),
        runs,
    ]


def to_json(answer: Answer) -> dict[str, Any]:
    """Give what is kept of an answer: every run, and the medians."""
    servers = {}
    for name, row in answer.rows.items():
        record: dict[str, Any] = {"runs": [asdict(run) for run in row.runs]}
        if row.median is None:
            record["refused"] = row.refused
        else:
            record |= asdict(row.median)
        servers[name] = record
    question = answer.question
    return {
        "question": question.title,
        "unit": question.unit,
        "load": question.load,
        "servers": servers,
        "failures": answer.failures,
        "unable": answer.unable,
    }


def write_results(path: Path | None, benchmark: str, record: dict[str, Any]) -> None:
    """Write the record as JSON to `path`, or to a new file in results/ named after the time.

    The tables that were printed so far are in it.
    """
    if path is None:
        stamp = datetime.datetime.now().strftime("%Y%m%d-%H%M%S")
        path = HERE / "results" / f"{benchmark}-{stamp}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    whole = {"benchmark": benchmark, "command": describe_command(), **record, "tables": _printed}
    path.write_text(json.dumps(whole, indent=1) + "\n")
    print(f"written to {path}")


def describe_command() -> str:
    """Return the command line as it was typed, the interpreter by its bare name."""
    return shlex.join([Path(sys.executable).name, *sys.argv])


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
    _printed.append(
        {"title": title, "columns": columns, "rows": rows, "sentences": list(sentences)}
    )


def format_spread(values: Sequence[float], median: float, digits: int) -> str:
    """Format a median with the least and the greatest value behind it."""
    return f"{median:.{digits}f} ({min(values):.{digits}f}-{max(values):.{digits}f})"

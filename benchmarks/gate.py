"""The gate against regressions: the instructions that were recorded, and those of today.

They depend on the interpreter and on the compiler, so they are compared only on the Python and the
kind of machine on which they were recorded.
"""

import json
import platform
from pathlib import Path
from typing import Any

import harness

PATH = Path(__file__).resolve().parent / "instructions.json"
ALLOWED = 1.03
"""Today's figure may be so many times the recorded one: compilers of one kind differ by less."""
COUNTED = {
    "epoll": (
        "echo of 20 B, depth 32",
        "echo of 20 B, depth 1",
        "opening handshake",
        "GET",
        "GET, 16 pipelined",
        "GET, ASGI",
        "GET, ASGI, 16 pipelined",
    ),
    "epoll, watched": ("echo of 20 B, depth 1", "GET", "GET, ASGI"),
}
"""Engine -> the questions that the gate asks."""

Figures = dict[str, dict[str, float]]


def describe_build() -> dict[str, str]:
    """Tell on what the figures depend."""
    major, minor, _ = platform.python_version_tuple()
    return {"python": f"{major}.{minor}", "machine": platform.machine()}


def find_obstacle() -> str | None:
    """Say why nothing can be compared here, if that is so."""
    if not PATH.exists():
        return f"nothing has been recorded in {PATH.name}"
    recorded, here = read()["build"], describe_build()
    if recorded != here:
        return f"{PATH.name} was recorded on {recorded}, and this is {here}"
    return None


def read() -> dict[str, Any]:
    recorded: dict[str, Any] = json.loads(PATH.read_text())
    return recorded


def record(found: Figures) -> None:
    """Write the file anew."""
    rounded = {
        engine: {title: round(cost, 1) for title, cost in costs.items()}
        for engine, costs in found.items()
    }
    PATH.write_text(json.dumps({"build": describe_build(), "figures": rounded}, indent=1) + "\n")
    print(f"recorded in {PATH}")


def find_excess(found: Figures) -> dict[str, list[str]]:
    """Return the questions whose figure is too great, by engine."""
    recorded: Figures = read()["figures"]
    return {
        engine: [
            title
            for title, cost in costs.items()
            if cost > recorded.get(engine, {}).get(title, cost) * ALLOWED
        ]
        for engine, costs in found.items()
    }


def compare(found: Figures) -> int:
    """Print both figures of each question; returns 1 where today's is too great, or missing."""
    rows, sentences = [], []
    recorded: Figures = read()["figures"]
    for engine, costs in recorded.items():
        for title, before in costs.items():
            now = found.get(engine, {}).get(title)
            if now is None:
                sentences.append(f"FAILED {engine}, {title}: recorded, and no longer counted")
                continue
            rows.append([engine, title, f"{before:,.1f}", f"{now:,.1f}", f"{now / before:.4f}"])
            if now > before * ALLOWED:
                sentences.append(
                    f"FAILED {engine}, {title}: {now:,.1f} instructions are more than "
                    f"{ALLOWED} x {before:,.1f}"
                )
    failed = bool(sentences)
    for engine, costs in found.items():
        new = sorted(costs.keys() - recorded.get(engine, {}).keys())
        sentences += [f"NEW {engine}, {title}: not recorded; run with --record" for title in new]
    columns = ["engine", "question", "recorded", "today", "today / recorded"]
    harness.print_table("Instructions against those recorded", columns, rows, sentences)
    return 1 if failed else 0

"""Which lines of the compiled core were reached, by way of gcov and of Cython's own comments.

Cython writes, above the C that a statement becomes, a comment with the statement's file and line.
A statement was reached if the first line of C under one of its comments was; what stands behind a
function's last statement, the way out of the function, belongs to none. C headers count as they
are. Cython's own line tracing would measure another program: it takes the GIL where the core has
none, and calls Python for every line.
"""

import json
import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

MARKER = re.compile(r'\s*/\* "([^"]+)":(\d+)$')
"""The head of the comment above a statement."""
FINALLY = "/*finally:*/"
"""What stands between the comment above the first statement of a `finally` and its copies."""
COPY = re.compile(r"\s*(/\*(normal|exception) exit:\*/|__pyx_L\d+_(return|break|continue): ?\{)")
"""The head of each of these copies: one for each way out."""
BEHIND = re.compile(r"\s*/\* (function exit code \*/|#### Code section: )")
"""What belongs to no statement: a function's way out, and what Cython adds to a module."""
SUFFIXES = {".pyx", ".pxd", ".h"}

Counts = dict[int, int]
"""How often each line that can be reached was."""


@dataclass
class Reached:
    """The lines of one file of the core."""

    counts: Counts = field(default_factory=dict)

    @property
    def missing(self) -> list[int]:
        return sorted(line for line, count in self.counts.items() if not count)

    def add(self, line: int, count: int) -> None:
        self.counts[line] = max(self.counts.get(line, 0), count)


def measure(build: Path, package: Path) -> dict[str, Reached]:
    """Read what the programs compiled into `build` left behind; the keys are files of `package`."""
    files: dict[str, Reached] = {}
    paths = (path for path in package.rglob("*") if path.suffix in SUFFIXES)
    names = {path.relative_to(package).as_posix() for path in paths}
    for data in sorted(build.rglob("*.gcda")):
        for source in run_gcov(data):
            path = Path(source["file"])
            counts: Counts = {}
            for line in source["lines"]:
                number = line["line_number"]
                counts[number] = max(counts.get(number, 0), line["count"])
            if path.suffix == ".c":
                generated = path if path.is_absolute() else build / path
                found = attribute(generated.read_text().splitlines(), counts)
            else:
                found = ((name_of(path), line, count) for line, count in counts.items())
            for name, line, count in found:
                if name in names:
                    files.setdefault(name, Reached()).add(line, count)
    return files


def name_of(path: Path) -> str:
    """Give the name of a file below the package."""
    parts = path.parts
    if "sockwave" not in parts:
        return path.name
    return "/".join(parts[len(parts) - parts[::-1].index("sockwave") :])


def run_gcov(data: Path) -> list[dict[str, Any]]:
    """Give the sources that one object file was compiled of, with their lines."""
    command = ["gcov", "--json-format", "--stdout", str(data)]
    output = subprocess.run(command, check=True, capture_output=True, text=True, cwd=data.parent)
    return [source for line in output.stdout.splitlines() for source in json.loads(line)["files"]]


def attribute(generated: list[str], counts: Counts) -> Iterator[tuple[str, int, int]]:
    """Give the statements that the generated C is made of, each place of each with its count."""
    latest: tuple[str, int] | None = None
    last_words: tuple[str, int] | None = None  # the first statement of a `finally`
    statement: tuple[str, int] | None = None  # what the next line of C belongs to
    for number, text in enumerate(generated, 1):
        marker = MARKER.match(text)
        if marker is not None:
            statement = latest = name_of(Path(marker[1])), int(marker[2])
        elif BEHIND.match(text):
            statement = last_words = None
        elif FINALLY in text:
            last_words = latest
        elif last_words is not None and COPY.match(text):
            statement = last_words
        if statement is not None and number in counts:
            yield *statement, counts[number]
            statement = None

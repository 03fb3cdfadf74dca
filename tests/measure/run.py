"""Run the tests and tell which lines they reach: of the Python code, and of the compiled core.

The core is compiled anew for it, in .venv/coverage. Arguments are pytest's. Exits with 1 when the
tests fail, with 2 when they reach less than they have to.
"""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import core

ROOT = Path(__file__).resolve().parents[2]
PLACE = ROOT / ".venv" / "coverage"
BUILD, SITE, DATA = PLACE / "build", PLACE / "site", PLACE / "data"
PYTHON_PERCENT = 98.0
"""Of the lines, and of the branches, of the Python code."""
CORE_PERCENT = 95.0
"""Of the lines of the compiled core."""


def install() -> None:
    """Compile the core with counters, and put the package into a directory of its own."""
    settings = [f"build-dir={BUILD}"]
    settings += [f"setup-args=-D{option}" for option in ("b_coverage=true", "optimization=0")]
    shutil.rmtree(SITE, ignore_errors=True)
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    command += ["--no-build-isolation", "--target", str(SITE)]
    command += [f"--config-settings={setting}" for setting in settings]
    subprocess.run([*command, str(ROOT)], check=True)


def run_tests(arguments: list[str]) -> int:
    """Run pytest, everything that it starts counted too; gives its exit status."""
    shutil.rmtree(DATA, ignore_errors=True)
    DATA.mkdir()
    for left in BUILD.rglob("*.gcda"):
        left.unlink()
    environment = os.environ | {
        "PYTHONPATH": str(SITE),
        "COVERAGE_FILE": str(DATA / "coverage"),
        "SOCKWAVE_PREPARED": "0",  # a program is counted from its first moment on
    }
    command = [sys.executable, "-m", "coverage", "run", "-m", "pytest", *arguments]
    status = subprocess.run(command, cwd=ROOT, env=environment, check=False).returncode
    report = ["combine", "--quiet"], ["json", "--quiet", "-o", str(DATA / "python.json")]
    for arguments in report:
        command = [sys.executable, "-m", "coverage", *arguments]
        subprocess.run(command, cwd=ROOT, env=environment, check=True)
    return status


def name_lines(lines: list[int]) -> str:
    """Write 3, 4, 5, 9 as 3-5, 9."""
    groups: list[list[int]] = []
    for line in lines:
        if groups and line == groups[-1][1] + 1:
            groups[-1][1] = line
        else:
            groups.append([line, line])
    return ", ".join(f"{first}" if first == last else f"{first}-{last}" for first, last in groups)


def report_python() -> tuple[float, float]:
    """Print what is missing of the Python code; gives the percentages of lines and of branches."""
    report: dict[str, Any] = json.loads((DATA / "python.json").read_text())
    for name, file in sorted(report["files"].items()):
        branches = [f"{start}->{end}" for start, end in file["missing_branches"]]
        missing = [name_lines(file["missing_lines"]), *branches]
        if any(missing):
            print(f"{(ROOT / name).relative_to(SITE)}: {', '.join(filter(None, missing))}")
    totals = report["totals"]
    lines = 100 * totals["covered_lines"] / totals["num_statements"]
    return lines, 100 * totals["covered_branches"] / totals["num_branches"]


def report_core() -> float:
    """Print what is missing of the compiled modules; gives the percentage of its lines."""
    files = core.measure(BUILD, ROOT / "src" / "sockwave")
    for name, file in sorted(files.items()):
        if file.missing:
            print(f"sockwave/{name}: {name_lines(file.missing)}")
    total = sum(len(file.counts) for file in files.values())
    return 100 - 100 * sum(len(file.missing) for file in files.values()) / total


def main() -> int:
    """Build, run, report."""
    install()
    status = run_tests(sys.argv[1:])
    print("\nNot reached:")
    lines, branches = report_python()
    core_lines = report_core()
    print(
        f"\nPython: {lines:.1f} % of lines, {branches:.1f} % of branches "
        f"(at least {PYTHON_PERCENT:.0f} %)\n"
        f"Core: {core_lines:.1f} % of lines (at least {CORE_PERCENT:.0f} %)"
    )
    if status:
        print("The tests failed.", file=sys.stderr)
        return 1
    return 2 if min(lines, branches) < PYTHON_PERCENT or core_lines < CORE_PERCENT else 0


if __name__ == "__main__":
    sys.exit(main())

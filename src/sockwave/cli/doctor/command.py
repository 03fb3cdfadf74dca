"""`sockwave doctor`: its arguments, and how it tells what it has found."""

import argparse
import json
import sys
from dataclasses import asdict

from sockwave.cli.shell.colours import Paint, has_colours
from sockwave.cli.shell.parser import CommandParser
from sockwave.cli.shell.values import positive

_MISSING = 1
_COLOURS = {"ok": "green", "missing": "red", "advice": "yellow", "unknown": "faint"}


def add_doctor(parser: CommandParser) -> None:
    """Add the arguments of `sockwave doctor`."""
    parser.example = "$ sockwave doctor --connections 50000"
    parser.description = (
        "Look at this Python and this machine, and tell what a service of so many connections "
        "needs, what is missing, and the command that gives it. "
        "Exit status: 0 when nothing is missing, 1 when something is, 2 for wrong arguments."
    )
    parser.add_argument(
        "--connections",
        metavar="N",
        type=positive,
        default=10_000,
        help="connections of a process that the machine is to hold (default: 10000)",
    )
    parser.add_argument("--json", action="store_true", help="print the findings as JSON")
    parser.set_defaults(command=run_doctor, parser=parser)


def run_doctor(chosen: argparse.Namespace) -> int:
    """Look at everything, tell of it, and return 1 where something is missing."""
    from sockwave.cli.doctor.machine import read_machine, read_software
    from sockwave.cli.doctor.needs import judge_machine, judge_software

    count: int = chosen.connections
    software = list(judge_software(read_software()))
    machine = list(judge_machine(read_machine(), count))
    missing = sum(finding.status == "missing" for finding in software + machine)
    if chosen.json:
        told = [asdict(finding) for finding in software + machine]
        print(json.dumps({"connections": count, "missing": missing, "findings": told}))
        return _MISSING if missing else 0
    paint = Paint(on=has_colours(sys.stdout))
    width = max(len(finding.name) for finding in software + machine)
    for title, findings in ("", software), (f"For {count:,} connections:", machine):
        if title:
            print(f"\n{paint('bold', title)}")
        for finding in findings:
            status = paint(_COLOURS[finding.status], f"{finding.status:<8}")
            need = f" (needed: {finding.need})" if finding.need else ""
            print(f"{status} {finding.name:<{width}}  {finding.value}{need}")
            if finding.fix and finding.status != "ok":
                print(f"{'':<9}{'':<{width}}  {paint('bold', finding.fix)}")
    thing = "thing is" if missing == 1 else "things are"
    print(f"\n{missing} {thing} missing." if missing else "\nNothing is missing.")
    return _MISSING if missing else 0

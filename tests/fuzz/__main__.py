"""The commands of `make fuzz` and `make sanitize`."""

import argparse
import os
import sys

from fuzz import guided, replay
from fuzz.sanitized import check_sanitizers, environment
from fuzz.targets import NAMES


def main() -> int:
    """Run the command that is asked for."""
    parser = argparse.ArgumentParser(prog="python -m fuzz", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    run = commands.add_parser("run", help="fuzz targets, a process for each")
    run.add_argument("names", nargs="*", default=list(NAMES), metavar="TARGET")
    run.add_argument("--seconds", type=int, default=600, help="for each target (%(default)s)")
    run.add_argument("--seed", type=int, default=0, help="0: another one each time")
    target = commands.add_parser("target", help="fuzz one target in this process")
    target.add_argument("name", choices=NAMES)
    target.add_argument("options", nargs=argparse.REMAINDER, help="libFuzzer's")
    again = commands.add_parser("replay", help="feed the kept inputs to their targets")
    again.add_argument("names", nargs="*", default=list(NAMES), metavar="TARGET")
    suite = commands.add_parser("suite", help="run pytest on the sanitized build")
    suite.add_argument("options", nargs=argparse.REMAINDER, help="pytest's")
    given = parser.parse_args()
    for name in getattr(given, "names", []):
        if name not in NAMES:
            parser.error(f"no such target: {name}; there are {', '.join(NAMES)}")
    if given.command == "run":
        return guided.run_targets(given.names, given.seconds, given.seed)
    if given.command == "target":
        guided.fuzz(given.name, given.options)
    elif given.command == "replay":
        for name in given.names:
            print(f"{name:10} {replay.replay(name)} inputs")
    else:
        check_sanitizers()
        command = [sys.executable, "-m", "pytest", "-m", "not measures", *given.options]
        os.execve(sys.executable, command, environment())
    return 0


if __name__ == "__main__":
    sys.exit(main())

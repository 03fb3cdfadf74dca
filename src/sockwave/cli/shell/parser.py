"""The parser of the commands, whose help opens with an example."""

import argparse
from typing import Any

import sockwave


class CommandParser(argparse.ArgumentParser):
    """A parser whose help opens with `example`, before the usage."""

    example = ""

    def format_help(self) -> str:
        """Return the help: the example, then what argparse writes."""
        text = super().format_help()
        return f"  {self.example}\n\n{text}" if self.example else text


class VersionAction(argparse.Action):
    """Prints the version, which is looked up only then.

    The package's metadata takes longer to read than the parsers of all commands to build.
    """

    def __init__(self, option_strings: list[str], dest: str) -> None:
        super().__init__(
            option_strings,
            dest=argparse.SUPPRESS,
            default=argparse.SUPPRESS,
            nargs=0,
            help="print the version",
        )

    def __call__(self, parser: argparse.ArgumentParser, *_: Any) -> None:
        """Print it, and exit."""
        print(f"sockwave {sockwave.__version__}")
        parser.exit()

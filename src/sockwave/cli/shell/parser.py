"""The parser of the commands, whose help opens with an example."""

import argparse


class CommandParser(argparse.ArgumentParser):
    """A parser whose help opens with `example`, before the usage."""

    example = ""

    def format_help(self) -> str:
        """Return the help: the example, then what argparse writes."""
        text = super().format_help()
        return f"  {self.example}\n\n{text}" if self.example else text

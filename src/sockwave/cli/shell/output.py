"""Standard output, whatever it is: closed, full, or without some of the characters."""

import io
import os
import sys


def prepare_output() -> None:
    """Let anything be printed: nowhere, where a stream is closed, as `>&-` does."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, open(os.devnull, "w"))  # noqa: SIM115  (as long as it all)
        elif isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def drop_output() -> None:
    """Print nowhere from now on: Python is not to fail again at what it has kept."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())

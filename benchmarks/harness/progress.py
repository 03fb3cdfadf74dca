"""What is being done, on a terminal."""

import sys


def show_progress(text: str) -> None:
    """Show it in a line that is written over; "" clears it."""
    if sys.stderr.isatty():
        print(f"\r{text:78}" if text else f"\r{'':78}\r", end="", file=sys.stderr, flush=True)

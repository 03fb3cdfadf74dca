"""Values on the command line, checked and converted."""

import argparse
import math
import re
from collections.abc import Callable

#: Of seconds, eleven days: whatever waits for them can count them.
MOST_SECONDS = 1_000_000

_UNITS = {"": 1, "B": 1, "KIB": 1 << 10, "MIB": 1 << 20, "K": 1 << 10, "M": 1 << 20}


def port_number(text: str) -> int:
    """Convert a port, 0 to 65535."""
    if text.isascii() and text.isdigit() and int(text) <= 65535:
        return int(text)
    raise argparse.ArgumentTypeError(f"expected a number from 0 to 65535, got {text!r}")


def path_name(text: str) -> str:
    """Check a path; an empty one would make a socket without a name."""
    if text:
        return text
    raise argparse.ArgumentTypeError("expected a path, got nothing")


def positive(text: str) -> int:
    """Convert a count, 1 or more."""
    if text.isascii() and text.isdigit() and int(text) > 0:
        return int(text)
    raise argparse.ArgumentTypeError(f"expected a whole number above 0, got {text!r}")


def up_to(most: int) -> Callable[[str], int]:
    """Return what converts a count from 1 to `most`."""

    def convert(text: str) -> int:
        if text.isascii() and text.isdigit() and len(text) <= len(str(most)):
            value = int(text)
            if 0 < value <= most:
                return value
        raise argparse.ArgumentTypeError(f"expected a whole number from 1 to {most}, got {text!r}")

    return convert


def byte_count(text: str) -> int:
    """Convert a size: bytes, or with a unit such as 16KiB."""
    found = re.fullmatch(r"(\d{1,12})\s*([A-Za-z]*)", text, re.ASCII)
    unit = _UNITS.get(found[2].upper()) if found else None
    if found is None or unit is None:
        raise argparse.ArgumentTypeError(f"expected a size such as 20 or 16KiB, got {text!r}")
    return int(found[1]) * unit


def seconds(text: str) -> float:
    """Convert a time in seconds, above 0 and at most MOST_SECONDS."""
    value = number(text)
    if 0 < value <= MOST_SECONDS:
        return value
    raise argparse.ArgumentTypeError(
        f"expected seconds, above 0 and at most {MOST_SECONDS}, got {text!r}"
    )


def seconds_or_none(text: str) -> float:
    """Convert a time in seconds, 0 to MOST_SECONDS."""
    value = number(text)
    if 0 <= value <= MOST_SECONDS:
        return value
    raise argparse.ArgumentTypeError(f"expected seconds, from 0 to {MOST_SECONDS}, got {text!r}")


def number(text: str) -> float:
    """Convert a number that is finite."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if math.isfinite(value):
        return value
    raise argparse.ArgumentTypeError(f"expected a number, got {text!r}")


def header(text: str) -> tuple[str, str]:
    """Convert a header field, `Name: value`."""
    name, colon, value = text.partition(":")
    if colon and name.strip():
        return name.strip(), value.strip()
    raise argparse.ArgumentTypeError(f"expected 'Name: value', got {text!r}")


def uri(text: str) -> str:
    """Complete the URI of a WebSocket: what has no scheme is taken for ws://."""
    return text if "://" in text else f"ws://{text}"

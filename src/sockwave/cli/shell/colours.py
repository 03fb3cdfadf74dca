"""Whether a stream may have colours, and how they are written (ECMA-48, SGR)."""

import os
from typing import TextIO

_CODES = {"bold": "1", "faint": "2", "red": "31", "green": "32", "yellow": "33", "blue": "34"}


def has_colours(stream: TextIO) -> bool:
    """Tell whether a stream is a terminal with colours, and nobody has said NO_COLOR."""
    return (
        stream.isatty()
        and not os.environ.get("NO_COLOR")  # https://no-color.org: present and not empty
        and os.environ.get("TERM") != "dumb"
    )


class Paint:
    """Writes words in a colour, where `on` lets it."""

    def __init__(self, *, on: bool) -> None:
        self.on = on

    def __call__(self, colour: str, text: str) -> str:
        """Return the text in a colour: red, green, yellow, blue, bold or faint."""
        return f"\x1b[{_CODES[colour]}m{text}\x1b[0m" if self.on else text

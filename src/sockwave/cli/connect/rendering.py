"""How messages and closes are shown."""

import contextlib
import datetime
import json

from sockwave.close import CloseCode

_LINE_SIZE = 16  # bytes in a line of a dump
# RFC 6455, 7.4.1: normal, and 1005, which stands for a close without a code; a server that is
# restarted says 1001.
NORMAL_CODES = frozenset({1000, 1001, 1005})

_MEANINGS = {int(code): code.meaning for code in CloseCode}


def render(message: str | bytes, *, is_json: bool, is_terminal: bool) -> str:
    """Return how a message is shown: JSON with indentation where asked for, bytes in hexadecimal.

    On a terminal, no character of it is left that would command the terminal.
    """
    if isinstance(message, bytes):
        return dump(message) if is_terminal else message.hex()
    if is_json:
        with contextlib.suppress(ValueError, RecursionError):  # then it is shown as it came
            message = json.dumps(json.loads(message), indent=2, ensure_ascii=False)
    return escape(message) if is_terminal else message


def escape(text: str) -> str:
    """Return a text in which nothing can move the cursor or change colours."""
    if text.isprintable():
        return text
    return "".join(
        one if one.isprintable() or one in "\n\t" else one.encode("unicode_escape").decode()
        for one in text
    )


def dump(data: bytes) -> str:
    """Return bytes as lines of offset, hexadecimal digits and characters."""
    lines = []
    for start in range(0, len(data), _LINE_SIZE):
        part = data[start : start + _LINE_SIZE]
        text = "".join(chr(byte) if 0x20 <= byte < 0x7F else "." for byte in part)
        lines.append(f"{start:08x}  {part.hex(' '):<{_LINE_SIZE * 3}} {text}")
    return "\n".join(lines) or "(empty)"


def timestamp() -> str:
    """Return the time of day, with milliseconds."""
    return datetime.datetime.now().astimezone().strftime("%H:%M:%S.%f")[:-3]


def describe_close(code: int | None, reason: str | None) -> str:
    """Return why a connection has ended, in a line."""
    if code is None:
        return "closed"
    meaning = f" ({_MEANINGS[code]})" if code in _MEANINGS else ""
    tail = f": {escape(reason)}" if reason else ""
    return f"closed with {code}{meaning}{tail}".replace("\n", "\\n")

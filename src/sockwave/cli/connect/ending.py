"""How a conversation has ended: what is told of it, and the exit status."""

import sys

from sockwave.cli.connect.rendering import NORMAL_CODES, escape
from sockwave.client.errors import HandshakeRefused
from sockwave.errors import ConnectionClosed

CLOSED_NORMALLY = 0
NOT_CONNECTED = 1
WRONG_INPUT = 2
CLOSED_WITH_ERROR = 3
NO_ANSWER = 4
#: By Ctrl-C, before there was a connection, or what was asked for: 128 and the number of SIGINT.
INTERRUPTED = 130


def status_of(code: int | None) -> int:
    """Return the exit status for a close code."""
    return CLOSED_NORMALLY if code in NORMAL_CODES else CLOSED_WITH_ERROR


def describe_failure(error: Exception) -> str:
    """Return why there is no connection: where the server has refused, with its whole answer."""
    if not isinstance(error, HandshakeRefused):
        return escape(str(error)) or type(error).__name__
    body = error.body.decode("utf-8", "replace").strip()
    sentence = str(error).partition(": ")[0]
    return f"{sentence}\n{escape(body)}" if body else sentence


def report(error: Exception, prog: str) -> int:
    """Tell of an error on stderr; returns the exit status."""
    print(f"{prog}: {describe_failure(error)}", file=sys.stderr)
    return status_of(error.code) if isinstance(error, ConnectionClosed) else NOT_CONNECTED

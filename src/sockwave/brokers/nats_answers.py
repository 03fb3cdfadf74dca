"""What JetStream answers, and why it would not.

https://docs.nats.io/reference/reference-protocols/nats_api_reference
"""

import base64
import json
import re
from datetime import datetime
from typing import Any

from sockwave.brokers.nats_requests import FORBIDDEN, NOBODY, TIMED_OUT, Answer
from sockwave.brokers.nats_wire import find_header, find_sequence

#: Times of JetStream are in nanoseconds.
SECOND = 1_000_000_000

# Errors of JetStream, by their numbers.
NO_STREAM = 10059
NO_MESSAGE = 10037
OTHER_STREAM = 10058
_NO_ACCOUNT = (10039, 10076)  # JetStream is not enabled, for this account or at all

#: What it will not be in a moment: no leader, no room in a cluster, just starting.
PASSING_ERRORS = frozenset({10008, 10009, 10118, 10158, 10163, 10167, 10194, 10226})

#: Something else was stored before.
CONFLICTS = (10071, 10164)

# Before, it gave one message for each request, and lost what it had when it was killed.
_FIRST_VERSION = (2, 11)


class NoLogs(str):
    """Why there are no logs, or none for us."""

    __slots__ = ()


class Forbidden(NoLogs):
    """Why there are none for us, in the server's words."""

    __slots__ = ()


_NOT_THERE = NoLogs(
    "NATS: expected JetStream, which keeps streams, and messages of topics with a history or "
    "presence: start nats-server with -js, or with jetstream {} in its configuration, and enable "
    "it for the account"
)


def check_version(info: dict[str, Any]) -> NoLogs | None:
    """Return why a server that says this of itself keeps no logs for us, if that is so."""
    version = str(info.get("version"))
    found = re.match(r"(\d+)\.(\d+)", version)
    if found is not None and (int(found[1]), int(found[2])) >= _FIRST_VERSION:
        return None
    return NoLogs(
        "NATS: expected a server of version 2.11 or later for streams, and for topics with a "
        f"history or presence, given {version}"
    )


def read_answer(answer: Answer) -> tuple[dict[str, Any], int]:
    """Return what JetStream has answered, in JSON, and the number of its error; 0: none."""
    if answer.status:
        return {}, 0
    found: dict[str, Any] = json.loads(answer.message)
    error = found.get("error")
    return found, 0 if error is None else int(error.get("err_code") or error.get("code") or 1)


def data_of(message: dict[str, Any]) -> bytes:
    """Return a message that JetStream tells in JSON."""
    return base64.b64decode(message.get("data", ""))


def describe(found: dict[str, Any]) -> str:
    """Return what JetStream says of an error."""
    return f"JetStream: {found['error'].get('description')}"


def forbidden(error: bytes) -> Forbidden:
    """Return why there is nothing for us, as the server has said it."""
    return Forbidden(f"NATS: {error.decode('utf-8', 'replace')}")


def find_refusal(answer: Answer) -> str | None:
    """Return why JetStream will not answer such a request; None: it has, or it may later."""
    if answer.status == NOBODY:
        return _NOT_THERE
    if answer.status == FORBIDDEN:
        return forbidden(answer.message)
    if answer.status == TIMED_OUT:
        return None
    return _NOT_THERE if read_answer(answer)[1] in _NO_ACCOUNT else None


def may_pass(answer: Answer, error: int) -> bool:
    """Tell whether what was asked may be answered a moment later: `error` is what it says now."""
    return answer.status not in (0, FORBIDDEN) or error in PASSING_ERRORS


def read_stamp(answer: Answer) -> tuple[int, float]:
    """Return sequence and time of a message that JetStream gives as it is."""
    time = find_header(answer.head, b"Nats-Time-Stamp").decode()
    return find_sequence(answer.head), read_time(time)


def read_time(text: str) -> float:
    """Return a time of JetStream, which is in UTC, in milliseconds since 1970."""
    whole = datetime.fromisoformat(text[:19] + "+00:00").timestamp()
    return (whole + float("0" + text[19:].rstrip("Z"))) * 1000

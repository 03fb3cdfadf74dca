"""What is kept of an answer: what two servers have to have in common, and nothing else."""

import hashlib
import json
import re
from collections.abc import Iterable
from typing import Any

#: Headers that are not compared, each with its reason.
LEFT_OUT = {
    "date": "is the time",
    "server": "uvicorn names itself, unless it is told not to; sockwave does not",
    # Of the opening handshake.
    "sec-websocket-accept": "follows from the client's key, and is checked by the client",
    "upgrade": "is said in other letters, and checked by the client",
}

#: What is another one each time, and no difference.
MASKS = [
    (re.compile(r"127\.0\.0\.1:\d+"), "HOST"),
    (re.compile(r"(?<![0-9a-f])[0-9a-f]{8}-?(?:[0-9a-f]{4}-?){3}[0-9a-f]{12}(?![0-9a-f])"), "UUID"),
    (re.compile(r"(session(?:id)?=)[^;]+"), r"\1SIGNED"),
    (re.compile(r"(csrftoken=)[^;]+"), r"\1TOKEN"),
    (re.compile(r"(expires=)\w{3}, [^;]+ GMT"), r"\1THEN"),
    (re.compile(r"(?<=boundary=)[0-9a-f]{26}|(?<=--)[0-9a-f]{26}"), "BOUNDARY"),
    (re.compile(r"\d{4}-\d\d-\d\d[ T]\d\d:\d\d:\d\d(\.\d+)?(Z|\+00:00)?"), "TIME"),
]

#: A longer body is kept as its size and its hash.
LONG_SIZE = 4000

Headers = Iterable[tuple[str, str]]


def mask(text: str) -> str:
    """Replace what differs from one run to another."""
    for pattern, word in MASKS:
        text = pattern.sub(word, text)
    return text


def keep_headers(headers: Headers) -> list[str]:
    """Keep the headers that matter, in the order of their names."""
    kept = [(name.lower(), mask(value)) for name, value in headers]
    return sorted(f"{name}: {value}" for name, value in kept if name not in LEFT_OUT)


def keep_body(body: bytes) -> str:
    """Keep a body as text; a long one as its size and its hash."""
    if len(body) > LONG_SIZE:
        return f"{len(body)} bytes, SHA-256 {hashlib.sha256(body).hexdigest()[:16]}"
    return mask(body.decode("utf-8", "backslashreplace"))


def keep_answer(status: int, headers: Headers, body: bytes) -> dict[str, Any]:
    """Keep an answer to a request."""
    return {"status": status, "headers": keep_headers(headers), "body": keep_body(body)}


def compare(ours: Any, theirs: Any) -> list[str]:
    """Say in what two transcripts differ; nothing if they are the same."""
    if isinstance(ours, dict) and isinstance(theirs, dict):
        return [
            f"{key}: {line}" if not line.startswith(("here", "+", "-")) else f"{key} {line}"
            for key in {**theirs, **ours}
            for line in compare(ours.get(key), theirs.get(key))
        ]
    if isinstance(ours, list) and isinstance(theirs, list):
        lines = [f"+ {item!r}" for item in _without(ours, theirs)]
        lines += [f"- {item!r}" for item in _without(theirs, ours)]
        if not lines and ours != theirs:
            lines.append(f"here {json.dumps(ours)}, there {json.dumps(theirs)}")
        return lines
    return [] if ours == theirs else [f"here {ours!r}, there {theirs!r}"]


def _without(some: list[Any], others: list[Any]) -> list[Any]:
    """Give the items that are more often among `some` than among the others."""
    rest = list(others)
    return [item for item in some if item not in rest or rest.remove(item)]

r"""How messages stand in the streams of JetStream, and what a delta says of its own stream.

Each is as hosts hear it, behind a line with its epoch and its offset: `1o EPOCH OFFSET\n`, or
`1s EPOCH OFFSET\n` where it is a delta. A header of a delta tells what its stream is with it: how
many bytes, of which kind, how it has ended, and who produces it. So the newest delta is all that a
host has to know to append another one.
"""

import base64
import re
import secrets
from typing import Any, NamedTuple

from sockwave.brokers.nats_answers import data_of, read_stamp, read_time
from sockwave.brokers.nats_requests import Answer
from sockwave.brokers.nats_wire import find_header


def read_stored(message: dict[str, Any] | None) -> tuple[int, int] | None:
    """Return epoch and offset of a message that JetStream tells in JSON; None: it has none."""
    return None if message is None else read_place(data_of(message))


def read_place(message: bytes, begin: bytes = b"1o") -> tuple[int, int] | None:
    """Return epoch and offset of a message as it is stored; None: it is none.

    With offset 0 it says that a log begins, and is no message.
    """
    words = message[: message.find(b"\n", 0, 64) + 1].split(b" ")
    if len(words) != 3 or words[0] != begin or len(words[1]) != 16 or len(words[2]) > 19:
        return None
    offset = words[2][:-1]
    try:
        epoch = int(words[1], 16)
    except ValueError:
        return None
    return (epoch, int(offset)) if epoch and offset.isdigit() else None


def draw_epoch() -> int:
    """Return 64 random bits, not all of them 0."""
    return secrets.randbits(64) or 1


# ---- deltas

_HEADER = b"Sockwave-Stream"

_STATE = re.compile(rb"(\d{1,19}) ([tb-]) ([fa-]) ([0-9a-f]{16}) ([0-9a-f]{16})")


class DeltaState(NamedTuple):
    """What a stream of deltas is with one of them."""

    #: How many bytes it has in all.
    size: int = 0
    #: `t` or `b`: all deltas are text, or binary; empty: none of them has anything in it.
    kind: bytes = b""
    #: `f` or `a`: it is finished, or aborted.
    end: bytes = b""
    #: The host that produces it, and the incarnation of the worker that does.
    host: bytes = b"0" * 16
    worker: int = 0

    def pack(self) -> bytes:
        """Return it as a header."""
        return b"%b: %d %b %b %b %016x\r\n" % (
            _HEADER, self.size, self.kind or b"-", self.end or b"-", self.host, self.worker,
        )  # fmt: skip


class Delta(NamedTuple):
    """A delta as it is stored."""

    epoch: int
    offset: int
    sequence: int
    time_ms: float
    state: DeltaState


def read_delta(head: bytes, message: bytes, sequence: int, time_ms: float) -> Delta | None:
    """Return what a delta says that is stored; None: it is none."""
    place = read_place(message, b"1s")
    found = _STATE.fullmatch(find_header(head, _HEADER))
    if place is None or found is None:
        return None
    kind, end = (b"" if one == b"-" else one for one in found.groups()[1:3])
    state = DeltaState(int(found[1]), kind, end, found[4], int(found[5], 16))
    return Delta(*place, sequence, time_ms, state)


def read_told_delta(message: dict[str, Any]) -> Delta | None:
    """Return what a delta says that JetStream tells in JSON; None: it is none."""
    head = base64.b64decode(message.get("hdrs", ""))
    return read_delta(head, data_of(message), int(message["seq"]), read_time(message["time"]))


def read_given_delta(answer: Answer) -> Delta | None:
    """Return what a delta says that JetStream gives as it is; None: it is none."""
    return read_delta(answer.head, answer.message, *read_stamp(answer))

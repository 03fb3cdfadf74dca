"""Large messages of topics with a history: their parts, and what stands in the log for them.

A server takes no message that is larger than its `max_payload`, and ends the connection of a
subscriber for whom too much waits. So the parts of a large message stand in a stream of their own,
which publishes nothing anew, and hosts read them as fast as they can. The log has a message that
says which parts these are, and has its place as any other has: it is stored once all parts are, and
by it the large message is there, or is not.
"""

import re
from typing import Any, NamedTuple

from sockwave.brokers.interface import Bounds
from sockwave.brokers.nats_answers import SECOND
from sockwave.brokers.nats_stream import KeptStream
from sockwave.core.topics.parts import PART_SIZE

#: What a message in a log begins with, behind its place, whose parts stand elsewhere.
LARGE = b"1l "

#: A message is as large as this at most: 64 MiB, with what stands before it.
MOST_SIZE = (64 << 20) + (64 << 10)

# A message is kept for its topic's `ttl`, and its parts for a while longer: who has asked for its
# place is to find them.
_MORE_LIFE_S = 900

# For so long a part is known that is sent again: longer than its message.
_PART_ID_LIFE_S = 600

# Of a topic, the parts of so many messages of the largest size are kept beside those that its
# history has: they are on their way, or their publisher has died.
_SPARE_COUNT = 4

_MOST_PARTS = MOST_SIZE // PART_SIZE + 1

_REFERENCE = re.compile(
    rb"1l ([1-9]\d{0,8}) ([0-9a-f]{8}) (\d{1,19}-\d{1,19}(?:,\d{1,19}-\d{1,19})*)\n"
)


class Reference(NamedTuple):
    """What the log says of a large message."""

    size: int
    #: The CRC-32 of the whole.
    checksum: int
    #: The sequences of its parts in their order, as first and last one of each row.
    rows: list[tuple[int, int]]

    def pack(self) -> bytes:
        """Return it as it stands in the log."""
        rows = b",".join(b"%d-%d" % row for row in self.rows)
        return b"%b%d %08x %b\n" % (LARGE, self.size, self.checksum, rows)


def read_reference(message: bytes) -> Reference | None:
    """Return what stands in a log for a large message; None: it is none that can be."""
    found = _REFERENCE.fullmatch(message)
    if found is None:
        return None
    size = int(found[1])
    rows = []
    count = 0
    for row in found[3].split(b","):
        first, last = (int(one) for one in row.split(b"-"))
        count += last - first + 1
        if last < first or count > _MOST_PARTS:
            return None
        rows.append((first, last))
    if size > MOST_SIZE or count != count_parts(size):
        return None
    return Reference(size, int(found[2], 16), rows)


def count_parts(size: int) -> int:
    """Return how many parts a message of so many bytes has."""
    return -(-size // PART_SIZE)


def find_rows(sequences: list[int]) -> list[tuple[int, int]]:
    """Return sequences as rows, each with its first and its last one."""
    rows: list[tuple[int, int]] = []
    for sequence in sequences:
        if rows and rows[-1][1] + 1 == sequence:
            rows[-1] = (rows[-1][0], sequence)
        else:
            rows.append((sequence, sequence))
    return rows


class PartStream(KeptStream):
    """The stream of the parts of large messages, with a subject for each topic.

    What it keeps of a topic is bounded, the oldest goes first: so do parts of which no log tells,
    as their publisher died before it could.
    """

    suffix = b"+parts"
    branch = b".l."
    description = "Parts of large messages of topics of sockwave"
    is_made_by_all = True

    def bound_fields(self, bounds: Bounds) -> dict[str, int]:
        """Return what of its configuration bounds what it keeps."""
        count, size, ttl_s = bounds
        # All parts but the last one of a message are full, and each message has two at least.
        kept = min(2 * count_parts(size), count * _MOST_PARTS)
        return {
            "max_msgs_per_subject": kept + _SPARE_COUNT * _MOST_PARTS,
            "max_age": int((ttl_s + _MORE_LIFE_S) * SECOND) if ttl_s else 0,
        }

    def _other_fields(self) -> dict[str, Any]:
        return {"duplicate_window": _PART_ID_LIFE_S * SECOND}

"""The stream in which JetStream keeps the deltas of all topics that are streams."""

import json
from collections.abc import Callable, Iterable, Iterator

from sockwave.brokers.interface import Bounds
from sockwave.brokers.nats_answers import SECOND
from sockwave.brokers.nats_requests import Answer
from sockwave.brokers.nats_stored import Delta
from sockwave.brokers.nats_stream import HeardStream

#: For so long a delta is kept whose stream has not ended.
LIFE_S = 7 * 24 * 3600

# For so long a stream that has ended can be read.
_KEPT_S = 60

# No stream has more deltas: there is no bound but that of their size.
_MOST_COUNT = 1 << 60

# Of one question about the newest deltas of topics.
_NEWEST_COUNT = 500
_NEWEST_SIZE = 64 << 10


def bounds_of_parts(append_size: int) -> Bounds:
    """Return what is to be kept of the parts of large deltas, where a stream has so many bytes."""
    return _MOST_COUNT, append_size, LIFE_S


class DeltaStream(HeardStream):
    """The stream of the deltas of all topics that are streams."""

    suffix = b"+streams"
    branch = b".a."
    description = "Topics of sockwave that are streams"

    def bound_fields(self, _: Bounds) -> dict[str, int]:
        """Return what of its configuration bounds what it keeps: hosts bound the size."""
        return {"max_msgs_per_subject": -1, "max_age": LIFE_S * SECOND}

    def is_over(self, delta: Delta) -> bool:
        """Tell whether a stream has ended so long ago that it cannot be read."""
        return bool(delta.state.end) and self.is_past(delta.time_ms)

    def is_past(self, ended_ms: float) -> bool:
        """Tell whether a stream that ended at a time of the server's cannot be read any more."""
        return self.now_ms() - ended_ms > _KEPT_S * 1000

    def ask_subjects(self, place: int, taker: Callable[[Answer], object]) -> None:
        """Ask of which subjects it has messages, from a place in their row on."""
        request = {"subjects_filter": f"{self.begin.decode()}>", "offset": place}
        self._ask(b"INFO", json.dumps(request).encode(), taker)

    def purge(self, subject: bytes, sequence: int, taker: Callable[[Answer], object]) -> None:
        """Delete what it has of a subject, up to a sequence."""
        request = {"filter": subject.decode(), "seq": sequence + 1}
        self._ask(b"PURGE", json.dumps(request).encode(), taker)


def split_subjects(subjects: Iterable[bytes]) -> Iterator[list[bytes]]:
    """Yield subjects in groups of which one question can be asked."""
    group: list[bytes] = []
    size = 0
    for subject in subjects:
        if group and (len(group) >= _NEWEST_COUNT or size + len(subject) > _NEWEST_SIZE):
            yield group
            group, size = [], 0
        group.append(subject)
        size += len(subject) + 4
    if group:
        yield group

"""What a reader makes of a stream of bytes, in a form in which readers can be compared."""

import collections
import itertools
from collections.abc import Iterator
from dataclasses import dataclass, field

Event = tuple[object, ...]


@dataclass
class Verdict:
    """What one reader says.

    `events` are what it found, each with the number of bytes after which it did: the bytes that it
    had consumed. A stream ends with a ("close", code, reason) of the peer's, or with a failure:
    `failure` is its code or status, `rule` the sentence that goes with it, `failed_at` where.
    """

    events: list[tuple[int, Event]] = field(default_factory=list)
    failure: int | None = None
    rule: str = ""
    failed_at: int = 0

    @property
    def what(self) -> list[Event]:
        """The events without their places."""
        return [event for _, event in self.events]

    @property
    def is_over(self) -> bool:
        """Whether nothing that follows is read."""
        return self.failure is not None or (bool(self.events) and self.events[-1][1][0] == "close")

    def fail(self, code: int, rule: str, place: int) -> None:
        """Take note of the failure, if it is the first."""
        if self.failure is None:
            self.failure, self.rule, self.failed_at = code, rule, place


@dataclass
class Tally:
    """How many cases there were, and how many differences of which kind."""

    inputs: int = 0
    cases: int = 0
    listed: collections.Counter[str] = field(default_factory=collections.Counter)
    unexplained: list[str] = field(default_factory=list)

    def summary(self, what: str) -> str:
        """Give the line that a run ends with."""
        return (
            f"{what}: {self.cases:,} cases ({self.inputs:,} inputs), "
            f"{len(self.unexplained)} unexplained differences "
            f"({len(self.listed)} kinds listed, met {sum(self.listed.values()):,} times)"
        )


def splits(size: int, longest: int) -> Iterator[tuple[int, ...]]:
    """Give every way to cut so many bytes once, and the one into single bytes."""
    yield ()
    if size <= longest:
        yield from ((place,) for place in range(1, size))
        if size > 2:
            yield tuple(range(1, size))


def cut(data: bytes, places: tuple[int, ...]) -> list[bytes]:
    """Cut bytes at these places."""
    bounds = (0, *places, len(data))
    return [data[start:end] for start, end in itertools.pairwise(bounds)]

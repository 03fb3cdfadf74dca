"""What the application declares of its topics: history, presence, how slow clients are served."""

import json
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Any

from sockwave.core.topics.wildcards import Patterns, check_pattern, is_pattern
from sockwave.deliveries import Envelope, compact_envelope, json_envelope
from sockwave.documented import describe_fields
from sockwave.errors import SockwaveError
from sockwave.messages import SLOW_POLICIES, check_slow

_NAMED_ENVELOPES: dict[str, Envelope] = {"json": json_envelope, "compact": compact_envelope}

#: The default of `envelope`: "json" with a history, and none without.
AUTO: Any = object()


@dataclass(frozen=True, slots=True)
class History:
    """How much of a topic is kept for those who come later, or come back.

    What is over any of the bounds goes, the oldest first. All topics together are bounded by the
    option `history_budget`.

    Raises TypeError or ValueError naming the field, what was expected and what was given.
    """

    #: Messages.
    count: int = 100
    #: Bytes: of the messages, and 64 for each. None: no bound.
    size: int | None = 4 << 20
    #: Seconds. None: no bound.
    ttl: float | None = 60.0

    def __post_init__(self) -> None:
        for name, value in (("count", self.count), ("size", self.size)):
            if name == "size" and value is None:
                continue
            if not isinstance(value, int) or isinstance(value, bool):
                raise TypeError(f"history {name}: expected int, given {type(value).__name__}")
            if not 1 <= value < 1 << 31:
                raise ValueError(f"history {name}: expected 1 to 2147483647, given {value}")
        if self.ttl is None:
            return
        if not isinstance(self.ttl, (int, float)) or isinstance(self.ttl, bool):
            raise TypeError(f"history ttl: expected seconds, given {type(self.ttl).__name__}")
        if not 0 < self.ttl <= 366 * 24 * 3600:
            raise ValueError(f"history ttl: expected more than 0 seconds, given {self.ttl}")


describe_fields(
    History,
    count="How many messages are kept.",
    size="Bytes of messages, and 64 for each, that are kept; None: no bound.",
    ttl="Seconds for which a message is kept; None: no bound.",
)


class TopicSettings:
    """What the application has declared of a topic, or of all that a pattern matches."""

    __slots__ = (
        "envelope",
        "grace",
        "has_presence",
        "history",
        "key",
        "max_subscribers",
        "policy",
        "slow",
    )

    def __init__(
        self,
        *,
        slow: str | None = None,
        key: Callable[[Any], Hashable] | None = None,
        history: History | None = None,
        presence: bool = False,
        grace: float = 0.0,
        envelope: "Envelope | str | None" = AUTO,
        max_subscribers: int | None = None,
    ) -> None:
        self.slow = None if slow is None else check_slow(slow)
        self.policy = -1 if slow is None else SLOW_POLICIES.index(slow)
        if key is not None and slow != "conflate":
            raise ValueError(f"key: expected with slow='conflate' alone, given with {slow!r}")
        if key is not None and not callable(key):
            raise TypeError(f"key: expected a function of a message, given {type(key).__name__}")
        if history is not None and not isinstance(history, History):
            raise TypeError(f"history: expected sockwave.History, given {type(history).__name__}")
        if history is not None and slow in ("drop_new", "drop_old", "conflate"):
            raise ValueError(
                f"slow: expected 'close' with a history, of which nobody misses a message in "
                f"silence, given {slow!r}"
            )
        if not isinstance(presence, bool):
            raise TypeError(f"presence: expected bool, given {type(presence).__name__}")
        if not isinstance(grace, (int, float)) or isinstance(grace, bool):
            raise TypeError(f"grace: expected seconds, given {type(grace).__name__}")
        if not 0 <= grace <= 3600 or (grace and not presence):
            raise ValueError(f"grace: expected 0 to 3600 seconds, with presence, given {grace}")
        if max_subscribers is not None:
            if not isinstance(max_subscribers, int) or isinstance(max_subscribers, bool):
                given = type(max_subscribers).__name__
                raise TypeError(f"max_subscribers: expected int, given {given}")
            if max_subscribers < 1:
                raise ValueError(f"max_subscribers: expected 1 or more, given {max_subscribers}")
        self.key = key
        self.history = history
        self.has_presence = presence
        self.grace = float(grace)
        self.max_subscribers = max_subscribers
        self.envelope = _choose_envelope(envelope, has_history=history is not None)

    @property
    def is_sequenced(self) -> bool:
        """Whether all messages go through the sequencer."""
        return self.history is not None or self.has_presence

    def describe(self) -> dict[str, Any]:
        """Return what the sequencer is to know."""
        said: dict[str, Any] = {}
        if self.history is not None:
            said["history_count"] = self.history.count
            said["history_size"] = self.history.size
            said["history_ttl"] = self.history.ttl
        if self.has_presence:
            said["presence"] = True
            said["grace"] = self.grace
        return said


def _choose_envelope(envelope: "Envelope | str | None", *, has_history: bool) -> Envelope | None:
    """Return the function; raise TypeError or ValueError for what is none, and names none."""
    if envelope is AUTO:
        return json_envelope if has_history else None
    if envelope is None or callable(envelope):
        return envelope
    if not isinstance(envelope, str):
        raise TypeError(
            f"envelope: expected 'json', 'compact', None or a function of a Delivery, "
            f"given {type(envelope).__name__}"
        )
    if envelope not in _NAMED_ENVELOPES:
        raise ValueError(f"envelope: expected 'json' or 'compact', given {envelope!r}")
    return _NAMED_ENVELOPES[envelope]


_DEFAULT = TopicSettings()


class Declarations:
    """All that the application has declared, by topic and by pattern."""

    def __init__(self) -> None:
        self._patterns: Patterns = Patterns()
        self._all: dict[str, TopicSettings] = {}

    def declare(self, pattern: str, settings: TopicSettings) -> None:
        """Declare a topic or a pattern, anew if it was declared before."""
        checked = check_pattern(pattern)
        self._patterns.add(checked, settings)
        self._all[checked] = settings

    def find(self, name: str) -> TopicSettings:
        """Return what counts for a topic.

        It is what was declared by its name, else by the pattern that matches it most closely.
        """
        found: TopicSettings | None = self._patterns.best(name)
        return found or _DEFAULT

    def items(self) -> list[tuple[str, TopicSettings]]:
        """List all that was declared."""
        return list(self._all.items())

    def encode(self, pattern: str | None = None) -> bytes:
        """Return all of it, or what was declared of one pattern, as the sequencer reads it."""
        found = self._all if pattern is None else {pattern: self._all[pattern]}
        return json.dumps([[name, one.describe()] for name, one in found.items()]).encode()


def check_presence(name: str, settings: TopicSettings) -> None:
    """Raise SockwaveError unless a topic has presence."""
    if not settings.has_presence:
        raise SockwaveError(
            f"topic {name!r} has no members: expected it to be declared with presence=True"
        )


def check_single(name: str) -> str:
    """Return the name of a topic; raise SockwaveError for a pattern, of which nothing is one."""
    if is_pattern(name):
        raise SockwaveError(f"expected one topic, given the pattern {name!r}")
    return name

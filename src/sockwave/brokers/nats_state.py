"""What JetStream says of a stream, and whether that is enough, or less than before."""

from typing import Any, NamedTuple

from sockwave.brokers.interface import Bounds


class State(NamedTuple):
    """What is said of a stream."""

    #: When it was made.
    created: str
    first_sequence: int
    last_sequence: int
    message_count: int
    leader: str


def has_room(config: dict[str, Any], fields: dict[str, int]) -> bool:
    """Tell whether a stream keeps as much as these fields of its configuration would have it."""
    return all(larger(config[name], it) == config[name] for name, it in fields.items())


def find_state(found: dict[str, Any]) -> State:
    """Return the state of a stream that JetStream has told of."""
    state = found["state"]
    leader = (found.get("cluster") or {}).get("leader") or ""
    return State(found["created"], state["first_seq"], state["last_seq"], state["messages"], leader)


def note_heard(before: State | None, sequence: int) -> State | None:
    """Return what a stream had, of which a message with this sequence was heard since; 0: none.

    Of a stream that was not looked at before, no more is known than that.
    """
    if not sequence or (before is not None and before.last_sequence >= sequence):
        return before
    if before is None:
        return State("", sequence, sequence, 1, "")
    return before._replace(last_sequence=sequence, message_count=before.message_count + 1)


def has_lost(before: State, now: State | None) -> bool:
    """Tell whether a stream may have lost something that it had, or had to tell.

    `now` is None where it has gone.
    """
    if now is None:
        return True
    is_other = before.created != now.created or before.leader != now.leader
    return (
        (is_other and before.created != "")
        or now.last_sequence < before.last_sequence
        or (before.message_count > 0 and now.first_sequence > before.last_sequence)
    )


def larger(one: int, other: int) -> int:
    """Return the larger one of two bounds: 0, or less, is none at all."""
    return max(one, other) if one > 0 and other > 0 else min(one, other)


def find_largest(bounds: list[Bounds]) -> Bounds:
    """Return bounds that cover all of some, or what is the least."""
    if not bounds:
        return 1, 1, 1.0
    lives = [life for _, _, life in bounds]
    return (
        max(count for count, _, _ in bounds),
        max(size for _, size, _ in bounds),
        0 if 0 in lives else max(lives),
    )

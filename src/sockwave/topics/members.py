"""The members of one topic, as this worker knows them: its own, and all when somebody asks."""

import json
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from sockwave.core.session.connection import Connection

#: Bytes of a member's key and of its data, as JSON: both go to everybody.
MAX_KEY_SIZE = 255
MAX_DATA_SIZE = 4096


class Asking(Protocol):
    """Who hears the answer to a question to the sequencer."""

    def came(self, *answer: Any) -> None:
        """Take the answer, or a part of it."""

    def lost(self) -> None:
        """There will be no answer."""


class Snapshot:
    """Gathers the members of a topic, and hands them over once all parts have come."""

    def __init__(self, done: Callable[[dict[str, Any]], None], failed: Callable[[], None]) -> None:
        self._members: dict[str, Any] = {}
        self._done = done
        self._failed = failed

    def came(self, part: bytes, has_more: bool) -> None:
        """Take a part."""
        self._members.update(json.loads(part))
        if not has_more:
            self._done(self._members)

    def lost(self) -> None:
        """Note that the sequencer has gone."""
        self._failed()


class OwnMember:
    """A member with connections to this worker."""

    __slots__ = ("count", "data")

    def __init__(self, data: bytes) -> None:
        self.count = 0
        self.data = data


def encode_data(data: object) -> bytes:
    """Return a member's data as JSON.

    Raises TypeError or ValueError for what JSON cannot say, or for too much of it.
    """
    encoded = json.dumps(data, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode()
    if len(encoded) > MAX_DATA_SIZE:
        raise ValueError(f"data: expected at most {MAX_DATA_SIZE} bytes, given {len(encoded)}")
    return encoded


def check_key(key: object) -> str:
    """Return a member's key; raise TypeError or ValueError for what cannot be one."""
    if not isinstance(key, str):
        raise TypeError(f"member: expected str, given {type(key).__name__}")
    size = len(key.encode())
    if not 1 <= size <= MAX_KEY_SIZE:
        raise ValueError(f"member: expected 1 to {MAX_KEY_SIZE} bytes, given {size}")
    return key


class Members:
    """The members of one topic, as this worker knows them."""

    def __init__(self) -> None:
        #: Those with connections to this worker.
        self.own: dict[str, OwnMember] = {}
        #: All members, and their data; None while they are not known.
        self.known: dict[str, Any] | None = None
        #: Whether differences come, or have been asked for.
        self.is_watched = False
        #: Connections that are told who is there as soon as that is known.
        self.waiting: list[Connection] = []

    def learn(self, members: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
        """Take who is there; return who has joined and who has left since it was last known."""
        before = self.known or {}
        self.known = members
        joined = {
            key: data for key, data in members.items() if key not in before or before[key] != data
        }
        left = {key: data for key, data in before.items() if key not in members}
        return joined, left

    def change(self, joined: dict[str, Any], left: Iterable[str]) -> None:
        """Take a difference."""
        if self.known is not None:
            for key in left:
                self.known.pop(key, None)
            self.known.update(joined)

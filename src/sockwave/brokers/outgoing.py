"""Messages on their way to a broker: large ones leave in parts, so much of them at a time."""

import itertools
from collections import deque
from collections.abc import Iterator
from typing import TYPE_CHECKING

from sockwave.brokers.canary import Canary
from sockwave.brokers.interface import Session
from sockwave.core.topics.parts import PART_SIZE, split_message

if TYPE_CHECKING:
    from sockwave.brokers.shards import ShardBridge
    from sockwave.core.topics.bridge import Bridge

# So much of large messages is on its way at a time.
_WINDOW_SIZE = 2 << 20

# The numbers of large messages: no two of a host have the same, by whichever client they go.
_serials = itertools.count(1)


class Outgoing:
    """The messages that leave next, and the parts of the large one that leaves before them."""

    def __init__(self, bridge: "Bridge | ShardBridge", canary: Canary) -> None:
        self._bridge = bridge
        self._canary = canary
        self._waiting: deque[tuple[bytes, bytes]] = deque()
        self._parts: Iterator[tuple[bytes, bytes]] | None = None
        self._window = _WINDOW_SIZE

    @property
    def has_parts(self) -> bool:
        """Whether a large message is on its way."""
        return self._parts is not None

    def open_window(self) -> None:
        """Note that the canary has come behind all parts that were sent, or starts anew."""
        self._window = _WINDOW_SIZE

    def flush(self, session: Session) -> None:
        """Publish what can leave now."""
        while self._has_more(session) and self._send(session):
            pass

    def drop_parts(self) -> None:
        """Drop what is left of a large message: half of one is none."""
        self._parts = None

    def take(self) -> list[tuple[bytes, bytes]]:
        """Return the messages that have not left: they are the caller's from then on."""
        waiting = [*self._waiting]
        self._waiting.clear()
        return waiting

    def _has_more(self, session: Session) -> bool:
        """Tell whether there is something to publish; what has come meanwhile is taken then."""
        if self._parts is None and not self._waiting and not session.is_full:
            self._waiting.extend(self._bridge.take_messages())
        return bool(self._waiting) or self._parts is not None

    def _send(self, session: Session) -> bool:
        """Publish what comes next: parts of a large message, or all up to one."""
        if self._parts is not None:
            return self._send_parts(session, self._parts)
        small = []
        while self._waiting and len(self._waiting[0][1]) <= PART_SIZE:
            small.append(self._waiting.popleft())
        if small:
            session.publish(small)
        if self._waiting:
            name, message = self._waiting.popleft()
            parts = split_message(message, self._bridge.host, next(_serials))
            self._parts = ((name, part) for part in parts)
        return True

    def _send_parts(self, session: Session, parts: Iterator[tuple[bytes, bytes]]) -> bool:
        """Publish parts, and wait for the canary behind some of them; False: it has to wait.

        So the broker never keeps much of it for those who are no slower than we are.
        """
        if self._window <= 0:
            if self._canary.is_free:
                self._canary.send(session)
            return False
        if session.is_full:
            return False
        part = next(parts, None)
        if part is None:
            self._parts = None
        else:
            self._window -= len(part[1])
            session.publish([part])
        return True

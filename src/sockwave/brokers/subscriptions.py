"""What a host is subscribed to at its broker: what was asked for, confirmed, and is left again."""

import time
from collections.abc import Iterable, Mapping

from sockwave.brokers.interface import Wanted


class Subscriptions:
    """The topics and patterns that a broker has been asked for."""

    def __init__(self) -> None:
        self._subscribed: set[Wanted] = set()
        #: What of it has not been confirmed yet.
        self._unconfirmed: set[Wanted] = set()
        #: What nobody wants any more → when it is left.
        self._leaving: dict[Wanted, float] = {}
        self._confirmed_count = 0
        # At the last tick: how many had been confirmed, and whether others had not.
        self._counted_confirmed = 0
        self._has_unconfirmed = False

    @property
    def unconfirmed_count(self) -> int:
        """How many have not been confirmed yet."""
        return len(self._unconfirmed)

    def begin(self, wanted: Iterable[Wanted]) -> Iterable[Wanted]:
        """Begin anew, as another session does; return what it is to ask for."""
        self._has_unconfirmed = False
        self._leaving.clear()
        self._subscribed = set(wanted)
        self._unconfirmed = set(self._subscribed)
        return self._subscribed

    def change(self, changes: Mapping[Wanted, bool], leave_s: float) -> list[Wanted]:
        """Take what is wanted now, or no more; return what is to be asked for.

        What is wanted no more is left `leave_s` seconds later.
        """
        added = []
        for name, is_wanted in changes.items():
            if not is_wanted:
                if name in self._subscribed:
                    self._leaving[name] = time.monotonic() + leave_s
                continue
            self._leaving.pop(name, None)
            if name not in self._subscribed:
                self._subscribed.add(name)
                added.append(name)
        self._unconfirmed.update(added)
        return added

    def confirm(self, name: Wanted) -> None:
        """Note that the broker sends a topic, or what a pattern matches."""
        self._confirmed_count += 1
        self._unconfirmed.discard(name)

    def are_stuck(self) -> bool:
        """Tell, at a tick, whether some wait to be confirmed, and none was since the last one."""
        # Those of the last tick: what was asked for a moment ago cannot be confirmed yet.
        has_waited, self._has_unconfirmed = self._has_unconfirmed, bool(self._unconfirmed)
        if has_waited and self._unconfirmed and self._confirmed_count == self._counted_confirmed:
            return True
        self._counted_confirmed = self._confirmed_count
        return False

    def take_left(self) -> list[Wanted]:
        """Return the topics that nobody has wanted for a while: they are to be left."""
        now = time.monotonic()
        left = []
        for name, due in self._leaving.items():
            if due > now:
                break  # those behind were noted later
            left.append(name)
        for name in left:
            del self._leaving[name]
        self._subscribed.difference_update(left)
        self._unconfirmed.difference_update(left)
        return left

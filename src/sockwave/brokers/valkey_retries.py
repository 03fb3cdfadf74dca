"""Commands that a server of Valkey cannot run just now, and is sent again, in their order.

While a slot of a cluster is on its way to another shard, the one that has it answers ASK for keys
that have gone, and TRYAGAIN where some have. Messages of channels pass meanwhile, so the session
goes on; only what needs those keys waits. Once the slot has arrived, the answer is MOVED, which
ends the session.
"""

import itertools
from collections.abc import Callable
from typing import Any, NamedTuple, TypeAlias

from sockwave.brokers.interface import Loop, Timer
from sockwave.core.topics.resp import RespError

# What waits is sent again after so long.
_WAIT_S = 0.1

#: How our own scripts refuse a message whose place is behind one that has none yet.
NOT_YET = "TRYAGAIN the message before it has no place"

#: Sends a command, and has something take the answer.
Ask: TypeAlias = Callable[[bytes, Callable[[Any], None]], None]

#: What commands wait for together, in their order: what their keys begin with, and whether they
#: read; what only reads is done longer.
Lane: TypeAlias = tuple[bytes, bool]

#: Topic and worker of a message.
Origin: TypeAlias = tuple[bytes, int]


class Numbered(NamedTuple):
    """Which of its worker's messages on a topic a message is; the number 0: that is not known."""

    origin: Origin
    number: int


class _Command(NamedTuple):
    serial: int
    make: Callable[[int], bytes]
    expected: Callable[[Any], None]
    numbered: Numbered


_NO_NUMBER = Numbered((b"", 0), 0)


class Retries:
    """The commands of one session that are sent again."""

    def __init__(self, loop: Loop, ask: Ask, postponed: Callable[[str], None]) -> None:
        """`postponed` is told why something waits."""
        self._loop = loop
        self._ask = ask
        self._postponed = postponed
        self._serials = itertools.count()
        #: What waits, of lanes in which something does, and when the first of it is sent again.
        self._held: dict[Lane, list[_Command]] = {}
        self._timers: dict[Lane, Timer] = {}
        #: The newest number that was sent of each origin, and not answered.
        self._newest: dict[Origin, int] = {}

    def place(
        self,
        begin: bytes,
        make: Callable[[int], bytes],
        expected: Callable[[Any], None],
        numbered: Numbered,
    ) -> None:
        """Send a command that gives a message its place in a log whose keys begin so.

        `make` makes it each time that it is sent. It is given the number of the message that was
        sent before, of the same origin, and not answered: 0 where there is none. Where that one
        gets no place, this one must have none either; else they would change places, and the broker
        would take the first one for a message that it knows already.
        """
        self._put((begin, False), _Command(next(self._serials), make, expected, numbered))

    def change(self, begin: bytes, command: bytes, expected: Callable[[Any], None]) -> None:
        """Send a command that changes keys that begin so, as often as it takes."""
        self._put((begin, False), self._keep(command, expected))

    def read(self, begin: bytes, command: bytes, expected: Callable[[Any], None]) -> None:
        """Send a command that reads keys that begin so, as often as it takes."""
        self._put((begin, True), self._keep(command, expected))

    def read_later(self, begin: bytes, command: bytes, expected: Callable[[Any], None]) -> None:
        """Do the same with a command whose answer was that it is too early."""
        self._hold((begin, True), self._keep(command, expected))

    def _keep(self, command: bytes, expected: Callable[[Any], None]) -> _Command:
        return _Command(next(self._serials), lambda _: command, expected, _NO_NUMBER)

    def _put(self, lane: Lane, command: _Command) -> None:
        if lane in self._held:
            self._held[lane].append(command)
        else:
            self._send(lane, command)

    def _send(self, lane: Lane, command: _Command) -> None:
        origin, number = command.numbered
        before = 0
        if number:
            before = self._newest.get(origin, 0)
            self._newest[origin] = number

        def take(reply: Any) -> None:
            if number and self._newest.get(origin) == number:
                del self._newest[origin]
            if is_moving(reply):
                if str(reply) != NOT_YET:
                    self._postponed(str(reply))
                self._hold(lane, command)
                return
            if self._held and lane not in self._timers:
                self._send_all(lane)  # it was the first of what waits
            command.expected(reply)

        self._ask(command.make(before), take)

    def _hold(self, lane: Lane, command: _Command) -> None:
        self._held.setdefault(lane, []).append(command)
        if lane not in self._timers:
            self._timers[lane] = self._loop.call_later(_WAIT_S, self._send_first, lane)

    def _send_first(self, lane: Lane) -> None:
        """Send again what has waited longest: all that waits may be much."""
        del self._timers[lane]
        # Answers come in the order of the commands, but what is new may have come between them.
        held = self._held[lane]
        held.sort(key=lambda one: one.serial)
        self._send(lane, held.pop(0))

    def _send_all(self, lane: Lane) -> None:
        for command in sorted(self._held.pop(lane, ()), key=lambda one: one.serial):
            self._send(lane, command)

    def close(self) -> None:
        """Send nothing any more."""
        for timer in self._timers.values():
            timer.cancel()
        self._timers.clear()
        self._held.clear()


def is_moving(reply: Any) -> bool:
    """Tell whether a server cannot run a command, as keys are on their way to another one.

    A script of ours that may find the keys of several topics is stopped where it finds such.
    """
    return isinstance(reply, RespError) and (
        str(reply).startswith(("ASK", "TRYAGAIN")) or "a non local key" in str(reply)
    )

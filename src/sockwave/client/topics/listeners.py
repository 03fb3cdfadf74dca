"""The listeners of what topics bring: `delivery`, `join`, `leave`."""

from collections.abc import Awaitable, Callable, Coroutine
from inspect import isawaitable
from typing import Any, NamedTuple

from sockwave.core.events.waiter import DONE
from sockwave.functions import check_runs, count_arguments
from sockwave.timeouts import ENDS

#: Event → how many arguments it has.
EVENTS = {"delivery": 1, "join": 3, "leave": 3}


class Listener(NamedTuple):
    """A function, how many of the event's arguments it takes, and whether it is called once."""

    function: Callable[..., object]
    taken_count: int
    is_once: bool


class Listeners:
    """The listeners of a connection's topics, by event."""

    __slots__ = ("_rows",)

    def __init__(self) -> None:
        self._rows: dict[str, tuple[Listener, ...]] = {}

    def add(self, event: str, function: Callable[..., object], *, once: bool) -> None:
        """Add a listener. Raises TypeError for what cannot be called with the event's arguments."""
        if not callable(function):
            raise TypeError(
                f"a listener of {event!r}: expected a function, given {type(function).__name__}"
            )
        check_runs(f"listener of {event!r}", function)
        count = count_arguments(event, EVENTS[event], function)
        self._rows[event] = (*self._rows.get(event, ()), Listener(function, count, once))

    def remove(self, event: str, function: Callable[..., object]) -> None:
        """Remove a listener, where it was added last."""
        row = self._rows.get(event, ())
        for at in range(len(row) - 1, -1, -1):
            if row[at].function == function:
                self._rows[event] = row[:at] + row[at + 1 :]
                return

    def of(self, event: str) -> list[Callable[..., object]]:
        """List the functions that listen to an event."""
        return [one.function for one in self._rows.get(event, ())]

    def call(self, event: str, *arguments: object) -> list[Awaitable[object]]:
        """Call the listeners of an event; return what of their results has to be awaited."""
        waiting: list[Awaitable[object]] = []
        for one in self._rows.get(event, ()):
            if one.is_once:
                self._rows[event] = tuple(it for it in self._rows[event] if it is not one)
            result = one.function(*arguments[: one.taken_count])
            is_settled = result is None or result is DONE or isinstance(result, ENDS)
            if not is_settled and isawaitable(result):
                waiting.append(result)
        return waiting


def await_all(waiting: list[Awaitable[object]]) -> Coroutine[Any, Any, None] | None:
    """Return a coroutine that awaits them in order; None: there is nothing to await."""
    return _await_all(waiting) if waiting else None


async def _await_all(waiting: list[Awaitable[object]]) -> None:
    for one in waiting:
        await one

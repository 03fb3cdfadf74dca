"""The listeners of topics: what the application does when members come and go."""

from collections.abc import Callable, Coroutine

from sockwave.core.topics.subscribers import Subscribers
from sockwave.core.topics.wildcards import Patterns
from sockwave.topics.interface import Host


class Listeners:
    """The listeners of the events of topics, and of all topics that patterns match."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self._patterns = Patterns()
        self._events: dict[str, dict[str, list[tuple[Callable[..., object], int]]]] = {}

    def add(self, name: str, event: str, listener: Callable[..., object], count: int) -> None:
        """Call a listener, with so many arguments, at an event of a topic or a pattern."""
        events = self._events.get(name)
        if events is None:
            events = self._events[name] = {}
            self._patterns.add(name, events)
        events.setdefault(event, []).append((listener, count))

    def remove(self, name: str, event: str, listener: Callable[..., object]) -> None:
        """Remove a listener."""
        found = self._events.get(name, {}).get(event, [])
        for one in reversed(found):
            if one[0] == listener:
                found.remove(one)
                break

    def hears_members(self, name: str) -> bool:
        """Return whether any listener hears who comes and goes of a topic."""
        return any(
            events.get("join") or events.get("leave") for events in self._patterns.match(name)
        )

    def emit(self, name: str, event: str, *arguments: object) -> None:
        """Call the listeners of an event of a topic."""
        for events in self._patterns.match(name):
            for listener, count in list(events.get(event, ())):
                try:
                    outcome = listener(*arguments[:count])
                except Exception as error:  # of the application
                    self._host.report(error, None)
                    continue
                if isinstance(outcome, Coroutine):
                    self._host.hub.start_task(outcome)

    def unwatched(self, topic: Subscribers) -> None:
        """Nobody has heard a stream of ours for a while."""
        self.emit(topic.name, "unwatched", topic.name)

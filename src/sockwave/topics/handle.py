"""A topic as the application holds it: what `server.topic` returns."""

from collections.abc import Awaitable, Callable, Hashable
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, TypeVar, overload

from sockwave.deliveries import Published
from sockwave.functions import check_runs, count_arguments
from sockwave.messages import Message, SlowPolicy

if TYPE_CHECKING:
    from sockwave.core.session.connection import Connection
    from sockwave.topics.topics import Topics

TopicEvent: TypeAlias = Literal["join", "leave", "unwatched"]

# A listener takes as many of the arguments as it likes.
MemberListener: TypeAlias = (
    Callable[[str, Any, str], object]
    | Callable[[str, Any], object]
    | Callable[[str], object]
    | Callable[[], object]
)
NameListener: TypeAlias = Callable[[str], object] | Callable[[], object]

# What a decorator gets, and returns: the very function, not only its type as a listener.
_Member = TypeVar("_Member", bound=MemberListener)
_Name = TypeVar("_Name", bound=NameListener)

# What each event tells, in order.
_EVENTS = {
    "join": ("key", "data", "topic"),
    "leave": ("key", "data", "topic"),
    "unwatched": ("topic",),
}
_MISSING: Any = object()


class Topic:
    """A topic, or all topics that a pattern matches; `server.topic` makes it.

    Any number of objects may stand for one topic: they hold nothing but its name.
    """

    def __init__(self, topics: "Topics", name: str) -> None:
        self._topics = topics
        self._table = topics.table
        #: Its name, or the pattern.
        self.name = name

    def __repr__(self) -> str:
        return f"<Topic {self.name!r}>"

    def publish(
        self,
        message: Message,
        *,
        exclude: "Connection | None" = None,
        id: str | None = None,
        compress: bool | None = None,
        slow: SlowPolicy | None = None,
        key: Hashable = None,
    ) -> Awaitable[Published]:
        """Publish a message; see `Server.publish`."""
        published: Awaitable[Published] = self._topics.publishing.publish(
            self.name, message, exclude=exclude, id=id, compress=compress, slow=slow, key=key
        )
        return published

    def append(self, delta: Message) -> Awaitable[Published]:
        """Append to a stream: subscribers get the delta, and who comes later all that came before.

        The first append makes the topic a stream, whose producer this worker is. All deltas are of
        one type: str, or bytes-like. Whoever subscribes, on any worker, gets in one message what it
        has not seen, then the deltas. When the producer's worker dies, or its host, subscribers are
        told that the stream is aborted.

        Returns an awaitable of its position. It raises SockwaveError once the stream has been
        finished, above `append_size` bytes of all deltas together, and where the topic has had
        messages; with a broker also while that is away, as `publish` does, and where it keeps
        nothing. TypeError for anything but str and bytes-like.
        """
        return self._table.append(self.name, delta)

    def finish(self) -> Awaitable[Published]:
        """Finish a stream: subscribers are told. It can still be read for 60 seconds."""
        return self._topics.publishing.finish(self.name)

    async def members(self) -> dict[str, Any]:
        """Return the members of the topic, on all workers: their keys, and their data.

        Raises SockwaveError where the topic has no presence, or the sequencer is away.
        """
        return await self._topics.presence.members(self.name)

    async def count(self) -> int:
        """Count the connections that are subscribed to the topic, on all workers."""
        return await self._topics.count(self.name)

    @overload
    def on(self, event: Literal["join", "leave"]) -> Callable[[_Member], _Member]: ...
    @overload
    def on(self, event: Literal["unwatched"]) -> Callable[[_Name], _Name]: ...
    @overload
    def on(self, event: Literal["join", "leave"], listener: MemberListener) -> "Topic": ...
    @overload
    def on(self, event: Literal["unwatched"], listener: NameListener) -> "Topic": ...
    def on(self, event: TopicEvent, listener: Any = _MISSING) -> Any:
        """Call `listener` at each `event`; without a listener, return a decorator that does so.

        `join` and `leave` tell the key and the data of a member, and the topic's name: on each
        worker with a subscriber, at most some 100 ms late. `unwatched` tells the topic's name,
        where nobody on any worker, or host, has heard a stream for 10 seconds: on the worker that
        produces it. A listener may be `async def`, and takes as many of the arguments as it likes.

        Raises ValueError for another event, TypeError for what cannot be called with that.
        """
        if event not in _EVENTS:
            names = ", ".join(map(repr, _EVENTS))
            raise ValueError(f"event: expected one of {names}, given {event!r}")
        if listener is _MISSING:
            return lambda function: (self.on(event, function), function)[1]
        if not callable(listener):
            raise TypeError(f"listener: expected a function, given {type(listener).__name__}")
        check_runs("listener", listener)
        count = count_arguments(event, len(_EVENTS[event]), listener)
        self._topics.listen(self.name, event, listener, count)
        return self

    def off(self, event: TopicEvent, listener: Callable[..., object]) -> "Topic":
        """Remove a listener; nothing happens when it is not there."""
        self._topics.listeners.remove(self.name, event, listener)
        return self

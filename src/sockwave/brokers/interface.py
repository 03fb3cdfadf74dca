"""What a broker's client needs, and what it has of each kind of broker."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Protocol, TypeAlias

from sockwave.deliveries import Position
from sockwave.errors import SockwaveError

#: The name of a topic, or a pattern.
Wanted: TypeAlias = bytes | str

#: Which message it is: the incarnation of its worker, and the number that it has there.
Key: TypeAlias = tuple[int, int]

#: What is kept of a history at most: messages, bytes, seconds (0: for ever).
Bounds: TypeAlias = tuple[int, int, float]

#: A message of a topic with a history: its key, the topic, the message, its id, and what is kept.
Submitted: TypeAlias = tuple[Key, bytes, bytes, bytes, Bounds]

#: A delta of a stream: its key, the topic, the message, its id, the epoch of the stream and the
#: highest offset that is known of it, whether another epoch will do, whether it may begin the
#: stream, its kind (text or binary), its size, and how it ends the stream. The message is empty
#: where the delta has that place, and only whether its worker is the producer is to be told.
Appended: TypeAlias = tuple[Key, bytes, bytes, bytes, int, int, bool, bool, bytes, int, bytes]

#: Of a log: its epoch, its last offset, the broker's time in milliseconds, and messages: offset,
#: time, and the message.
Page: TypeAlias = tuple[int, int, float, list[tuple[int, float, bytes]]]

#: The last delta of a stream that nobody produces any more, as hosts hear it.
ABORTED_MESSAGE = b'1t - {"end":"aborted"}\n'


class Timer(Protocol):
    """A call that is due later."""

    def cancel(self) -> object:
        """Have it not called."""


class Loop(Protocol):
    """What a client needs of its loop: a part of what asyncio's have."""

    def call_soon(self, callback: Callable[..., object], *arguments: Any) -> object:
        """Call something in this turn, or in the next."""

    def call_soon_threadsafe(self, callback: Callable[..., object], *arguments: Any) -> object:
        """Do the same from another thread. Raises RuntimeError once the loop has ended."""

    def call_later(self, delay: float, callback: Callable[..., object], *arguments: Any) -> Timer:
        """Call something after so many seconds."""

    def add_reader(self, fd: int, callback: Callable[..., object], *arguments: Any) -> object:
        """Call something whenever a descriptor can be read."""

    def remove_reader(self, fd: int) -> object:
        """Call nothing any more when it can be read."""

    def add_writer(self, fd: int, callback: Callable[..., object], *arguments: Any) -> object:
        """Call something whenever a descriptor can be written."""

    def remove_writer(self, fd: int) -> object:
        """Call nothing any more when it can be written."""


class Listener(Protocol):
    """Whom a session tells what happens: its client."""

    def confirmed(self, name: Wanted) -> None:
        """Note that messages of a topic, or of a pattern, come from here on."""

    def ready(self) -> None:
        """Note that the canary can be heard from now on."""

    def probe_heard(self) -> None:
        """Note that the canary has come round."""

    def probe_answered(self, receiver_count: int) -> None:
        """Note that the broker has taken the canary, and passed it on to so many."""

    def refused(self, error: str) -> None:
        """Note that the broker has refused a message, or a subscription."""

    def postponed(self, error: str) -> None:
        """Note that something waits, which the broker cannot do now, and is asked for again."""

    def declared(self) -> None:
        """Note that the broker has, or will not have, all that was to be declared."""

    def unheard(self) -> None:
        """Note that a message of a topic that comes to us was passed on to nobody."""

    def messages_came(self) -> None:
        """Note that messages have come, and are with the bridge."""

    def drained(self) -> None:
        """Note that there is room for more to be published."""

    def lost(self, error: Exception) -> None:
        """Note that the session is over."""


class StreamKeeper(Protocol):
    """What a session does for streams that can be joined late."""

    def append(self, deltas: Iterable[Appended]) -> None:
        """Append deltas: the bridge is told of their places."""

    def read(self, name: bytes, number: int, epoch: int, offset: int) -> None:
        """Read a stream behind a position: the bridge gets a page, as that of this number."""

    def look(self, names: Sequence[bytes]) -> None:
        """Ask which topics are streams: the bridge is told."""

    def abort(self, host: bytes) -> None:
        """Abort the streams of a host that has gone, unless another host has done it."""


class Session(Protocol):
    """One session with a broker: what is subscribed to ends with it."""

    @property
    def streams(self) -> StreamKeeper:
        """What it does for streams."""

    @property
    def heard_count(self) -> int:
        """How often bytes have come for subscriptions."""

    @property
    def answer_count(self) -> int:
        """How often bytes have come as answers to what was published."""

    @property
    def is_full(self) -> bool:
        """Whether so much waits to be sent that nothing should be added."""

    @property
    def unanswered_count(self) -> int:
        """How many messages the broker has not acknowledged."""

    def begin(self, listener: Listener) -> None:
        """Start to read, and subscribe to broadcasts and to the canary."""

    def subscribe(self, names: Iterable[Wanted]) -> None:
        """Ask for topics and patterns; each is confirmed."""

    def unsubscribe(self, names: Iterable[Wanted]) -> None:
        """Ask for them no more."""

    def publish(self, messages: Iterable[tuple[bytes, bytes]]) -> None:
        """Publish messages on topics; the empty name is that of broadcasts."""

    def submit(self, messages: Iterable[Submitted]) -> None:
        """Publish messages on topics that have a history: the bridge is told of their places."""

    def read_log(self, name: bytes, number: int, epoch: int, offset: int, bounds: Bounds) -> None:
        """Read a log behind a position: the bridge gets a page, as that of this number."""

    def declare(self, declared: Iterable[tuple[str, Bounds | None]]) -> None:
        """Tell programs that are no hosts what is kept of topics; None: they are plain ones."""

    @property
    def is_declaring(self) -> bool:
        """Whether that is about to be told, so that the host counts as up in a moment."""

    def tell_hosts(self, messages: Iterable[bytes]) -> None:
        """Tell all hosts of members: the bridge of each hears that."""

    def probe(self) -> None:
        """Send the canary."""

    def abandon(self) -> None:
        """In a forked child, let go of what is the parent's."""

    def close(self) -> None:
        """End the session."""


#: What became of a message: where it stands, None on a plain topic, or why it was refused.
Outcome: TypeAlias = Position | SockwaveError | None


class PublishingLink(Protocol):
    """A connection to a broker that publishes, and whose caller waits.

    Its calls raise OSError where the answers have not come by the time `until`, of
    `time.monotonic`: then nobody knows.
    """

    def is_alive(self) -> bool:
        """Tell whether the broker has not closed the connection."""

    def publish(
        self, messages: Sequence[tuple[bytes, bytes, bytes]], until: float
    ) -> list[Outcome]:
        """Publish messages, as topic, message and id, which may be empty."""

    def publish_parts(self, messages: Sequence[tuple[bytes, bytes]], until: float) -> list[Outcome]:
        """Publish parts of a large message, on a plain topic."""

    def has_history(self, name: bytes, until: float) -> bool | SockwaveError:
        """Ask whether a topic has a history: then no message of it goes in parts."""

    def abandon(self) -> None:
        """In a forked child, let go of what is the parent's."""

    def close(self) -> None:
        """End the connection."""

"""What a thread holds of a connection that speaks `sockwave.1`."""

from collections.abc import Iterator
from typing import Any, cast

from sockwave.core.session.member_changes import MemberChanges
from sockwave.core.sync.connection import Connection, Taken
from sockwave.deliveries import Delivery, MemberChange, Position, Published, Subscribed
from sockwave.messages import Message
from sockwave.sync.topic_session import Outcome, Publishing, TopicSession


class TopicConnection(Connection):
    """A connection with the subprotocol `sockwave.1`, for threads without asyncio.

    It is for threads what `sockwave.TopicConnection` is for asyncio, and a `Connection` as well:
    `send`, `recv` and iteration are for ordinary messages, of text. What the topics bring comes by
    `deliveries` or `receive_delivery`, and who comes and goes by `member_changes`.

    Any number of threads may subscribe and publish, and one at a time may take of either.
    """

    __slots__ = ("_dialogue", "_session")

    def __init__(self, session: TopicSession) -> None:
        self._session = session
        self._dialogue = session._dialogue

    def subscribe(
        self,
        topic: str,
        *,
        since: Position | str | None = None,
        member: str | None = None,
        data: object = None,
    ) -> Outcome[Subscribed]:
        """Hear a topic, or all topics that a pattern matches, from now on.

        See `subscribe` of `sockwave.TopicConnection`, which takes and raises the same.
        `result(timeout=None)` of what is returned waits for the `Subscribed`.
        """
        subscribe = self._dialogue.subscribe
        outcome = self._session._call(subscribe, topic, since, member, data)
        return cast(Outcome[Subscribed], outcome)

    def unsubscribe(self, topic: str) -> bool:
        """Hear a topic, or what a pattern matches, no more; return whether it was heard."""
        return self._session._call(self._dialogue.unsubscribe, topic)

    @property
    def topics(self) -> list[str]:
        """The names of the topics, and the patterns, that the client is subscribed to."""
        return self._dialogue.topics

    def members(self, topic: str, timeout: float | None = None) -> dict[str, Any]:
        """Ask who is there in a topic with presence; wait for it at most `timeout` seconds.

        The connection has to be subscribed to it. Returns the members' keys and their data.

        Raises TimeoutError after `timeout`, ConnectionClosed when not connected, or when the
        connection ends first, SockwaveError where the server refuses or does not speak
        `sockwave.1`.
        """
        outcome = cast(Outcome[dict[str, Any]], self._session._call(self._dialogue.members, topic))
        outcome._wait("members", timeout)
        return outcome.read()

    def publish(
        self, topic: str, message: Message, *, id: str | None = None
    ) -> Publishing[Published]:
        """Publish a str (text) or bytes-like (binary) message on a topic; do not wait.

        See `publish` of `sockwave.TopicConnection`, which takes and raises the same.
        `result(timeout=None)` of what is returned waits for the `Published`, and may be called
        again behind the next connection of a loop.
        """
        outcome = self._session._call(self._dialogue.publish, topic, message, id)
        return cast(Publishing[Published], outcome)

    def append(self, topic: str, delta: str) -> Publishing[Published]:
        """Append a text to a stream: see `Topic.append`. As `publish`, it comes once."""
        outcome = self._session._call(self._dialogue.append, topic, delta)
        return cast(Publishing[Published], outcome)

    def finish(self, topic: str) -> Publishing[Published]:
        """Finish a stream: see `Topic.finish`."""
        outcome = self._session._call(self._dialogue.finish, topic)
        return cast(Publishing[Published], outcome)

    def deliveries(self) -> Iterator[Delivery]:
        """Receive what the topics bring: `for delivery in conn.deliveries()`.

        It ends with the connection, and brings the same as that of `sockwave.TopicConnection`.
        """
        self._dialogue.check("deliveries")
        return Taken(self, self._dialogue.reception.queue, "deliveries")

    def receive_delivery(self, timeout: float | None = None) -> Delivery:
        """Receive what comes next of the topics; wait for it at most `timeout` seconds.

        Raises TimeoutError after `timeout`, ConnectionClosed when none is left and none will come,
        SockwaveError where another thread takes deliveries already.
        """
        self._dialogue.check("receive_delivery")
        queue = self._dialogue.reception.queue
        return cast(Delivery, self._session._take_of_topics(queue, "receive_delivery", timeout))

    def member_changes(self) -> Iterator[MemberChange]:
        """Receive who comes and goes: `for change in conn.member_changes()`.

        First come those who are there already, in the topics with presence that the connection is
        subscribed to, each as a "join"; then who joins, leaves, or has other data. It ends with the
        connection; in a loop over connections the next one goes on behind what was taken.

        It may be called beside `deliveries`, by another thread. Where the thread falls behind, it
        is told how things are now: who came and went meanwhile is not told, and nothing piles up.
        """
        return Taken(self, self._want_changes(), "member_changes")

    def receive_member_change(self, timeout: float | None = None) -> MemberChange:
        """Receive who comes or goes next; wait for it at most `timeout` seconds.

        See `member_changes`; raises what `receive_delivery` does.
        """
        changes = self._want_changes()
        found = self._session._take_of_topics(changes, "receive_member_change", timeout)
        return cast(MemberChange, found)

    def _want_changes(self) -> MemberChanges:
        return self._session._call(self._dialogue.want_changes)

    def send(self, message: Message, *, compress: bool | None = None) -> None:
        """Send an ordinary message, for the application's `message` listeners.

        See `Connection.send`. Where the server speaks `sockwave.1`, it has to be a str.
        """
        super().send(self._dialogue.write_ordinary(message), compress=compress)

    # ---- another connection goes on with its topics

    def _await_finish(self) -> None:
        """Wait until all has been heard of a connection that has ended."""
        if self._dialogue.speaks:
            self._session._await_finish("connect")

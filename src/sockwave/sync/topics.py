"""What a thread holds of a connection that speaks `sockwave.1`."""

import threading
from collections.abc import Iterator
from typing import Any, cast

from sockwave.client.topics.state import TopicState
from sockwave.core.sync.connection import Connection, Deliveries
from sockwave.deliveries import Delivery, Position, Published, Subscribed
from sockwave.errors import SockwaveError
from sockwave.messages import Message
from sockwave.sync.topic_session import Outcome, Publishing, TopicSession


class TopicConnection(Connection):
    """A connection with the subprotocol `sockwave.1`, for threads without asyncio.

    It is a `Connection` that hears topics and publishes on them, where the server has agreed to the
    subprotocol. What the topics bring comes as `Delivery`, by `deliveries` or `receive_delivery`;
    `send`, `recv` and iteration are for ordinary messages, of text, as before.

    Any number of threads may subscribe and publish, and one at a time may take deliveries.
    `sockwave.sync.connect(..., resume=conn)` goes on where a connection has ended.
    """

    __slots__ = ("_dialogue", "_resuming", "_session")

    def __init__(self, session: TopicSession) -> None:
        self._session = session
        self._dialogue = session._dialogue
        #: Held by the call of `connect` that goes on with its topics, and for good once it has.
        self._resuming = threading.Lock()

    def subscribe(
        self,
        topic: str,
        *,
        since: Position | str | None = None,
        member: str | None = None,
        data: object = None,
    ) -> Outcome[Subscribed]:
        """Hear a topic, or all topics that a pattern matches, from now on.

        `since` is the position of the last delivery that is known: where the topic has a history,
        all that came behind it comes first, in order and once; "0-0" asks for all that is kept.
        `data` (what JSON can say) is what other members of a topic with presence are told of this
        one. To subscribe again changes nothing but `data`: a connection that goes on with the
        topics of another one (`resume`) has subscribed already, from the last delivery that was
        taken, and `since` counts the first time only.

        `result(timeout=None)` of what is returned waits for a `Subscribed`, which is there once all
        that was missed has come: its position, and whether it was `recovered`. It raises
        SockwaveError where the server refuses, which ends the subscription, and ConnectionClosed
        where the connection ends first. It need not be called.

        Raises ConnectionClosed when not connected, TypeError or ValueError for a wrong name,
        position or data, SockwaveError where the server does not speak `sockwave.1`.
        """
        subscribe = self._dialogue.subscribe
        outcome = self._session._call(subscribe, topic, since, member, data)
        return cast(Outcome[Subscribed], outcome)

    def unsubscribe(self, topic: str) -> bool:
        """Hear a topic, or what a pattern matches, no more; return whether it was heard.

        Deliveries of it that wait are dropped. Raises TypeError for a name that is no str,
        SockwaveError where the server does not speak `sockwave.1`.
        """
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

        It is kept until the server acknowledges it, and sent again by a connection that goes on
        with this one's topics (`resume`), with the same `id`: where the topic has a history, it
        comes once. `id` (1 to 255 bytes) is made up where it is None; others see it, and must not
        be able to guess it.

        `result(timeout=None)` of what is returned waits for a `Published` with the message's
        position, where the topic has positions. It need not be called, and may be called again
        behind a `resume`. It raises ConnectionClosed where the connection ends first, which does
        not mean that the message is lost; SockwaveError where the server refuses it, or where it
        was lost with a connection so long ago that the server would not know it any more.

        Raises ConnectionClosed when not connected, TypeError or ValueError for a wrong topic,
        message or id, SockwaveError where 1,000 messages wait already, and where the server does
        not speak `sockwave.1`. The message is not kept then.
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

        It ends with the connection, behind the last delivery that has come. While `queue_count` of
        them, or `queue_size` bytes, wait to be taken, the socket is not read.

        A gap, of which `kind` is "gap", says that messages are missing: those of the topic up to
        its position.
        """
        self._dialogue.check("deliveries")
        return Deliveries(self)

    def receive_delivery(self, timeout: float | None = None) -> Delivery:
        """Receive what comes next of the topics; wait for it at most `timeout` seconds.

        Raises TimeoutError after `timeout`, ConnectionClosed when none is left and none will come,
        SockwaveError where another thread takes deliveries already.
        """
        self._dialogue.check("receive_delivery")
        return self._session._take_delivery("receive_delivery", timeout)

    def send(self, message: Message, *, compress: bool | None = None) -> None:
        """Send an ordinary message, for the application's `message` listeners.

        See `Connection.send`. Where the server speaks `sockwave.1`, it has to be a str.
        """
        super().send(self._dialogue.write_ordinary(message), compress=compress)

    # ---- another connection goes on with its topics

    def _begin_resuming(self) -> TopicState:
        """Return what the next connection goes on with. Raises SockwaveError."""
        session = self._session
        if session.close_code is None:
            raise SockwaveError(
                "resume: expected a connection that has ended, given one that is "
                f"{session.ready_state.name}"
            )
        if not self._resuming.acquire(blocking=False):
            raise SockwaveError(
                "resume: expected the last connection with these topics, given one that another "
                "goes on from already"
            )
        if self._dialogue.speaks:
            session._await_finish("connect")  # the loop's thread may have something to hear yet
        return self._dialogue.state

    def _give_up_resuming(self) -> None:
        """Take note that there is no next connection yet."""
        self._resuming.release()

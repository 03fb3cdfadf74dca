"""What a client says of topics by one connection, and what it hears, whoever waits for that."""

import contextlib
from collections import deque
from collections.abc import Callable, Coroutine
from typing import Any

from sockwave.client.topics.outcome import Reply, Speaker, closed
from sockwave.client.topics.reception import Reception
from sockwave.client.topics.state import Pending, Subscription, TopicState
from sockwave.client.topics.subprotocol import (
    NAME,
    Malformed,
    read_frame,
    write_command,
    write_message,
)
from sockwave.close import CloseCode
from sockwave.core.session.member_changes import MemberChanges
from sockwave.core.topics.wildcards import is_pattern
from sockwave.deliveries import Position, Published, Subscribed
from sockwave.errors import ConnectionClosed, SockwaveError
from sockwave.json_codec import encode_json
from sockwave.log import peers
from sockwave.messages import Message


class Dialogue:
    """The topics of a connection, from the moment at which it is open until it has ended.

    `clock` tells the time in seconds: the same for all connections that share a state.
    """

    __slots__ = ("_clock", "_connection", "_is_behind", "_unsent", "reception", "speaks", "state")

    def __init__(self, connection: Speaker, state: TopicState, clock: Callable[[], float]) -> None:
        self._connection = connection
        self._clock = clock
        #: What outlives the connection.
        self.state = state
        self.reception = Reception(connection, state)
        #: Whether the server has agreed to the subprotocol.
        self.speaks = False
        #: What is published, and has not left by this connection.
        self._unsent: deque[Pending] = deque()
        #: Whether the server has to take something before more of it may leave.
        self._is_behind = False

    # ---- its life

    def begin(self) -> None:
        """Enter what the client had subscribed to: the connection is open."""
        self.state.attach(self._connection)
        self._unsent.extend(self.state.take_unacknowledged(self._clock()))
        with contextlib.suppress(ConnectionClosed):  # all at once may be too much
            self.reception.enter_all()
            self._pump()

    def end(self) -> None:
        """Note that the connection has ended, and all has been heard."""
        self.state.detach(self._connection)
        self.reception.end()

    def hear(self, message: str | bytes) -> Coroutine[Any, Any, None] | None:
        """Take a message of the server's; return what listeners have to do yet."""
        said = read_frame(message)
        connection = self._connection
        if not isinstance(said, dict):
            connection._hand_message(said)
            return None
        try:
            return self.reception.hear(said)
        except Malformed as error:
            connection._report(peers.info, "%s: closed with 1002: %s", connection, error)
            connection.close(CloseCode.PROTOCOL_ERROR, str(error))
            return None

    def check(self, call: str) -> None:
        """Raise SockwaveError where the server does not speak `sockwave.1`."""
        if not self.speaks:
            raise SockwaveError(
                f"conn.{call}: expected a server that speaks {NAME}, given one that has chosen "
                f"{self._connection.subprotocol!r}"
            )

    def _check_open(self, call: str) -> None:
        self.check(call)
        if not self._connection.is_open:
            raise closed(self._connection)

    # ---- subscribing: see `TopicConnection`

    def subscribe(
        self, topic: str, since: Position | str | None, member: str | None, data: object
    ) -> Reply[Subscribed]:
        """Hear a topic, or all that a pattern matches."""
        self._check_open("subscribe")
        if member is not None:
            raise TypeError("member: expected None, as the server says who a client is, given one")
        position = None if since is None else Position.parse(since)
        if position is not None and is_pattern(topic):
            raise ValueError(f"since: expected with one topic, given with {topic!r}")
        known = self.state.subscriptions.get(topic)
        if known is None:
            known = Subscription(topic, position, data)
            self.reception.enter(known)
            self.state.add(known)
        elif data is not None and data != known.data:
            self.reception.update(known, data)
        assert known.outcome is not None
        return known.outcome

    def unsubscribe(self, topic: str) -> bool:
        """Hear a topic, or what a pattern matches, no more; return whether it was heard."""
        self.check("unsubscribe")
        command = write_command("unsubscribe", topic)
        subscription = self.state.remove(topic)
        if subscription is None:
            return False
        self.reception.forget(subscription)
        if self._connection.is_open:
            self._connection._say(command)
            self.reception.leaving.append(topic)
        return True

    @property
    def topics(self) -> list[str]:
        """What the client is subscribed to."""
        return list(self.state.subscriptions)

    def members(self, topic: str) -> Reply[dict[str, Any]]:
        """Ask who is there."""
        self._check_open("members")
        return self.reception.ask_members(topic)

    def want_changes(self) -> MemberChanges:
        """Have changes of members wait from now on; return where they do."""
        self.check("member_changes")
        self.state.changes.want(self.state.subscriptions.values())
        return self.state.changes

    # ---- publishing

    def publish(self, topic: str, message: Message, id: str | None) -> Reply[Published]:
        """Publish a message, and keep it until it is acknowledged."""
        return self._submit("publish", topic, write_message(message), id)

    def append(self, topic: str, delta: str) -> Reply[Published]:
        """Append a text to a stream."""
        if not isinstance(delta, str):
            raise TypeError(f"delta: expected str, given {type(delta).__name__}")
        return self._submit("append", topic, {"delta": delta}, None)

    def finish(self, topic: str) -> Reply[Published]:
        """Finish a stream."""
        return self._submit("finish", topic, {}, None)

    def _submit(
        self, command: str, topic: str, fields: dict[str, str], id: str | None
    ) -> Reply[Published]:
        self._check_open(command)
        name = self.state.take_id(id)
        text = write_command(command, topic, **fields, id=name)
        pending = Pending(f"{command} on {topic!r}", text, self._connection._expect_published(name))
        self.state.pending[name] = pending
        self._unsent.append(pending)
        self._pump()
        return pending.outcome

    def _pump(self) -> None:
        """Send what is published, in order, as long as the server keeps up."""
        while self._unsent and not self._is_behind and self._connection.is_open:
            pending = self._unsent.popleft()
            if pending.outcome.is_known:
                continue
            if pending.sent_at is None:
                pending.sent_at = self._clock()
            self._is_behind = not self._connection._say_in_turn(pending.command)

    def go_on(self) -> None:
        """Note that the server has taken what was said, and send more."""
        self._is_behind = False
        self._pump()

    # ---- ordinary messages

    def write_ordinary(self, message: Message) -> Message:
        """Return how an ordinary message is said. Raises TypeError for what cannot be."""
        if not self.speaks:
            return message
        if not isinstance(message, str):
            given = type(message).__name__
            raise TypeError(f"{NAME} has text messages only: expected str, given {given}")
        return encode_json({"send": message})

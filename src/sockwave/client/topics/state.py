"""What a client knows of topics beyond one connection: docs/sockwave.1.md, "Coming back"."""

import secrets
from typing import Any

from sockwave.client.topics.outcome import Reply, Speaker
from sockwave.core.session.member_changes import MemberChanges
from sockwave.core.topics.wildcards import Patterns, is_pattern
from sockwave.deliveries import Position, Published, Subscribed
from sockwave.errors import SockwaveError
from sockwave.limits import Limits

#: Publishes that wait for their acknowledgements; a further one is refused.
PENDING_COUNT = 1000

#: A server knows ids for five minutes: what was first sent longer ago might be published twice.
RESEND_S = 290.0

#: Bytes of the longest id.
ID_SIZE = 255


class Subscription:
    """A topic, or a pattern, that the client hears."""

    __slots__ = (
        "data",
        "has_begun",
        "heard",
        "is_told",
        "members",
        "outcome",
        "request",
        "since",
        "told",
        "topic",
    )

    def __init__(self, topic: str, since: Position | None, data: object) -> None:
        self.topic = topic
        #: Where the last message stands that the application has taken; None: not known.
        self.since = since
        #: What other members are told.
        self.data = data
        #: Where the last one stands that has come by this connection.
        self.heard = since
        #: The members that are known, and what is told of them.
        self.members: dict[str, Any] = {}
        #: Those of which the application was told by `TopicState.changes`, and what.
        self.told: dict[str, Any] = {}
        #: What `subscribe` returns; None: nothing has subscribed yet.
        self.outcome: Reply[Subscribed] | None = None
        #: The number of the command by which this connection subscribes; None: it is answered.
        self.request: int | None = None
        #: Whether a connection has subscribed: from then on, what is missing is told.
        self.has_begun = False
        #: Whether a gap was told since this connection has subscribed.
        self.is_told = False

    def is_known(self, position: Position | None) -> bool:
        """Tell whether what stands at a position has come before."""
        heard = self.heard
        if position is None or heard is None or position.epoch != heard.epoch:
            return False
        return position.offset <= heard.offset


class Pending:
    """A message that is published, and not acknowledged."""

    __slots__ = ("command", "outcome", "sent_at", "what")

    def __init__(self, what: str, command: str, outcome: Reply[Published]) -> None:
        #: What it is, for logs.
        self.what = what
        self.command = command
        self.outcome = outcome
        #: When it was sent first; None: never.
        self.sent_at: float | None = None


class TopicState:
    """The subscriptions of a client, and what it has published, from connection to connection."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        #: By topic.
        self.subscriptions: dict[str, Subscription] = {}
        #: Those of patterns.
        self._patterns = Patterns()
        #: By id, in the order of the calls.
        self.pending: dict[str, Pending] = {}
        #: Who has come and gone, where the application takes it, and does not listen.
        self.changes = MemberChanges()
        #: The connection that is open; None: there is none.
        self.connection: Speaker | None = None

    def find(self, topic: str) -> Subscription | None:
        """Return what makes the client hear a topic: its own subscription, or a pattern's."""
        own = self.subscriptions.get(topic)
        return own if own is not None else self.find_pattern(topic)

    def find_pattern(self, topic: str) -> Subscription | None:
        """Return the subscription of a pattern that matches a topic."""
        found: Subscription | None = self._patterns.best(topic)
        return found

    def add(self, subscription: Subscription) -> None:
        """Note that the client hears a topic, or a pattern."""
        self.subscriptions[subscription.topic] = subscription
        if is_pattern(subscription.topic):
            self._patterns.add(subscription.topic, subscription)

    def remove(self, topic: str) -> Subscription | None:
        """Note that the client hears it no more; return what made it do so; None: nothing did."""
        subscription = self.subscriptions.pop(topic, None)
        if subscription is not None and is_pattern(topic):
            self._patterns.remove(topic)
        return subscription

    def take_id(self, id: str | None) -> str:
        """Return the id of a message, made up where there is none.

        Raises TypeError or ValueError for one that cannot be used, SockwaveError where too many
        messages wait already.
        """
        if len(self.pending) >= PENDING_COUNT:
            raise SockwaveError(
                f"publish: expected at most {PENDING_COUNT} messages that wait for their "
                "acknowledgements, given a further one"
            )
        if id is None:
            # Others see it, and one that they could guess they could use up.
            return secrets.token_hex(16)
        if not isinstance(id, str):
            raise TypeError(f"id: expected str or None, given {type(id).__name__}")
        if not 0 < len(id.encode("utf-8", "surrogatepass")) <= ID_SIZE:
            raise ValueError(f"id: expected 1 to {ID_SIZE} bytes, given {len(id)} characters")
        if id in self.pending:
            raise ValueError(f"id: expected one of its own for each message, given {id!r} again")
        return id

    def attach(self, connection: Speaker | None) -> None:
        """Go on with another connection; None: there is none."""
        self.connection = connection
        for pending in self.pending.values():
            pending.outcome.move(connection)

    def take_unacknowledged(self, now: float) -> list[Pending]:
        """Return what has to be sent again; what was first sent too long ago has failed by now."""
        for id, pending in list(self.pending.items()):
            if pending.sent_at is not None and now - pending.sent_at > RESEND_S:
                del self.pending[id]
                pending.outcome.refuse(
                    SockwaveError(
                        f"{pending.what}: the connection was lost, and it is published, or not"
                    )
                )
        return list(self.pending.values())

    def detach(self, connection: Speaker) -> None:
        """Note the end of a connection."""
        if self.connection is connection:
            self.connection = None

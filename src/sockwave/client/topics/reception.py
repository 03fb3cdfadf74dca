"""What a connection hears of topics: which delivery is next, and whom answers are for."""

import itertools
import logging
from collections import deque
from collections.abc import Awaitable, Coroutine
from typing import Any, NamedTuple

from sockwave.client.topics.listeners import Listeners, await_all
from sockwave.client.topics.outcome import Reply, Speaker, closed
from sockwave.client.topics.state import Subscription, TopicState
from sockwave.client.topics.subprotocol import (
    Fields,
    Malformed,
    read_delivery,
    read_members,
    read_position,
    read_text,
    write_command,
)
from sockwave.core.session.delivery_queue import DeliveryQueue, Entry
from sockwave.core.topics.wildcards import is_pattern
from sockwave.deliveries import Delivery, Position, Published, Subscribed
from sockwave.errors import SockwaveError

logger = logging.getLogger("sockwave")

#: While a task or a thread waits for an answer, which comes behind deliveries, so many times
#: `queue_size` bytes of them may wait: it may be the one that takes them.
_ANSWER_FACTOR = 8

#: So much of a server's reason stands in an error.
_REASON_SIZE = 200

Waiting = list[Awaitable[object]]


class Request(NamedTuple):
    """A command whose answer repeats a number."""

    #: What has to hear of the answer.
    outcome: Reply[Any]
    #: What it subscribes to; None: it asks for members.
    subscription: Subscription | None
    #: Whether the application knows of the topic already, and hears if something is missing.
    tells_gap: bool
    #: Whether it only changes the data of a subscription.
    is_update: bool


class Reception:
    """The topics of one connection."""

    __slots__ = (
        "_awaited",
        "_connection",
        "_is_held",
        "_numbers",
        "_requests",
        "_state",
        "leaving",
        "listeners",
        "queue",
    )

    def __init__(self, connection: Speaker, state: TopicState) -> None:
        self._connection = connection
        self._state = state
        #: The deliveries that wait for the application. Who takes one calls `balance`.
        self.queue = DeliveryQueue()
        self._requests: dict[int, Request] = {}
        self._numbers = itertools.count(1)
        #: What tasks or threads wait for.
        self._awaited: dict[Reply[Any], None] = {}
        #: Whether the socket is not read, as too many deliveries wait.
        self._is_held = False
        #: Topics whose `unsubscribed` is owed: what comes of them before it is old.
        self.leaving: deque[str] = deque()
        self.listeners = Listeners()

    # ---- what is said

    def enter_all(self) -> None:
        """Subscribe to all that the client has heard by the connection before."""
        for subscription in self._state.subscriptions.values():
            subscription.heard = subscription.since
            subscription.is_told = False
            self.enter(subscription)

    def enter(self, subscription: Subscription) -> None:
        """Subscribe, behind the last delivery that is known. Raises TypeError, ValueError."""
        since = subscription.since
        tells_gap = subscription.has_begun or since is not None
        subscription.request = self._subscribe(
            subscription, since, subscription.data, tells_gap=tells_gap
        )

    def update(self, subscription: Subscription, data: object) -> None:
        """Tell the other members something new. Raises TypeError, ValueError."""
        self._subscribe(subscription, None, data, is_update=True)
        subscription.data = data

    def _subscribe(
        self,
        subscription: Subscription,
        since: Position | None,
        data: object,
        *,
        tells_gap: bool = False,
        is_update: bool = False,
    ) -> int:
        outcome: Reply[Subscribed] = self._connection._expect()
        request = Request(outcome, subscription, tells_gap, is_update)
        number = self._ask(
            "subscribe",
            subscription.topic,
            request,
            since=None if since is None else str(since),
            data=data,
        )
        subscription.outcome = outcome
        return number

    def ask_members(self, topic: str) -> Reply[dict[str, Any]]:
        """Ask who is there."""
        outcome: Reply[dict[str, Any]] = self._connection._expect()
        self._ask("members", topic, Request(outcome, None, False, False))
        return outcome

    def _ask(self, command: str, topic: str, request: Request, **fields: object) -> int:
        number = next(self._numbers)
        self._connection._say(write_command(command, topic, **fields, request=number))
        self._requests[number] = request
        return number

    def forget(self, subscription: Subscription) -> None:
        """Drop what waits of a topic that the client hears no more."""
        self.queue.drop(subscription)
        self._state.changes.drop(subscription)
        self.balance()

    # ---- what is heard

    def hear(self, said: Fields) -> Coroutine[Any, Any, None] | None:
        """Take a frame; return what listeners have to do yet. Raises Malformed."""
        if "error" in said:
            text = "%s: the server has refused a frame: %s"
            self._connection._report(logger.warning, text, self._connection, said["error"])
            return None
        if "unsubscribed" in said:
            if self.leaving:
                self.leaving.popleft()
            return None
        if "acknowledged" in said:
            self._hear_acknowledgement(said)
            return None
        if "refused" in said:
            self._hear_refusal(said)
            return None
        if "subscribed" in said:
            return await_all(self._hear_subscribed(said))
        if "gap" in said:
            return await_all(self._hear_gap(said))
        if not said.keys().isdisjoint(("members", "join", "leave")):
            return await_all(self._hear_members(said))
        return await_all(self._hear_delivery(read_delivery(said)))

    def _find(self, topic: str) -> Subscription | None:
        """Return what makes the client hear a topic, if it does."""
        if topic in self.leaving:
            return self._state.find_pattern(topic)
        return self._state.find(topic)

    def _is_current(self, subscription: Subscription) -> bool:
        return self._state.subscriptions.get(subscription.topic) is subscription

    def _hear_acknowledgement(self, said: Fields) -> None:
        id = said["acknowledged"]
        pending = self._state.pending.pop(id, None) if isinstance(id, str) else None
        if pending is not None:
            pending.outcome.give(Published(read_position(said), 0))

    def _hear_refusal(self, said: Fields) -> None:
        reason = read_text(said, "reason")[:_REASON_SIZE]
        reason = reason if reason.isprintable() else repr(reason)[1:-1]
        id = said.get("id")
        if isinstance(id, str) and id in self._state.pending:
            pending = self._state.pending.pop(id)
            self._refuse(pending.outcome, f"{pending.what}: the server refuses it: {reason}")
            return
        if said["refused"] == "unsubscribe":
            if self.leaving:
                self.leaving.popleft()  # it was no topic at all
            return
        request = self._take_request(said)
        subscription = request.subscription
        what = f"{said['refused']} {said.get('topic')!r}"
        if subscription is not None and not request.is_update and self._is_current(subscription):
            self._state.remove(subscription.topic)
        self._refuse(request.outcome, f"{what}: the server refuses it: {reason}")

    def _refuse(self, outcome: Reply[Any], sentence: str) -> None:
        """Tell those who wait that something is refused, or the log where nobody does."""
        if not outcome.refuse(SockwaveError(sentence)):
            self._connection._report(logger.warning, "%s: %s", self._connection, sentence)

    def _take_request(self, said: Fields) -> Request:
        """Return what a frame answers. Raises Malformed."""
        number = said.get("request")
        request = self._requests.pop(number, None) if isinstance(number, int) else None
        if request is None:
            raise Malformed("request: expected the number of a command that waits for its answer")
        return request

    def _hear_subscribed(self, said: Fields) -> Waiting:
        position, recovered = read_position(said), said.get("recovered") is True
        request = self._take_request(said)
        subscription = request.subscription
        if subscription is None:
            raise Malformed("subscribed: expected for a command to subscribe")
        if subscription.request == said["request"]:
            subscription.request = None
        subscription.has_begun = True
        request.outcome.give(Subscribed(position, recovered))
        if not self._is_current(subscription) or request.is_update:
            return []
        delivery = None
        if request.tells_gap and not recovered and not subscription.is_told:
            delivery = Delivery(subscription.topic, None, position, "gap")
        subscription.is_told = False
        return self._deliver(subscription, position, delivery)

    def _hear_gap(self, said: Fields) -> Waiting:
        topic, position = read_text(said, "gap"), read_position(said)
        subscription = self._find(topic)
        if subscription is None:
            return []
        return self._deliver(subscription, position, Delivery(topic, None, position, "gap"))

    def _hear_delivery(self, delivery: Delivery) -> Waiting:
        subscription, position = self._find(delivery.topic), delivery.position
        if subscription is None:
            return []
        if is_pattern(subscription.topic):
            return self._deliver(subscription, position, delivery)
        if subscription.is_known(position):
            return []
        waiting: Waiting = []
        if self._is_of_another_log(subscription, position):
            # What is missing is told before what comes behind it.
            assert position is not None
            before = Position(position.epoch, position.offset - 1)
            subscription.is_told = True
            gap = Delivery(subscription.topic, None, before, "gap")
            waiting += self._deliver(subscription, before, gap)
        return waiting + self._deliver(subscription, position, delivery)

    def _is_of_another_log(self, subscription: Subscription, position: Position | None) -> bool:
        """Tell whether the server has another log of a topic than at the connection before.

        Once that is told, it is so no more.
        """
        heard = subscription.heard
        if subscription.request is None or subscription.is_told or position is None:
            return False
        return heard is not None and heard.epoch not in (0, position.epoch)

    def _hear_members(self, said: Fields) -> Waiting:
        topic = read_text(said, "topic")
        here = said.get("members")
        joined = read_members(said, "join" if here is None else "members")
        left: list[str] = list(read_members(said, "leave"))
        if here is not None and "request" in said:
            self._take_request(said).outcome.give(dict(joined))
        subscription = self._find(topic)
        if subscription is None:
            return []
        known, changes = subscription.members, self._state.changes
        if here is not None:
            left = [key for key in known if key not in joined]
        waiting: Waiting = []
        for key in left:
            if key in known:
                data = known.pop(key)
                changes.note(subscription, key)
                waiting += self.listeners.call("leave", key, data, topic)
        for key, data in joined.items():
            if key not in known or known[key] != data:
                known[key] = data
                changes.note(subscription, key)
                waiting += self.listeners.call("join", key, data, topic)
        if len(changes):
            self._connection._tell_delivery()
        return waiting

    # ---- deliveries

    def _deliver(
        self, subscription: Subscription, position: Position | None, delivery: Delivery | None
    ) -> Waiting:
        """Hand a delivery to the application, or keep it; return what listeners have to do yet.

        Without one, note the position, once all before it has been taken.
        """
        is_placed = not is_pattern(subscription.topic)
        if is_placed:
            subscription.heard = position
        entry = Entry(subscription, position, delivery, is_placed=is_placed)
        if not len(self.queue) and (delivery is None or self.listeners.of("delivery")):
            found = self.queue.pass_on(entry)
            return [] if found is None else self.listeners.call("delivery", found)
        self.queue.put(entry)
        self.balance()
        self._connection._tell_delivery()
        return []

    # ---- flow control

    def note_awaited(self, outcome: Reply[Any], *, is_awaited: bool) -> None:
        """Note that a task or a thread waits for an answer, or that none does any more."""
        if is_awaited:
            self._awaited[outcome] = None
        else:
            self._awaited.pop(outcome, None)
        self.balance()

    def balance(self) -> None:
        """Read the socket, or not: as many deliveries as may be wait for the application.

        While a task or a thread waits for an answer, which comes behind deliveries, more of them
        may wait, as it may be the one that takes them. At the end of that, it is told so.
        """
        count, size = len(self.queue), self.queue.size
        limits = self._state.limits
        if self._awaited and size >= _ANSWER_FACTOR * limits.queue_size:
            is_full = True
            for outcome in self._awaited:
                outcome.interrupt(
                    SockwaveError(
                        "an answer of the server: expected a task that takes the deliveries before "
                        f"it, given {count} of them that wait ({size} bytes)"
                    )
                )
        elif self._awaited:
            is_full = False
        elif self._is_held:
            is_full = count > limits.queue_count // 4 or size > limits.queue_size // 4
        else:
            is_full = count >= limits.queue_count or size >= limits.queue_size
        if is_full != self._is_held:
            self._is_held = is_full
            self._connection._hold(is_full)

    # ---- the end

    def leave(self) -> None:
        """Drop what waits: nobody takes it any more, and the next connection brings it again."""
        self.queue.drop()
        self.balance()

    def end(self) -> None:
        """Tell all who wait for an answer that none will come any more."""
        error = closed(self._connection)
        for outcome in self._awaited:
            outcome.interrupt(error)
        self._requests.clear()

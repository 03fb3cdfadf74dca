"""A client's connection that speaks `sockwave.1`: it hears topics, and publishes on them."""

import asyncio
import contextlib
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Hashable
from typing import Any, Literal, Self, TypeVar, overload

from sockwave.client.topics.listeners import EVENTS
from sockwave.client.topics.outcome import Outcome, Publishing, closed
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
from sockwave.core.events.waiter import DONE
from sockwave.core.http.headers import Headers
from sockwave.core.io.transport import Transport
from sockwave.core.session.client_connection import ClientConnection
from sockwave.core.session.hub import Hub
from sockwave.core.topics.wildcards import is_pattern
from sockwave.deliveries import Delivery, Position, Published, Subscribed
from sockwave.errors import ConnectionClosed, SockwaveError
from sockwave.json_codec import encode_json
from sockwave.log import peers
from sockwave.messages import Message, SlowPolicy
from sockwave.timeouts import within

_MISSING: Any = object()

_Listener = TypeVar("_Listener", bound=Callable[..., object])


def now() -> float:
    """Return the time of the running loop, in seconds."""
    return asyncio.get_running_loop().time()


class TopicConnection(ClientConnection):
    """A client's connection with the subprotocol `sockwave.1`.

    It is a `ClientConnection` that hears topics and publishes on them, where the server has agreed
    to the subprotocol. What the topics bring comes as `Delivery`, by `deliveries` or to listeners
    of `delivery`; `send`, `receive` and `async for` are for ordinary messages, of text, as before.

    In `async for conn in sockwave.connect(...)`, each connection goes on where the one before it
    has ended: it subscribes to the same topics from the last delivery that was taken, and sends
    again what was published and not acknowledged.
    """

    __slots__ = ("_pumping", "_reception", "_speaks", "_state", "_unsent")

    def __init__(
        self,
        hub: Hub,
        transport: Transport,
        version: str,
        head: bytes,
        response_headers: Headers,
        state: TopicState,
    ) -> None:
        super().__init__(hub, transport, version, head, response_headers)
        self._state = state
        self._reception = Reception(self, self._state)
        self._speaks = False
        #: What is published, and has not left by this connection.
        self._unsent: deque[Pending] = deque()
        #: Whether a task waits until more of it may leave.
        self._pumping = False

    # ---- its life

    def _open(self, answer: bytes, subprotocol: str | None, route: Any = None) -> None:
        """Enter what the client had subscribed to, as soon as the connection is open."""
        self._speaks = subprotocol == NAME
        if self._speaks:
            self._take_commands(TopicConnection._heard)
            super().on("close", self._ended)
        super()._open(answer, subprotocol, route)
        if self._speaks and self.is_open:
            self._state.attach(self)
            self._unsent.extend(self._state.take_unacknowledged(now()))
            with contextlib.suppress(ConnectionClosed):  # all at once may be too much
                self._reception.enter_all()
                self._pump()

    def _ended(self) -> None:
        self._state.detach(self)
        self._reception.end()

    def _leave(self, code: int) -> Awaitable[None]:
        self._reception.leave()
        return super()._leave(code)

    def _heard(self, message: str | bytes) -> Coroutine[Any, Any, None] | None:
        """Take a message of the server's: the connection calls this in place of the application."""
        said = read_frame(message)
        if not isinstance(said, dict):
            self._hand_message(said)
            return None
        try:
            return self._reception.hear(said)
        except Malformed as error:
            peers.info("%s: closed with 1002: %s", self, error)
            self.close(CloseCode.PROTOCOL_ERROR, str(error))
            return None

    @property
    def _has_gone(self) -> bool:
        """Whether no answer will come any more."""
        return self.close_code is not None

    def _note_awaited(self, outcome: Outcome[Any], *, is_awaited: bool) -> None:
        self._reception.note_awaited(outcome, is_awaited=is_awaited)

    def _check(self, call: str) -> None:
        """Raise SockwaveError where the server does not speak `sockwave.1`."""
        if not self._speaks:
            raise SockwaveError(
                f"conn.{call}: expected a server that speaks {NAME}, given one that has chosen "
                f"{self.subprotocol!r}"
            )

    def _check_open(self, call: str) -> None:
        self._check(call)
        if not self.is_open:
            raise closed(self)

    # ---- subscribing

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
        one. To subscribe again changes nothing but `data`: in a loop over connections, each has
        subscribed already when the body begins, from the last delivery that was taken, and `since`
        counts the first time only.

        What is returned need not be awaited. It gives a `Subscribed`, once all that was missed has
        come: its position, and whether it was `recovered`. Awaited, it raises SockwaveError where
        the server refuses, which ends the subscription, and ConnectionClosed where the connection
        ends first.

        Raises ConnectionClosed when not connected, TypeError or ValueError for a wrong name,
        position or data, SockwaveError where the server does not speak `sockwave.1`.
        """
        self._check_open("subscribe")
        if member is not None:
            raise TypeError("member: expected None, as the server says who a client is, given one")
        position = None if since is None else Position.parse(since)
        if position is not None and is_pattern(topic):
            raise ValueError(f"since: expected with one topic, given with {topic!r}")
        known = self._state.subscriptions.get(topic)
        if known is None:
            known = Subscription(topic, position, data)
            self._reception.enter(known)
            self._state.subscriptions[topic] = known
        elif data is not None and data != known.data:
            self._reception.update(known, data)
        return known.outcome

    def unsubscribe(self, topic: str) -> bool:
        """Hear a topic, or what a pattern matches, no more; return whether it was heard.

        Deliveries of it that wait are dropped. Raises TypeError for a name that is no str,
        SockwaveError where the server does not speak `sockwave.1`.
        """
        self._check("unsubscribe")
        command = write_command("unsubscribe", topic)
        subscription = self._state.subscriptions.pop(topic, None)
        if subscription is None:
            return False
        self._reception.forget(subscription)
        if self.is_open:
            self._say(command)
            self._reception.leaving.append(topic)
        return True

    @property
    def topics(self) -> list[str]:
        """The names of the topics, and the patterns, that the client is subscribed to."""
        return list(self._state.subscriptions)

    def members(self, topic: str) -> Outcome[dict[str, Any]]:
        """Ask who is there in a topic with presence; the connection has to be subscribed to it.

        What is returned gives a dict of the members' keys and their data. Awaited, it raises
        SockwaveError where the server refuses, ConnectionClosed where the connection ends first.
        """
        self._check_open("members")
        return self._reception.ask_members(topic)

    # ---- publishing

    def publish(
        self, topic: str, message: Message, *, id: str | None = None
    ) -> Publishing[Published]:
        """Publish a str (text) or bytes-like (binary) message on a topic.

        It is kept until the server acknowledges it, and sent again by the next connection of a
        loop, with the same `id`: where the topic has a history, it comes once. `id` (1 to 255
        bytes) is made up where it is None; others see it, and must not be able to guess it.

        What is returned need not be awaited, and may be awaited again by a later connection's code.
        It gives a `Published` with the message's position, where the topic has positions. Awaited,
        it raises ConnectionClosed where the connection ends first, which does not mean that the
        message is lost; SockwaveError where the server refuses it, or where it was lost with a
        connection so long ago that the server would not know it any more.

        Raises ConnectionClosed when not connected, TypeError or ValueError for a wrong topic,
        message or id, SockwaveError where 1,000 messages wait already, and where the server does
        not speak `sockwave.1`. The message is not kept then.
        """
        return self._submit("publish", topic, write_message(message), id)

    def append(self, topic: str, delta: str) -> Publishing[Published]:
        """Append a text to a stream: see `Topic.append`. As `publish`, it comes once."""
        if not isinstance(delta, str):
            raise TypeError(f"delta: expected str, given {type(delta).__name__}")
        return self._submit("append", topic, {"delta": delta}, None)

    def finish(self, topic: str) -> Publishing[Published]:
        """Finish a stream: see `Topic.finish`."""
        return self._submit("finish", topic, {}, None)

    def _submit(
        self, command: str, topic: str, fields: dict[str, str], id: str | None
    ) -> Publishing[Published]:
        self._check_open(command)
        name = self._state.take_id(id)
        text = write_command(command, topic, **fields, id=name)
        pending = Pending(f"{command} on {topic!r}", text, Publishing(self, name))
        self._state.pending[name] = pending
        self._unsent.append(pending)
        self._pump()
        return pending.outcome

    def _pump(self) -> None:
        """Send what is published, in order, as long as the server keeps up."""
        while self._unsent and not self._pumping and self.is_open:
            pending = self._unsent.popleft()
            if pending.outcome.is_known:
                continue
            if pending.sent_at is None:
                pending.sent_at = now()
            drained = self._say(pending.command)
            if drained is not DONE:
                self._pumping = True
                self.create_task(self._pump_later(drained))

    async def _pump_later(self, drained: Awaitable[None]) -> None:
        try:
            await drained
        finally:
            self._pumping = False
        self._pump()

    # ---- deliveries

    def deliveries(self) -> AsyncIterator[Delivery]:
        """Receive what the topics bring: `async for delivery in conn.deliveries()`.

        It ends with the connection, behind the last delivery that has come. While `queue_count` of
        them, or `queue_size` bytes, wait to be taken, the socket is not read.

        A gap, of which `kind` is "gap", says that messages are missing: those of the topic up to
        its position. The loop raises SockwaveError while there is a listener of `delivery`.
        """
        self._check("deliveries")
        return Deliveries(self._reception)

    async def receive_delivery(self, timeout: float | None = None) -> Delivery:
        """Receive what comes next of the topics; wait for it at most `timeout` seconds.

        Raises TimeoutError after `timeout`, ConnectionClosed when none is left and none will come,
        SockwaveError while there is a listener of `delivery`.
        """
        self._check("receive_delivery")
        if timeout is not None:
            return await within(timeout, self.receive_delivery())
        found = await self._reception.take()
        if found is None:
            raise closed(self)
        return found

    # ---- ordinary messages

    def send(
        self,
        message: Message,
        *,
        compress: bool | None = None,
        slow: SlowPolicy | None = None,
        key: Hashable = None,
    ) -> Awaitable[None]:
        """Send an ordinary message, for the application's `message` listeners.

        See `Connection.send`. Where the server speaks `sockwave.1`, it has to be a str.
        """
        if self._speaks:
            if not isinstance(message, str):
                given = type(message).__name__
                raise TypeError(f"{NAME} has text messages only: expected str, given {given}")
            message = encode_json({"send": message})
        return super().send(message, compress=compress, slow=slow, key=key)

    write = send

    def stream_message(self, kind: Literal["text", "binary"]) -> Any:
        """Raise SockwaveError where the server speaks `sockwave.1`: a command is one message."""
        if self._speaks:
            raise SockwaveError(f"conn.stream_message: {NAME} has no messages in pieces")
        return super().stream_message(kind)

    def _say(self, command: str) -> Awaitable[None]:
        return super().send(command)

    # ---- listeners

    @overload
    def on(self, event: str) -> Callable[[_Listener], _Listener]: ...
    @overload
    def on(self, event: str, listener: Callable[..., object]) -> Self: ...
    def on(self, event: str, listener: Any = _MISSING) -> Any:
        """Call `listener` at each `event`: see `Connection.on`.

        Besides those of a connection there are `delivery`, with a `Delivery`, in place of
        `deliveries`; and `join` and `leave`, with the key, the data and the topic of a member of a
        topic with presence: those who are there when the client subscribes are told as well.
        """
        return self._add(event, listener, once=False)

    @overload
    def once(self, event: str) -> Callable[[_Listener], _Listener]: ...
    @overload
    def once(self, event: str, listener: Callable[..., object]) -> Self: ...
    def once(self, event: str, listener: Any = _MISSING) -> Any:
        """Like `on`, for the next `event` only."""
        return self._add(event, listener, once=True)

    def _add(self, event: str, listener: Any, *, once: bool) -> Any:
        if event not in EVENTS:
            add: Any = super().once if once else super().on
            return add(event) if listener is _MISSING else add(event, listener)
        if listener is _MISSING:
            return lambda function: (self._add(event, function, once=once), function)[1]
        self._check(f"on({event!r})")
        self._reception.listen(event, listener, once=once)
        return self

    add_listener = addListener = on  # noqa: N815 - as those of a Connection

    def off(self, event: str, listener: Callable[..., object]) -> Self:
        """Remove `listener`, where it was added last; nothing happens when it is not there."""
        if event in EVENTS:
            self._reception.listeners.remove(event, listener)
        else:
            remove: Any = super().off
            remove(event, listener)
        return self

    remove_listener = removeListener = off  # noqa: N815 - as those of a Connection

    def listeners(self, event: str) -> list[Callable[..., object]]:
        """List the listeners of `event`, in the order in which they were added."""
        if event in EVENTS:
            return self._reception.listeners.of(event)
        found: Any = super().listeners
        return [one for one in found(event) if one != self._ended]


class Deliveries:
    """The deliveries of a connection, one after the other."""

    __slots__ = ("_reception",)

    def __init__(self, reception: Reception) -> None:
        self._reception = reception

    def __aiter__(self) -> "Deliveries":
        return self

    async def __anext__(self) -> Delivery:
        found = await self._reception.take()
        if found is None:
            raise StopAsyncIteration
        return found

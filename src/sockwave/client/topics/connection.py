"""A client's connection that speaks `sockwave.1`: it hears topics, and publishes on them."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Hashable
from typing import Any, Literal, Self, TypeVar, cast, overload

from sockwave.client.topics.dialogue import Dialogue
from sockwave.client.topics.listeners import EVENTS
from sockwave.client.topics.outcome import Outcome, Publishing, Reply, closed
from sockwave.client.topics.state import TopicState
from sockwave.client.topics.subprotocol import NAME
from sockwave.client.topics.taking import Taking
from sockwave.core.events.waiter import DONE
from sockwave.core.http.headers import Headers
from sockwave.core.io.transport import Transport
from sockwave.core.session.client_connection import ClientConnection
from sockwave.core.session.hub import Hub
from sockwave.deliveries import Delivery, Position, Published, Subscribed
from sockwave.errors import SockwaveError
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

    __slots__ = ("_dialogue", "_reception", "_taking")

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
        self._dialogue = Dialogue(self, state, now)
        self._reception = self._dialogue.reception
        self._taking = Taking(self, self._reception)

    # ---- its life

    def _open(self, answer: bytes, subprotocol: str | None, route: Any = None) -> None:
        """Enter what the client had subscribed to, as soon as the connection is open."""
        speaks = self._dialogue.speaks = subprotocol == NAME
        if speaks:
            self._take_commands(TopicConnection._heard)
            super().on("close", self._ended)
        super()._open(answer, subprotocol, route)
        if speaks and self.is_open:
            self._dialogue.begin()

    def _ended(self) -> None:
        self._dialogue.end()
        self._taking.end()

    def _leave(self, code: int) -> Awaitable[None]:
        self._reception.leave()
        return super()._leave(code)

    def _heard(self, message: str | bytes) -> Coroutine[Any, Any, None] | None:
        """Take a message of the server's: the connection calls this in place of the application."""
        return self._dialogue.hear(message)

    # ---- what its parts call: see `Speaker`

    @property
    def _has_gone(self) -> bool:
        return self.close_code is not None

    def _say(self, command: str) -> Awaitable[None]:
        return super().send(command)

    def _say_in_turn(self, command: str) -> bool:
        drained = super().send(command)
        if drained is DONE:
            return True
        self.create_task(self._go_on(drained))
        return False

    async def _go_on(self, drained: Awaitable[None]) -> None:
        try:
            await drained
        finally:
            self._dialogue.go_on()

    def _tell_delivery(self) -> None:
        self._taking.wake()

    def _report(self, log: Callable[..., None], text: str, *arguments: object) -> None:
        log(text, *arguments)

    def _expect(self) -> Outcome[Any]:
        return Outcome(self)

    def _expect_published(self, id: str) -> Publishing[Published]:
        return Publishing(self, id)

    def _note_awaited(self, reply: Reply[Any], *, is_awaited: bool) -> None:
        self._reception.note_awaited(reply, is_awaited=is_awaited)

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
        outcome = self._dialogue.subscribe(topic, since, member, data)
        return cast(Outcome[Subscribed], outcome)

    def unsubscribe(self, topic: str) -> bool:
        """Hear a topic, or what a pattern matches, no more; return whether it was heard.

        Deliveries of it that wait are dropped. Raises TypeError for a name that is no str,
        SockwaveError where the server does not speak `sockwave.1`.
        """
        return self._dialogue.unsubscribe(topic)

    @property
    def topics(self) -> list[str]:
        """The names of the topics, and the patterns, that the client is subscribed to."""
        return self._dialogue.topics

    def members(self, topic: str) -> Outcome[dict[str, Any]]:
        """Ask who is there in a topic with presence; the connection has to be subscribed to it.

        What is returned gives a dict of the members' keys and their data. Awaited, it raises
        SockwaveError where the server refuses, ConnectionClosed where the connection ends first.
        """
        return cast(Outcome[dict[str, Any]], self._dialogue.members(topic))

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
        return cast(Publishing[Published], self._dialogue.publish(topic, message, id))

    def append(self, topic: str, delta: str) -> Publishing[Published]:
        """Append a text to a stream: see `Topic.append`. As `publish`, it comes once."""
        return cast(Publishing[Published], self._dialogue.append(topic, delta))

    def finish(self, topic: str) -> Publishing[Published]:
        """Finish a stream: see `Topic.finish`."""
        return cast(Publishing[Published], self._dialogue.finish(topic))

    # ---- deliveries

    def deliveries(self) -> AsyncIterator[Delivery]:
        """Receive what the topics bring: `async for delivery in conn.deliveries()`.

        It ends with the connection, behind the last delivery that has come. While `queue_count` of
        them, or `queue_size` bytes, wait to be taken, the socket is not read.

        A gap, of which `kind` is "gap", says that messages are missing: those of the topic up to
        its position. The loop raises SockwaveError while there is a listener of `delivery`.
        """
        self._dialogue.check("deliveries")
        return Deliveries(self._taking)

    async def receive_delivery(self, timeout: float | None = None) -> Delivery:
        """Receive what comes next of the topics; wait for it at most `timeout` seconds.

        Raises TimeoutError after `timeout`, ConnectionClosed when none is left and none will come,
        SockwaveError while there is a listener of `delivery`.
        """
        self._dialogue.check("receive_delivery")
        if timeout is not None:
            return await within(timeout, self.receive_delivery())
        found = await self._taking.take()
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
        message = self._dialogue.write_ordinary(message)
        return super().send(message, compress=compress, slow=slow, key=key)

    write = send

    def stream_message(self, kind: Literal["text", "binary"]) -> Any:
        """Raise SockwaveError where the server speaks `sockwave.1`: a command is one message."""
        if self._dialogue.speaks:
            raise SockwaveError(f"conn.stream_message: {NAME} has no messages in pieces")
        return super().stream_message(kind)

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
        self._dialogue.check(f"on({event!r})")
        self._taking.listen(event, listener, once=once)
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

    __slots__ = ("_taking",)

    def __init__(self, taking: Taking) -> None:
        self._taking = taking

    def __aiter__(self) -> "Deliveries":
        return self

    async def __anext__(self) -> Delivery:
        found = await self._taking.take()
        if found is None:
            raise StopAsyncIteration
        return found

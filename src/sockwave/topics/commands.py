"""What clients say that speak the subprotocol `sockwave.1`: docs/sockwave.1.md."""

import asyncio
import base64
import binascii
import json
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

from sockwave.deliveries import Published, Subscribed
from sockwave.documented import describe_fields
from sockwave.errors import ConnectionClosed, SockwaveError
from sockwave.json_codec import encode_json
from sockwave.topics.members import Snapshot
from sockwave.topics.settings import check_presence
from sockwave.topics.topics import Entering, Topics

if TYPE_CHECKING:
    from sockwave.core.session.connection import Connection


class Member(NamedTuple):
    """Who a connection is in a topic with presence: what a `subscribe` listener may return."""

    #: A member is there from its first to its last connection.
    key: str
    #: What everybody hears of it: what JSON can say.
    data: Any = None


describe_fields(
    Member,
    key="Who it is: a member is there from its first to its last connection.",
    data="What everybody hears of it: what JSON can say.",
)

#: A listener of `subscribe` or `publish`, and how many of its arguments it takes.
Listener: TypeAlias = tuple[Callable[..., object], int]

Fields: TypeAlias = dict[str, Any]

_NAMES = ("subscribe", "unsubscribe", "publish", "append", "finish", "members", "send")


class _Refused(Exception):  # noqa: N818 - an answer, not a failure
    """A command is not carried out; its text says why."""


class Commands:
    """Carries out the commands of all clients of one server."""

    def __init__(
        self,
        topics: "Topics",
        listeners: Callable[[str], list[Listener]],
        failed: "Callable[[BaseException, Connection], None]",
    ) -> None:
        """Take what returns the listeners of an event, and what reports an error of one."""
        self._topics = topics
        self._listeners = listeners
        self._failed = failed

    def attend(self, connection: "Connection") -> None:
        """Take the commands of a connection, in their order."""
        connection._take_commands(_Session(self).heard)

    def decide(self, event: str, connection: "Connection", topic: str) -> object:
        """Ask the application whether a client may: what a listener returns, or an awaitable of it.

        The first listener that lets it through decides; without a listener, nobody may.
        """
        listeners = self._listeners(event)
        outcome: object = None
        for listener, count in listeners:
            outcome = listener(*(connection, topic)[:count])
            if outcome is not None and outcome is not False:
                return outcome
        return outcome

    # ---- the commands

    def subscribe(self, connection: "Connection", name: str, said: Fields, granted: object) -> None:
        """Let a client hear a topic."""
        topics = self._topics
        try:
            topic = topics.table.provide(name)
            member, data = None, None
            if topic.settings.has_presence and not topic.is_pattern:
                if isinstance(granted, Member):
                    member, data = granted.key, granted.data
                else:
                    member, data = str(connection.id), said.get("data")

            def told(outcome: Subscribed) -> None:
                answer: Fields = {
                    "subscribed": name,
                    "position": None if outcome.position is None else str(outcome.position),
                    "recovered": outcome.recovered,
                }
                _answer(connection, said, answer)
                if member is not None:
                    topics.presence.tell(connection, topic)

            waiting = topics.subscribe(connection, topic, said.get("since"), member, data, told)
        except (SockwaveError, TypeError, ValueError) as error:
            raise _Refused(str(error)) from error

        def ended(done: "asyncio.Future[Subscribed]") -> None:
            error = None if done.cancelled() else done.exception()
            if error is not None:
                _refuse(connection, "subscribe", name, said, str(error))

        if isinstance(waiting, Entering):
            waiting.future.add_done_callback(ended)

    def unsubscribe(self, connection: "Connection", name: str, said: Fields) -> None:
        """Let a client no longer hear a topic."""
        connection.unsubscribe(name)
        _answer(connection, said, {"unsubscribed": name})

    def publish(self, connection: "Connection", command: str, name: str, said: Fields) -> None:
        """Publish, append or finish for a client, and acknowledge it."""
        topics = self._topics
        id = said.get("id")
        if id is not None and not isinstance(id, str):
            raise _Refused("expected a text as id")
        try:
            if command == "publish":
                topic = topics.table.find(name)
                waiting = topics.publishing.publish(
                    name, _message(said), id=id if topic.settings.history is not None else None
                )
            elif command == "append":
                delta = said.get("delta")
                if not isinstance(delta, str):
                    raise _Refused("expected a text as delta")
                waiting = topics.publishing.append(name, delta, id)
            else:
                waiting = topics.publishing.finish(name, id)
        except (SockwaveError, TypeError, ValueError) as error:
            raise _Refused(str(error)) from error

        def published(outcome: Published) -> None:
            position = None if outcome.position is None else str(outcome.position)
            answer = {"acknowledged": id, "topic": name, "position": position}
            _answer(connection, said, answer)

        def failed(error: BaseException) -> None:
            _refuse(connection, command, name, said, str(error))

        waiting.when_done(published, failed)

    def tell_members(self, connection: "Connection", name: str, said: Fields) -> None:
        """Tell a client who is there; it has to be subscribed."""
        topics = self._topics
        if name not in connection.topics:
            raise _Refused("expected a topic that the connection is subscribed to")
        topic = topics.table.find(name)
        try:
            check_presence(name, topic.settings)

            def known(members: dict[str, Any]) -> None:
                _answer(connection, said, {"topic": name, "members": members})

            def lost() -> None:
                _refuse(connection, "members", name, said, "the sequencer is away")

            topics.reach.link.watch(topic, Snapshot(known, lost), is_snapshot=True)
        except SockwaveError as error:
            raise _Refused(str(error)) from error

    def failed(self, error: BaseException, connection: "Connection") -> None:
        """Report an error of the application."""
        self._failed(error, connection)


class _Session:
    """The commands of one client, which are carried out one after the other."""

    __slots__ = ("_commands", "_waiting")

    def __init__(self, commands: Commands) -> None:
        self._commands = commands
        #: Those behind one that waits for a listener; None: none waits.
        self._waiting: deque[asyncio.Future[None]] | None = None

    def heard(
        self, connection: "Connection", message: str | bytes
    ) -> Coroutine[Any, Any, None] | None:
        """Carry out a frame's command, or return a coroutine that does."""
        found = _read(message)
        if isinstance(found, str):
            connection.send(encode_json({"error": found}))
            return None
        command, said = found
        if self._waiting is not None:
            turn = asyncio.get_running_loop().create_future()
            self._waiting.append(turn)
            return self._carry_out_later(connection, command, said, None, turn)
        waiting = self._begin(connection, command, said)
        if waiting is None:
            return None
        self._waiting = deque()
        return self._carry_out_later(connection, command, said, waiting, None)

    def _begin(
        self, connection: "Connection", command: str, said: Fields
    ) -> Awaitable[object] | None:
        """Carry out a command; return what it waits for, if its listener is asynchronous."""
        if command == "send":
            connection._hand_message(said["send"])
            return None
        name = said[command]
        try:
            event = {"subscribe": "subscribe", "unsubscribe": None, "members": None}.get(
                command, "publish"
            )
            if event is None:
                self._finish(connection, command, name, said, True)
                return None
            granted = self._commands.decide(event, connection, name)
            if isinstance(granted, Awaitable):
                return granted
            self._finish(connection, command, name, said, granted)
        except _Refused as refused:
            _refuse(connection, command, name, said, str(refused))
        except ConnectionClosed:
            pass
        except Exception as error:  # of a listener
            self._commands.failed(error, connection)
        return None

    def _finish(
        self, connection: "Connection", command: str, name: str, said: Fields, granted: object
    ) -> None:
        """Carry out a command that the application lets through, or does not."""
        if granted is not True and not (command == "subscribe" and isinstance(granted, Member)):
            raise _Refused("the application does not allow it")
        commands = self._commands
        if command == "subscribe":
            commands.subscribe(connection, name, said, granted)
        elif command == "unsubscribe":
            commands.unsubscribe(connection, name, said)
        elif command == "members":
            commands.tell_members(connection, name, said)
        else:
            commands.publish(connection, command, name, said)

    async def _carry_out_later(
        self,
        connection: "Connection",
        command: str,
        said: Fields,
        waiting: Awaitable[object] | None,
        turn: "asyncio.Future[None] | None",
    ) -> None:
        """Carry out a command behind those that wait, and let the next one begin."""
        try:
            if turn is not None:
                await turn
                waiting = self._begin(connection, command, said)
            if waiting is not None:
                try:
                    self._finish(connection, command, said[command], said, await waiting)
                except _Refused as refused:
                    _refuse(connection, command, said[command], said, str(refused))
        except ConnectionClosed:
            pass
        finally:
            self._let_next_begin()

    def _let_next_begin(self) -> None:
        while self._waiting:
            turn = self._waiting.popleft()
            if not turn.done():
                turn.set_result(None)
                return
        self._waiting = None


def _read(message: str | bytes) -> tuple[str, Fields] | str:
    """Return a command and its fields, or a sentence that says why a frame is none."""
    if not isinstance(message, str):
        return "expected a text frame"
    try:
        said = json.loads(message)
    except (ValueError, RecursionError):
        return "expected a JSON object"
    if not isinstance(said, dict):
        return "expected a JSON object"
    names = [name for name in _NAMES if name in said]
    if len(names) != 1:
        return f"expected one of {', '.join(_NAMES)}"
    if not isinstance(said[names[0]], str):
        return f"{names[0]}: expected a text"
    return names[0], said


def _message(said: Fields) -> str | bytes:
    """Return the message of a command to publish."""
    message = said.get("message")
    if isinstance(message, str) and "base64" not in said:
        return message
    encoded = said.get("base64")
    if message is not None or not isinstance(encoded, str):
        raise _Refused("expected a text as message, or as base64")
    try:
        return base64.b64decode(encoded, validate=True)
    except (binascii.Error, ValueError):
        raise _Refused("base64: expected RFC 4648") from None


def _answer(connection: "Connection", said: Fields, answer: Fields) -> None:
    """Answer a command, unless the client has gone."""
    if "request" in said:
        answer["request"] = said["request"]
    if not connection._has_left():
        connection.send(encode_json(answer))


def _refuse(connection: "Connection", command: str, name: str, said: Fields, why: str) -> None:
    """Tell a client that a command was not carried out."""
    answer: Fields = {"refused": command, "topic": name, "reason": why}
    if said.get("id") is not None:
        answer["id"] = said["id"]
    _answer(connection, said, answer)

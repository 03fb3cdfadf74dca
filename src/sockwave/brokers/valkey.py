"""Valkey, and Redis 7: publish/subscribe.

`valkey_opening` connects, by the package `valkey`. From then on the two sockets are ours, one to
publish and one that hears; so no timeout of the package's ends a subscription that is silent, and
what comes is read by the compiled core.
"""

import contextlib
import re
from collections import deque
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, TypeAlias

from sockwave.brokers.interface import Bounds, Key, Listener, Loop, Submitted, Wanted
from sockwave.brokers.sockets import BrokerSocket
from sockwave.brokers.valkey_declarations import declare, load_declare
from sockwave.brokers.valkey_globs import compile_glob, escape, glob_of
from sockwave.brokers.valkey_logs import ValkeyLogs, read_page, read_position
from sockwave.brokers.valkey_names import ValkeyNames
from sockwave.brokers.valkey_publishing import take_socket
from sockwave.brokers.valkey_retries import Numbered, Retries, is_moving
from sockwave.brokers.valkey_streams import ValkeyStreams
from sockwave.core.topics.bridge import Bridge
from sockwave.core.topics.resp import RespError, RespReader, pack_command
from sockwave.errors import SockwaveError

# Topics of one command: so none is long, and answers come between them.
_BATCH_COUNT = 500

# Nothing more is published while so much waits to be sent; it waits, counted, with the bridge.
_FULL_SIZE = 1 << 20

# What takes the answer to a command.
Expected: TypeAlias = Callable[[Any], None]


class ValkeySession:
    """Two connections to one server: one that publishes, and one that hears."""

    _publish_word = b"PUBLISH"

    def __init__(
        self, loop: Loop, bridge: Bridge, connections: list[Any], names: ValkeyNames
    ) -> None:
        self._loop = loop
        self._bridge = bridge
        self._connections = connections  # each closes its socket when it goes
        self._names = names
        begin = names.of(b"")
        self._topics = begin + b":t:"
        self._broadcasts = begin + b":b"
        self._members = begin + b":h"
        self._canary = names.home + b":c:" + bridge.host.encode()
        #: Of what is subscribed to by patterns: glob → those who want it, and how it matches.
        self._globs: dict[bytes, set[str]] = {}
        self._confirmed_globs: dict[bytes, re.Pattern[bytes]] = {}
        #: For each message that the server has not answered: whether it must reach ourselves; None:
        #: it is the canary. Or else what takes the answer.
        self._unanswered: deque[bool | Expected | None] = deque()
        self._logs = ValkeyLogs(names)
        #: What is asked again while its keys are on their way to another server.
        self.retries = Retries(loop, self.ask, self._note_postponed)
        #: What is done for streams.
        self.streams = ValkeyStreams(self, bridge, names)
        #: The topics that are subscribed to at this place of what the server sends; and those of
        #: them that we have not left: each message of theirs that we publish has to reach us.
        self._subscribed: set[bytes] = set()
        self._coming: set[bytes] = set()
        self._replies = RespReader()
        self._pushes = RespReader(bridge, self._topics, self._take_push)
        self._has_scripts = self._is_watching = False
        self._generation: bytes | None = None
        self.heard_count = 0
        self.answer_count = 0

    def begin(self, listener: Listener) -> None:
        """Start to read, and subscribe to broadcasts and to the canary."""
        self._listener = listener
        publisher, subscriber = (take_socket(one) for one in self._connections)
        self._publisher = BrokerSocket(
            self._loop, publisher, took=self._take_replies, lost=self._lose, drained=self._drain
        )
        self._subscriber = BrokerSocket(
            self._loop, subscriber, took=self._take_pushes, lost=self._lose
        )
        self._begin_hearing()

    def _begin_hearing(self) -> None:
        """Subscribe to what all hosts hear, and behind that to the canary."""
        self._subscriber.write(
            pack_command(b"SUBSCRIBE", self._members, self._broadcasts, self._canary)
        )

    def abandon(self) -> None:
        """In a forked child, let go of what is the parent's."""
        self._publisher.abandon()
        self._subscriber.abandon()

    def close(self) -> None:
        """End the session."""
        self.retries.close()
        self.streams.close()
        self._publisher.close()
        self._subscriber.close()
        for connection in self._connections:
            with contextlib.suppress(OSError):
                connection.disconnect()

    def _lose(self, error: Exception) -> None:
        self.close()
        self._listener.lost(error)

    # ---- publishing

    @property
    def is_full(self) -> bool:
        """Whether so much waits to be sent that nothing should be added."""
        return self._publisher.waiting_size >= _FULL_SIZE

    @property
    def unanswered_count(self) -> int:
        """How many messages the server has not answered."""
        return sum(isinstance(one, bool) for one in self._unanswered)

    def publish(self, messages: Iterable[tuple[bytes, bytes]]) -> None:
        """Publish messages, in one write."""
        commands = []
        for name, message in messages:
            commands.append(self._names.publish(name, message))
            self._unanswered.append(not name or name in self._coming)
        self._publisher.write(b"".join(commands))

    def submit(self, messages: Iterable[Submitted]) -> None:
        """Publish messages on topics that have a history: the bridge is told of their places."""
        self._load_scripts()
        for message in messages:
            (incarnation, sequence), name, *_ = message
            self.retries.place(
                self._names.of(name),
                partial(self._write_message, message),
                partial(self._take_place, message[0]),
                Numbered((name, incarnation), sequence if incarnation else 0),
            )

    def _write_message(self, message: Submitted, before: int) -> bytes:
        return self._logs.publish(message, *self._bridge.placements.placed(message[1]), before)

    def read_log(self, name: bytes, number: int, epoch: int, offset: int, bounds: Bounds) -> None:
        """Read a log behind a position: the bridge gets a page, as that of this number."""
        self._load_scripts()
        command = self._logs.read(name, epoch, offset, bounds)
        self.retries.read(self._names.of(name), command, partial(self._take_page, name, number))

    def _load_scripts(self) -> None:
        if not self._has_scripts:
            self._has_scripts = True
            self._unanswered.extend((self._take_loaded, self._take_loaded))
            self._publisher.write(self._logs.load())
            self.watch_keys()

    def _take_loaded(self, reply: Any) -> None:
        """Take the answer to a script: who may not load it is refused what it does, each time."""
        if not (isinstance(reply, RespError) and str(reply).startswith("NOPERM")):
            self.check(reply)

    def _take_place(self, key: Key, reply: Any) -> None:
        if isinstance(reply, RespError) and not self._is_passing(reply):
            self._listener.refused(self._explain(reply))
            self._bridge.placements.refused(key, self._explain(reply))
        else:
            self.check(reply)
            self._bridge.placements.answered(key, *read_position(reply))
        self._listener.messages_came()

    def _take_page(self, name: bytes, number: int, reply: Any) -> None:
        if isinstance(reply, RespError) and not self._is_passing(reply):
            self._listener.refused(self._explain(reply))
            self._bridge.logs.unread(name, number)
        else:
            self.check(reply)
            self._bridge.logs.read(name, number, *read_page(reply))
        self._listener.messages_came()

    def declare(self, declared: Iterable[tuple[str, Bounds | None]]) -> None:
        """Tell programs that are no hosts what is kept of topics; None: they are plain ones."""
        self.watch_keys()
        self.ask(load_declare(), self._take_declared)
        declared = list(declared)
        for begin in self._names.begins:
            for command in declare(begin, declared):
                self.retries.change(begin, command, self._take_declared)

    @property
    def is_declaring(self) -> bool:
        """False: the server has it before the canary that follows."""
        return False

    def _take_declared(self, reply: Any) -> None:
        if isinstance(reply, RespError) and not self._is_passing(reply):
            self._listener.refused(self._explain(reply))
        else:
            self.check(reply)

    # ---- for `streams`

    def ask(self, command: bytes, expected: Expected) -> None:
        """Send a command, and have something take the answer."""
        self._unanswered.append(expected)
        self._publisher.write(command)

    def check(self, reply: Any) -> None:
        """Raise SockwaveError where the session cannot go on with an answer."""
        if isinstance(reply, RespError):
            raise SockwaveError(f"Valkey: {self._explain(reply)}")

    def _explain(self, error: RespError) -> str:
        """Return what the server says, and what to do where it is one of a cluster."""
        if str(error).startswith(("MOVED", "CROSSSLOT")):
            return f"{error}: expected a URL with valkey+cluster:// for the server of a cluster"
        return str(error)

    def note_refused(self, reply: RespError) -> None:
        """Note that the server has refused something."""
        self._listener.refused(self._explain(reply))

    def _note_postponed(self, error: str) -> None:
        self._listener.postponed(error)

    def note_came(self) -> None:
        """Note that something has come, and is with the bridge."""
        self._listener.messages_came()

    def tell_hosts(self, messages: Iterable[bytes]) -> None:
        """Tell all hosts of members: the bridge of each hears that."""
        for message in messages:
            self._unanswered.append(self._take_told)
            self._publisher.write(pack_command(self._publish_word, self._members, message))

    def _take_told(self, reply: Any) -> None:
        if isinstance(reply, RespError):
            self._take_refusal(reply)

    def _take_refusal(self, reply: RespError) -> None:
        """Note that the server has not taken something, or lets us not subscribe to it."""
        self._listener.refused(self._explain(reply))

    def _is_passing(self, error: RespError) -> bool:
        """Tell whether what a server refuses now it, or another one, will take later."""
        return str(error).startswith(self._names.passing_errors)

    def _take_marked(self, reply: Any) -> None:
        """Watch no more where we may not; then nothing is kept for us either."""
        if isinstance(reply, RespError) and str(reply).startswith("NOPERM"):
            self._is_watching = False
        elif not is_moving(reply):
            self.check(reply)

    def _take_generation(self, reply: Any) -> None:
        """Read all logs anew where what the server keeps is not what it kept before."""
        if not self._is_watching or is_moving(reply):
            return
        self.check(reply)
        known, self._generation = self._generation, reply
        if known is not None and known != reply:
            self._bridge.logs.read_all()
            self._bridge.declare_again()

    def probe(self) -> None:
        """Send the canary."""
        self._unanswered.append(None)
        self._publisher.write(pack_command(self._publish_word, self._canary, b"1b\n"))
        if self._is_watching:
            self._ask_generation()

    def watch_keys(self) -> None:
        """See from now on, with each canary, whether keys that we need have been deleted."""
        if not self._is_watching:
            self._is_watching = True
            self._ask_generation()

    def _ask_generation(self) -> None:
        self._unanswered.extend((self._take_marked, self._take_generation))
        self._publisher.write(self._logs.ask_generation())

    def _take_replies(self, data: bytes) -> None:
        self.answer_count += 1
        for reply in self._replies.take(data):
            if not self._unanswered:
                raise SockwaveError(f"Valkey: expected no answer, given {reply!r}")
            reaches_us = self._unanswered.popleft()
            if callable(reaches_us):
                reaches_us(reply)
            elif isinstance(reply, RespError):
                self._take_refusal(reply)
            elif reaches_us is None:
                self._listener.probe_answered(reply if isinstance(reply, int) else 0)
            elif reaches_us and not reply:
                self._listener.unheard()

    def _drain(self) -> None:
        self._listener.drained()

    # ---- subscribing

    def subscribe(self, names: Iterable[Wanted]) -> None:
        """Ask for topics and patterns; each is confirmed."""
        channels: list[bytes] = []
        globs: list[bytes] = []
        for name in names:
            if isinstance(name, bytes):
                channels.append(self._topics + name)
                continue
            glob = self._find_glob(name)
            takers = self._globs.setdefault(glob, set())
            takers.add(name)
            if glob in self._confirmed_globs:
                self._listener.confirmed(name)
            elif len(takers) == 1:
                globs.append(glob)
        self._command(b"SUBSCRIBE", channels)
        self._command(b"PSUBSCRIBE", globs)

    def unsubscribe(self, names: Iterable[Wanted]) -> None:
        """Ask for them no more."""
        channels: list[bytes] = []
        globs: list[bytes] = []
        for name in names:
            if isinstance(name, bytes):
                channels.append(self._topics + name)
                self._coming.discard(name)
                continue
            glob = self._find_glob(name)
            takers = self._globs[glob]
            takers.discard(name)
            if not takers:
                del self._globs[glob]
                # Whoever wants it again from now on has to ask for it again.
                self._confirmed_globs.pop(glob, None)
                globs.append(glob)
        self._command(b"UNSUBSCRIBE", channels)
        self._command(b"PUNSUBSCRIBE", globs)

    def _find_glob(self, pattern: str) -> bytes:
        return escape(self._topics) + glob_of(pattern)

    def _command(self, command: bytes, words: list[bytes]) -> None:
        for place in range(0, len(words), _BATCH_COUNT):
            self._subscriber.write(pack_command(command, *words[place : place + _BATCH_COUNT]))

    # ---- what comes

    def _take_pushes(self, data: bytes) -> None:
        self.heard_count += 1
        count = self._pushes.message_count
        self._pushes.take(data)
        if self._pushes.message_count != count:
            self._listener.messages_came()

    def _take_push(self, push: Any) -> None:
        """Take what is no message of a topic that comes by its name."""
        if isinstance(push, RespError):
            self._take_refusal(push)  # what it was about is never confirmed
            return
        if not isinstance(push, list) or len(push) < 3:
            raise SockwaveError("Valkey: expected a message or a confirmation")
        kind, channel, *rest = push
        if kind == b"pmessage" and len(rest) == 2:
            self._take_by_glob(channel, rest[0], rest[1])
        elif kind == b"message" and channel == self._canary:
            self._listener.probe_heard()
        elif kind == b"message" and channel == self._broadcasts:
            self._bridge.broadcast(rest[0])
            self._listener.messages_came()
        elif kind == b"message" and channel == self._members:
            self._bridge.hear(rest[0])
            self._listener.messages_came()
        elif kind in (b"subscribe", b"unsubscribe"):
            if channel == self._canary:
                self._listener.ready()
            elif channel is not None and channel.startswith(self._topics):
                self._take_confirmation(channel.removeprefix(self._topics), kind == b"subscribe")
        elif kind == b"psubscribe":
            self._confirmed_globs[channel] = compile_glob(channel)
            for name in self._globs.get(channel, ()):
                self._listener.confirmed(name)
        elif kind == b"punsubscribe":
            self._confirmed_globs.pop(channel, None)

    def _take_confirmation(self, name: bytes, is_new: bool) -> None:
        if is_new:
            self._subscribed.add(name)
            self._coming.add(name)
            self._listener.confirmed(name)
        else:
            self._subscribed.discard(name)

    def _take_by_glob(self, glob: bytes, channel: bytes, message: bytes) -> None:
        """Take a message that comes for a glob, unless it comes in another way, too.

        The server sends it once for the channel, and once for each glob. What it has confirmed up
        to this place of the stream is just what was subscribed to when it sent the message.
        """
        name = channel.removeprefix(self._topics)
        if name in self._subscribed:
            return
        for other, matching in self._confirmed_globs.items():
            if other == glob:
                break
            if matching.fullmatch(channel):
                return
        if self._bridge.take(name, message):
            self._listener.messages_came()

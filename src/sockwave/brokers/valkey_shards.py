"""A session with one shard of a cluster of Valkey, or of Redis 7: sharded publish/subscribe.

What differs from a server that is alone: a channel is heard at the shard that has its slot, and one
command has the channels of one slot. There are no patterns: whoever wants one hears all topics of
the shard, each bucket of them by a channel of its own. And slots move to other shards: the session
ends then, and the next one has what the shard has.
"""

from collections import Counter
from collections.abc import Iterable
from typing import Any

from sockwave.brokers.interface import Loop, Wanted
from sockwave.brokers.valkey import ValkeySession
from sockwave.brokers.valkey_names import TAG_SIZE, ShardNames
from sockwave.core.topics.bridge import Bridge
from sockwave.core.topics.resp import RespError, RespReader, pack_command
from sockwave.errors import SockwaveError


class ShardSession(ValkeySession):
    """Two connections to one shard: one that publishes, and one that hears."""

    _publish_word = b"SPUBLISH"

    def __init__(
        self, loop: Loop, bridge: Bridge, connections: list[Any], names: ShardNames
    ) -> None:
        super().__init__(loop, bridge, connections, names)
        self._pushes = RespReader(
            bridge, names.prefix + b":{", self._take_push, tag_size=TAG_SIZE, tail=b"}:t:"
        )
        self._begin_size = len(names.home)
        #: The channels of all topics of a bucket; those that come; and the patterns that want them.
        self._whole = [begin + b":a" for begin in names.begins]
        self._heard_whole: set[bytes] = set()
        self._patterns: set[str] = set()
        #: How often each of them has been left without its being confirmed.
        self._left_whole: Counter[bytes] = Counter()

    def _begin_hearing(self) -> None:
        """Subscribe to what all hosts hear, where that is here, and behind that to the canary."""
        if self._names.of(b"") in self._names.begins:
            self._write(b"SSUBSCRIBE", [self._members, self._broadcasts])
        self._write(b"SSUBSCRIBE", [self._canary])

    def _write(self, command: bytes, channels: list[bytes]) -> None:
        """Write commands, each with channels of one slot."""
        channels.sort()
        place = 0
        for end, channel in enumerate(channels, 1):
            begin = channel[: self._begin_size]
            if end == len(channels) or channels[end][: self._begin_size] != begin:
                self._command(command, channels[place:end])
                place = end

    # ---- publishing

    def publish(self, messages: Iterable[tuple[bytes, bytes]]) -> None:
        """Publish messages, in one write."""
        commands = []
        for name, message in messages:
            commands.append(self._names.publish(name, message))
            self._unanswered.append(not name or name in self._coming)
            if name:
                self._unanswered.append(take_nothing)  # of those who want patterns
        self._publisher.write(b"".join(commands))

    def probe(self) -> None:
        """Send the canary, and ask whether the server is a primary yet."""
        super().probe()
        self.ask(pack_command(b"ROLE"), self._take_role)

    def _take_role(self, reply: Any) -> None:
        if isinstance(reply, list) and reply and reply[0] != b"master":
            raise SockwaveError("Valkey: expected the primary of the shard, which is another one")

    def _take_refusal(self, reply: RespError) -> None:
        """Note that the shard has not taken something: perhaps another one will."""
        self._listener.refused(str(reply))
        if self._is_passing(reply):
            self.check(reply)

    def _explain(self, error: RespError) -> str:
        return str(error)

    # ---- subscribing

    def subscribe(self, names: Iterable[Wanted]) -> None:
        """Ask for topics and patterns; each is confirmed."""
        channels: list[bytes] = []
        for name in names:
            if isinstance(name, bytes):
                channels.append(self._names.of(name) + b":t:" + name)
            elif len(self._heard_whole) == len(self._whole):
                self._patterns.add(name)
                self._listener.confirmed(name)
            else:
                if not self._patterns:
                    channels += self._whole
                self._patterns.add(name)
        self._write(b"SSUBSCRIBE", channels)

    def unsubscribe(self, names: Iterable[Wanted]) -> None:
        """Ask for them no more."""
        channels: list[bytes] = []
        for name in names:
            if isinstance(name, bytes):
                channels.append(self._names.of(name) + b":t:" + name)
                self._coming.discard(name)
            else:
                self._patterns.discard(name)
                if not self._patterns:
                    # Whoever wants a pattern from now on has to ask for all of them again.
                    channels += self._whole
                    self._heard_whole.clear()
                    self._left_whole.update(self._whole)
        self._write(b"SUNSUBSCRIBE", channels)

    # ---- what comes

    def _take_push(self, push: Any) -> None:
        """Take what is no message of a topic that comes by its name."""
        if isinstance(push, RespError):
            self._take_refusal(push)  # what it was about is never confirmed
            return
        if not isinstance(push, list) or len(push) != 3:
            raise SockwaveError("Valkey: expected a message or a confirmation")
        kind, channel, content = push
        if kind == b"smessage":
            self._take_message(channel, content)
        elif kind == b"ssubscribe":
            self._take_subscribed(channel)
        elif kind == b"sunsubscribe" and channel is not None:
            self._take_unsubscribed(channel)

    def _take_message(self, channel: bytes, message: bytes) -> None:
        what = channel[self._begin_size :]
        if channel == self._canary:
            self._listener.probe_heard()
        elif what == b":a":
            name, _, message = message.partition(b"\n")
            # What comes by the topic's own channel is no news. What the shard has confirmed up to
            # this place of the stream is just what was subscribed to when it sent the message.
            if name not in self._subscribed and self._bridge.take(name, message):
                self._listener.messages_came()
        elif channel == self._broadcasts:
            self._bridge.broadcast(message)
            self._listener.messages_came()
        elif channel == self._members:
            self._bridge.hear(message)
            self._listener.messages_came()

    def _take_subscribed(self, channel: bytes) -> None:
        what = channel[self._begin_size :]
        if channel == self._canary:
            self._listener.ready()
        elif what == b":a":
            self._heard_whole.add(channel)
            if len(self._heard_whole) == len(self._whole):
                for pattern in self._patterns:
                    self._listener.confirmed(pattern)
        elif what.startswith(b":t:"):
            self._take_confirmation(what[3:], True)

    def _take_unsubscribed(self, channel: bytes) -> None:
        """Note what does not come any more, as we have left it, or as its slot has moved."""
        what = channel[self._begin_size :]
        name = what[3:] if what.startswith(b":t:") else None
        if name and name not in self._coming:
            self._take_confirmation(name, False)
        elif self._left_whole[channel]:
            self._left_whole[channel] -= 1
            self._heard_whole.discard(channel)
        else:
            raise SockwaveError("Valkey: its slots have moved to another shard")


def take_nothing(reply: Any) -> None:
    """Take an answer that says nothing: what it is about failed, or went well, with another one."""

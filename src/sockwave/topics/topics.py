"""The topics of one server, in this process: what is not done for every message."""

import asyncio
import json
import logging
import time
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Generator, Hashable, Iterable
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

from sockwave.core.topics.catching_up import Replay
from sockwave.core.topics.link import SequencerLink
from sockwave.core.topics.publication import Publication, Subscribing
from sockwave.core.topics.subscribers import Subscribers
from sockwave.core.topics.table import TopicTable
from sockwave.core.topics.wants import ask_for, subscribed_at
from sockwave.core.topics.wildcards import Patterns, check_pattern, is_pattern
from sockwave.deliveries import Position, Subscribed
from sockwave.errors import SockwaveError
from sockwave.json_codec import encode_json
from sockwave.limits import Limits
from sockwave.messages import MAX_SHARED_KEY_SIZE, Message
from sockwave.topics.connecting import SequencerConnection, describe_process
from sockwave.topics.health import Health
from sockwave.topics.presence import (
    Members,
    OwnMember,
    Snapshot,
    check_key,
    encode_data,
)
from sockwave.topics.settings import Declarations, TopicSettings, check_presence, check_single

if TYPE_CHECKING:
    from sockwave.core.session.connection import Connection
    from sockwave.topics.hosts import OtherHosts

logger = logging.getLogger("sockwave")

# How often topics are looked for that nobody uses.
_SWEEP_S = 10.0

# Connections that are brought up to date at a time: after a restart, thousands come back at once,
# and what they have missed is not to hold up what is new.
_REPLAY_COUNT = 64

# A sequencer that does not come meanwhile is waited for while the worker serves.
_START_S = 5.0

# For the answer of a sequencer that is there.
_ANSWER_S = 10.0

#: The close code and the reason for those who have to come back, as messages are missing for good.
_COME_BACK = (1013, "retry=1")


class Host(Protocol):
    """The host of the server; see `runtime.host`."""

    loop: asyncio.AbstractEventLoop
    is_running: bool
    hub: Any
    calls: Any

    def report(self, error: BaseException, connection: "Connection | None") -> None:
        """Emit `error`, or log it."""


class Entering(Awaitable[Subscribed]):
    """An awaitable of a Subscribed, of a connection that is not there yet.

    It need not be awaited, and a task that is cancelled while it waits changes nothing.
    """

    def __init__(self, future: "asyncio.Future[Subscribed]") -> None:
        #: What gets the outcome.
        self.future = future

    def __await__(self) -> Generator[Any, None, Subscribed]:
        return asyncio.shield(self.future).__await__()


class Topics:
    """The topics of one server, in this process."""

    def __init__(
        self,
        host: Host,
        limits: Limits,
        slow: str,
        *,
        count_limit: Callable[[str], None],
        make_link: "Callable[[Topics], SequencerLink]",
        attend: "Callable[[Connection], None]",
    ) -> None:
        """Take what the server has.

        `make_link` makes the way to the sequencer when it is needed first; `attend` takes the
        commands of a connection.
        """
        self._host = host
        self._make_link = make_link
        #: Counts that a limit was applied.
        self.count_limit = count_limit
        self.attend = attend
        self.limits = limits
        self.declarations = Declarations()
        self.table = TopicTable(self, limits, slow)
        self._link: SequencerLink | None = None
        self._connection: SequencerConnection | None = None
        self._listeners = Patterns()
        self._events: dict[str, dict[str, list[tuple[Callable[..., object], int]]]] = {}
        self._members: dict[str, Members] = {}
        self._replay_count = 0
        self._waiting_replays: deque[Replay] = deque()
        self._sweeping: asyncio.TimerHandle | None = None
        self._ticking: asyncio.TimerHandle | None = None
        #: Whether something was declared while the sequencer was away.
        self._is_declared_late = False
        #: Whether other processes serve the same addresses, of which there is no telling.
        self.is_alone_among_others = False
        #: The way to other hosts; None: there is no broker.
        self.hosts: OtherHosts | None = None

    # ---- the way to the sequencer

    @property
    def link(self) -> SequencerLink:
        """The way to the sequencer, which is made when it is asked for first."""
        if self._link is None:
            self._link = self.table.uplink = self._make_link(self)
            self._link.greet(describe_process(), self.declarations.encode())
        return self._link

    async def join_workers(self, path: str) -> None:
        """Share topics with the other workers, by the sequencer that listens at a path.

        Waits until it is there, but not for long.
        """
        broker = None if self.hosts is None else self.hosts.describe()
        self._connection = SequencerConnection(self, path, broker)
        self._link = self.table.uplink = self._connection.link
        if self.hosts is not None:
            self.hosts.watch(self._link)
        self._connection.connect()
        end = time.monotonic() + _START_S
        while not self.link.output.is_open and time.monotonic() < end:  # noqa: ASYNC110 - only at the start
            await asyncio.sleep(0.002)

    def reach_hosts(self, hosts: "OtherHosts") -> None:
        """Take a broker. Raises SockwaveError where what was declared cannot be with one."""
        for pattern, settings in self.declarations.items():
            hosts.check_settings(pattern, settings)
        self.hosts = hosts

    async def join_hosts(self) -> None:
        """Share topics with other hosts, by a broker, if there is one.

        Waits until it is there, but not for long.
        """
        if self.hosts is not None:
            self.is_alone_among_others = False
            self.link.is_remote = True
            await self.hosts.connect(self.link, self._host.loop)

    def broker_told(self, state: bytes) -> None:
        """Note what the sequencer tells of the broker."""
        if self.hosts is not None:
            self.hosts.told(state)

    def check_publishing(self) -> None:
        """Raise SockwaveError where nothing is to be published, as the broker is away."""
        if self.hosts is not None:
            self.hosts.check()

    def find_health(self) -> Health:
        """Return how the way to other hosts is."""
        return Health("ok", None) if self.hosts is None else self.hosts.find_health()

    def abandon(self) -> None:
        """In a forked child, let go of what is the parent's."""
        self.table.submissions = None
        if self.hosts is not None:
            self.hosts.abandon()
        if self._connection is not None:
            self._connection.abandon()

    @property
    def is_shared(self) -> bool:
        """Whether there are other workers."""
        return self._link is not None and self._link.is_remote

    def start(self) -> None:
        """Begin to look for topics that nobody uses: the server runs."""
        self._sweeping = self._host.loop.call_later(_SWEEP_S, self._sweep)

    def end(self) -> None:
        """Let everything go: the server has ended."""
        if self._sweeping is not None:
            self._sweeping.cancel()
        if self._ticking is not None:
            self._ticking.cancel()
        self.table.submissions = None
        if self._connection is not None:
            self._connection.close()
        if self.hosts is not None:
            self.hosts.close()
        if self._link is not None:
            self._link.give_up(SockwaveError("the server has ended: expected to publish before"))

    def _sweep(self) -> None:
        """Forget the topics that nobody uses."""
        self._sweeping = self._host.loop.call_later(_SWEEP_S, self._sweep)
        for topic in self.table.sweep():
            if topic.is_kept or topic.replay_count or topic.name in self._members:
                continue
            if self._link is not None:
                self._link.forget(topic)
            self.table.forget(topic)

    def declare(self, pattern: str, settings: TopicSettings) -> None:
        """Declare a topic or a pattern. Raises SockwaveError for one that is in use already."""
        checked = check_pattern(pattern, self.limits.topic_name_size)
        if self.hosts is not None:
            self.hosts.check_settings(checked, settings)
        before = self.declarations.find(checked)
        self.declarations.declare(checked, settings)
        for name in self._used_by(checked):
            topic = self.table.topics[name]
            if self.declarations.find(name) is settings and topic.settings is not settings:
                self.declarations.declare(checked, before)
                raise SockwaveError(
                    f"topic {name!r} is in use: expected to be declared before anybody subscribes"
                )
        if self._link is None:
            return
        if self._link.output.is_open:
            self._link.declare(self.declarations.encode(checked))
        else:
            self._is_declared_late = True

    def _used_by(self, pattern: str) -> Iterable[str]:
        """List the topics in use of which some may match a pattern, or the one of that name."""
        topics = self.table.topics
        return topics if is_pattern(pattern) else topics.keys() & {pattern}

    def check_name(self, name: str) -> None:
        """Raise TypeError or ValueError for what is no name of a topic, and no pattern."""
        check_pattern(name, self.limits.topic_name_size)

    def settings_for(self, name: str) -> TopicSettings:
        """Return what the application has declared of a topic."""
        return self.declarations.find(name)

    def report(self, error: BaseException) -> None:
        """Report an error that no caller could see."""
        self._host.report(error, None)

    def call_later(self, call: Callable[[], object]) -> None:
        """Call something in one of the next turns of the loop."""
        self._host.loop.call_later(0.01, call)

    def clock(self) -> float:
        """Return the time for a sequencer in this process: the loop's, which may be virtual.

        Until the server runs, that is the clock which all loops of asyncio have.
        """
        return self._host.loop.time() if self._host.is_running else time.monotonic()

    def call_at(self, due_s: float, tick: Callable[[], object]) -> None:
        """Call something at a time of `clock`."""
        self._ticking = self._host.loop.call_later(max(due_s - self.clock(), 0.001), tick)

    def warn_alone(self) -> None:
        """Warn, once, that a message stays in this process, of several that serve together."""
        if self.is_alone_among_others and self._connection is None:
            self.is_alone_among_others = False
            logger.warning(
                "a message of a topic stays in this process: there are others, but no sequencer "
                "that connects them. Expected `sockwave serve --workers` or `server.run(workers=)`"
            )

    # ---- subscribing

    def subscribe(
        self,
        connection: "Connection",
        topic: Subscribers,
        since: Position | str | None = None,
        member: str | None = None,
        data: object = None,
        after: Callable[[Subscribed], object] | None = None,
    ) -> Awaitable[Subscribed]:
        """Let a connection hear a topic; `after` is called when it does, with the outcome."""
        position = None
        if since is not None:
            if topic.is_pattern:
                raise ValueError(f"since: expected with one topic, given with {topic.name!r}")
            position = Position.parse(since)
        if member is not None or data is not None:
            check_presence(topic.name, topic.settings)
            key = str(connection.id) if member is None else check_key(member)
            encoded = b"null" if data is None else encode_data(data)
            self.table.admit(connection, topic)
            self._join(connection, topic, key, encoded)  # first: who is there counts it too
        return self._enter(connection, topic, position, after)

    def _enter(
        self,
        connection: "Connection",
        topic: Subscribers,
        since: Position | None,
        after: Callable[[Subscribed], object] | None,
    ) -> Awaitable[Subscribed]:
        table = self.table
        is_in = table.admit(connection, topic)
        mine = table.subscriptions_of(connection)
        if mine.replays and topic.name in mine.replays:
            if since is None:
                replay: Replay = mine.replays[topic.name]
                return Entering(replay.future)
            self.end_replay(connection, topic.name)
        if not topic.is_sequenced and not self.is_shared and since is None:
            if not is_in:
                table.add(connection, topic)
            return self._entered(Subscribed(None, False), after)
        link = self.link
        if since is not None or (topic.is_stream and not is_in):
            return self._replay(connection, topic, since, after)
        if not is_in:
            table.add(connection, topic)
        if ask_for(link.output, topic):
            return self._entered(subscribed_at(topic), after)
        return self._await_wanted(topic, after)

    def _entered(
        self, subscribed: Subscribed, after: Callable[[Subscribed], object] | None
    ) -> Awaitable[Subscribed]:
        if after is not None:
            after(subscribed)
        return Subscribing(subscribed)

    def _await_wanted(
        self, topic: Subscribers, after: Callable[[Subscribed], object] | None
    ) -> Awaitable[Subscribed]:
        """Return what is done once the sequencer sends a topic to this worker."""
        waiter: asyncio.Future[Subscribed] = self._host.loop.create_future()
        if after is not None:
            tell = after
            waiter.add_done_callback(lambda done: done.exception() or tell(done.result()))
        topic.waiters = [*(topic.waiters or ()), waiter]
        return Entering(waiter)

    def _replay(
        self,
        connection: "Connection",
        topic: Subscribers,
        since: Position | None,
        after: Callable[[Subscribed], object] | None,
    ) -> Awaitable[Subscribed]:
        """Send a connection what it has missed first."""
        future: asyncio.Future[Subscribed] = self._host.loop.create_future()
        replay = Replay(self.link.output, self.table, self, connection, topic, since, future, after)
        topic.replay_count += 1
        self.table.suspend(connection, topic)
        mine = self.table.subscriptions_of(connection)
        mine.replays = {**(mine.replays or {}), topic.name: replay}
        if self._replay_count < _REPLAY_COUNT:
            self._replay_count += 1
            replay.start()
        else:
            self._waiting_replays.append(replay)
        return Entering(future)

    def replay_over(self, was_started: bool) -> None:
        """Start the next connection that waits to be brought up to date."""
        if was_started:
            self._replay_count -= 1
        while self._waiting_replays and self._replay_count < _REPLAY_COUNT:
            replay = self._waiting_replays.popleft()
            if not replay.is_over:
                self._replay_count += 1
                replay.start()

    def end_replay(self, connection: "Connection", name: str) -> None:
        """Stop to bring a connection up to date."""
        mine = self.table.subscriptions_of(connection)
        if mine.replays and name in mine.replays:
            replay: Replay = mine.replays[name]
            replay.cancel()
            self.table.look_if_empty(replay.topic)

    def gap_told(self, topic: Subscribers) -> None:
        """Messages are missing for good: have those come back who cannot be told of it."""
        if topic.settings.envelope is None:
            for connection in self.table.plain_connections(topic):
                connection.close(*_COME_BACK)

    def count_dropped(self) -> int:
        """Count the messages of topics that were dropped between the sequencer and this worker."""
        return 0 if self._link is None else self._link.dropped_count

    def messages_dropped(self, name: str, count: int) -> None:
        """Messages of a plain topic were dropped for this worker, which was too slow."""
        logger.warning(
            "topic %r: %d messages were dropped, as this worker was too slow", name, count
        )

    # ---- publishing

    def publish(
        self,
        name: str,
        message: Message,
        *,
        exclude: "Connection | None" = None,
        id: str | None = None,
        compress: bool | None = None,
        slow: str | None = None,
        key: Hashable = None,
    ) -> Any:
        """Publish a message on a topic; from another thread too."""
        host = self._host
        if host.calls is None:
            raise SockwaveError(
                "the server does not run: expected to publish between its start and its end"
            )
        if not host.hub.thread.is_current():
            options: dict[str, Any] = {
                "exclude": exclude,
                "id": id,
                "compress": compress,
                "slow": slow,
                "key": key,
            }
            return host.calls.call(partial(self.publish, **options), (name, message))
        if self.is_alone_among_others:
            self.warn_alone()
        return self.table.publish(name, message, exclude, id, compress=compress, slow=slow, key=key)

    def publish_sequenced(
        self,
        topic: Subscribers,
        message: Message,
        exclude: "Connection | None",
        id: str | None,
        compress: bool | None,
        slow: str | None,
        key: Hashable,
    ) -> Publication:
        """Publish a message on a topic whose messages go through the sequencer."""
        if topic.is_stream:
            raise SockwaveError(f"topic {topic.name!r} is a stream: expected append, given publish")
        link = self.link
        if link.is_refusing:
            self.check_publishing()
        owned = self._host.hub.own(message, compress=compress, slow=slow, key=key)
        meta = _describe(compress, slow, key)
        if slow not in (None, "close") and topic.settings.history is not None:
            raise ValueError(f"slow: expected 'close' with a history, given {slow!r}")
        return link.submissions.submit(topic, owned, id, meta, exclude)

    def relay(
        self,
        topic: Subscribers,
        message: Message,
        compress: bool | None,
        slow: str | None,
        key: Hashable,
    ) -> None:
        """Send a message of a plain topic to the other workers."""
        self.link.submissions.relay(topic, message, _describe(compress, slow, key))

    def append(self, name: str, delta: Message, id: str | None = None) -> Publication:
        """Append to a stream."""
        topic = self._stream(name)
        if self.hosts is None:
            self.table.submissions = self.link.submissions
        return self.link.submissions.append(topic, delta, id)

    def finish(self, name: str, id: str | None = None) -> Publication:
        """Finish a stream."""
        topic = self._stream(name)
        return self.link.submissions.finish(topic, id)

    def _stream(self, name: str) -> Subscribers:
        if self.hosts is not None:
            self.hosts.check_stream(name)
        if self._host.calls is None:
            raise SockwaveError(
                "the server does not run: expected to append between its start and its end"
            )
        if self.hosts is not None:
            self.hosts.check()
        topic = self.table.find(name)
        if not topic.is_stream:
            if topic.is_sequenced:
                raise SockwaveError(
                    f"topic {name!r} has a history or presence: expected publish, given append"
                )
            link = self.link
            topic.is_sequenced = topic.is_stream = topic.is_kept = True
            if len(topic):
                ask_for(link.output, topic)
        return topic

    def topic_forgotten(self, topic: Subscribers) -> None:
        """Note that the sequencer has forgotten a topic: a stream, some time after its end."""
        topic.is_kept = False
        if topic.is_stream:
            topic.is_stream = topic.is_sequenced = False

    # ---- from the other workers

    def broadcast_came(self, message: str | bytes, meta: dict[str, Any]) -> None:
        """Send a broadcast of another worker to the connections of this one."""
        self._host.hub.deliver(
            message,
            compress=meta.get("compress"),
            slow=meta.get("slow"),
            key=meta.get("key"),
        )

    def send_broadcast(
        self,
        message: Message,
        *,
        compress: bool | None = None,
        slow: str | None = None,
        key: Hashable = None,
    ) -> None:
        """Send a broadcast to the other workers, and to other hosts."""
        self.link.submissions.broadcast(message, _describe(compress, slow, key))

    async def count(self, name: str) -> int:
        """Count the connections that hear a topic, on all workers."""
        topic = self.table.find(check_single(name))
        if not self.is_shared:
            return self.table.count(topic)
        answer: asyncio.Future[int] = self._host.loop.create_future()
        self.link.count(topic, _Answer(answer))
        return await asyncio.wait_for(answer, _ANSWER_S)

    # ---- presence

    async def members(self, name: str) -> dict[str, Any]:
        """Return the members of a topic, on all workers."""
        topic = self.table.find(check_single(name))
        check_presence(name, topic.settings)
        answer: asyncio.Future[dict[str, Any]] = self._host.loop.create_future()
        self.link.watch(topic, Snapshot(*_settle(answer)), is_snapshot=True)
        return await asyncio.wait_for(answer, _ANSWER_S)

    def _of(self, topic: Subscribers) -> Members:
        return self._members.setdefault(topic.name, Members())

    def _join(self, connection: "Connection", topic: Subscribers, key: str, data: bytes) -> None:
        """Make a connection a member of a topic, or give its member other data."""
        mine = self.table.subscriptions_of(connection)
        before = (mine.members or {}).get(topic.name)
        if before is not None and before != key:
            self.member_left(connection, topic)
            before = None
        members = self._of(topic)
        own = members.own.get(key)
        if own is None:
            own = members.own[key] = OwnMember(b"")
        if before is None:
            own.count += 1
            mine.members = {**(mine.members or {}), topic.name: key}
        if own.data != data:
            own.data = data
            self.link.join(topic, key.encode(), data)

    def member_left(self, connection: "Connection", topic: Subscribers) -> None:
        """Make a connection no member of a topic any more."""
        mine = self.table.subscriptions_of(connection)
        if not mine.members or topic.name not in mine.members:
            return
        key = mine.members.pop(topic.name)
        members = self._of(topic)
        own = members.own[key]
        own.count -= 1
        if not own.count:
            del members.own[key]
            self.link.leave(topic, key.encode())
        if not members.own and not len(topic):
            self.deserted(topic)

    def watch_for(self, connection: "Connection", topic: Subscribers) -> None:
        """Tell a connection that speaks `sockwave.1` who is there, and of each difference."""
        members = self._of(topic)
        if members.known is not None:
            self._tell_members(connection, topic.name, members.known)
        else:
            members.waiting.append(connection)
        self._watch(topic, members)

    def _watch(self, topic: Subscribers, members: Members) -> None:
        """Have differences told, unless they are."""
        if members.is_watched or not self.link.output.is_open:
            return
        members.is_watched = True

        def known(found: dict[str, Any]) -> None:
            was_known = members.known is not None
            joined, left = members.learn(found)
            waiting, members.waiting = members.waiting, []
            if was_known:
                self._tell_difference(topic, joined, left)
            self._emit_difference(topic, joined, left)
            for connection in waiting:
                self._tell_members(connection, topic.name, found)

        def failed() -> None:
            members.is_watched = False

        self.link.watch(topic, Snapshot(known, failed))

    def members_differ(self, topic: Subscribers, difference: bytes) -> None:
        """Members have come and gone."""
        members = self._members.get(topic.name)
        if members is None or members.known is None:
            return
        found = json.loads(difference)
        joined, left = found.get("join", {}), found.get("leave", {})
        members.change(joined, left)
        self._tell_difference(topic, joined, left)
        self._emit_difference(topic, joined, left)

    def members_unknown(self, topic: Subscribers) -> None:
        """Differences have been dropped: ask who is there."""
        members = self._members.get(topic.name)
        if members is not None and members.is_watched:
            members.is_watched = False
            self._watch(topic, members)

    def _tell_difference(
        self, topic: Subscribers, joined: dict[str, Any], left: dict[str, Any]
    ) -> None:
        """Tell the clients that speak `sockwave.1` who has come and gone."""
        if not joined and not left:
            return
        frame = encode_json({"topic": topic.name, "join": joined, "leave": left})
        self.table.send_commands(topic, frame)

    def _emit_difference(
        self, topic: Subscribers, joined: dict[str, Any], left: dict[str, Any]
    ) -> None:
        """Tell the listeners of the application."""
        for key, data in joined.items():
            self._emit(topic.name, "join", key, data, topic.name)
        for key, data in left.items():
            self._emit(topic.name, "leave", key, data, topic.name)

    def _tell_members(self, connection: "Connection", name: str, members: dict[str, Any]) -> None:
        if not connection._has_left():
            connection.send(encode_json({"topic": name, "members": members}))

    def deserted(self, topic: Subscribers) -> None:
        """Stop watching a topic that nobody hears here any more."""
        members = self._members.get(topic.name)
        if members is not None and not members.own:
            del self._members[topic.name]
            if members.is_watched:
                self.link.unwatch(topic)

    # ---- listeners of topics

    def listen(self, name: str, event: str, listener: Callable[..., object], count: int) -> None:
        """Call a listener at an event of a topic, or of all that a pattern matches."""
        check_pattern(name, self.limits.topic_name_size)
        if event != "unwatched":
            check_presence(name, self.settings_for(name))
        events = self._events.get(name)
        if events is None:
            events = self._events[name] = {}
            self._listeners.add(name, events)
        events.setdefault(event, []).append((listener, count))
        for topic in list(self.table.topics.values()):
            self.look_after(topic)

    def unlisten(self, name: str, event: str, listener: Callable[..., object]) -> None:
        """Remove a listener."""
        found = self._events.get(name, {}).get(event, [])
        for one in reversed(found):
            if one[0] == listener:
                found.remove(one)
                break

    def look_after(self, topic: Subscribers) -> None:
        """Watch a topic with presence, where somebody listens to its events."""
        if topic.settings.has_presence and not topic.is_pattern and self._hears(topic.name):
            self._watch(topic, self._of(topic))

    def _hears(self, name: str) -> bool:
        return any(
            events.get("join") or events.get("leave") for events in self._listeners.match(name)
        )

    def _emit(self, name: str, event: str, *arguments: object) -> None:
        for events in self._listeners.match(name):
            for listener, count in list(events.get(event, ())):
                try:
                    outcome = listener(*arguments[:count])
                except Exception as error:  # of the application
                    self.report(error)
                    continue
                if isinstance(outcome, Coroutine):
                    self._host.hub.start_task(outcome)

    def unwatched(self, topic: Subscribers) -> None:
        """Nobody has heard a stream of ours for a while."""
        self._emit(topic.name, "unwatched", topic.name)

    # ---- the link comes back

    def link_opened(self) -> None:
        """Tell a new sequencer who is here, and what was declared after it was greeted."""
        if self._is_declared_late:
            self._is_declared_late = False
            self.link.declare(self.declarations.encode())
        for name, members in self._members.items():
            topic = self.table.topics.get(name)
            if topic is None:
                continue
            for key, own in members.own.items():
                self.link.join(topic, key.encode(), own.data)
            if members.is_watched or members.waiting:
                members.is_watched = False
                self._watch(topic, members)


class _Answer:
    """Hands an answer of the sequencer to a future."""

    def __init__(self, future: "asyncio.Future[Any]") -> None:
        self.came, self.lost = _settle(future)


def _settle(
    future: "asyncio.Future[Any]",
) -> tuple[Callable[[Any], None], Callable[[], None]]:
    """Return what gives a future its result, and what fails it."""

    def came(value: Any) -> None:
        if not future.done():
            future.set_result(value)

    def lost() -> None:
        if not future.done():
            future.set_exception(SockwaveError("the sequencer has gone: expected to ask again"))

    return came, lost


def _describe(
    compress: bool | None,
    slow: str | None,
    key: Hashable,
) -> dict[str, Any]:
    """Return what other workers are to know of how a message is sent."""
    meta: dict[str, Any] = {}
    if compress is not None:
        meta["compress"] = compress
    if slow is not None:
        meta["slow"] = slow
    if key is not None:
        meta["key"] = key if isinstance(key, (str, int, float, bool)) else repr(key)
        text = str(meta["key"])
        # A character is four bytes at most: few are so many that their bytes have to be counted.
        if 4 * len(text) > MAX_SHARED_KEY_SIZE:
            size = len(text.encode(errors="replace"))
            if size > MAX_SHARED_KEY_SIZE:
                raise ValueError(
                    f"key: expected at most {MAX_SHARED_KEY_SIZE} B for other workers, given {size}"
                )
    return meta

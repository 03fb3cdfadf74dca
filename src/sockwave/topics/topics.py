"""The topics of one server, in this process: what is not done for every message."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Generator, Iterable
from typing import TYPE_CHECKING, Any

from sockwave.core.topics.link import SequencerLink
from sockwave.core.topics.publication import Subscribing
from sockwave.core.topics.subscribers import Subscribers
from sockwave.core.topics.table import TopicTable
from sockwave.core.topics.wants import ask_for, subscribed_at
from sockwave.core.topics.wildcards import check_pattern, is_pattern
from sockwave.deliveries import Position, Subscribed
from sockwave.errors import SockwaveError
from sockwave.limits import Limits
from sockwave.topics.answers import Answer, wait_for
from sockwave.topics.interface import Host
from sockwave.topics.listeners import Listeners
from sockwave.topics.members import check_key, encode_data
from sockwave.topics.presence import Presence
from sockwave.topics.publishing import Publishing
from sockwave.topics.reach import Reach
from sockwave.topics.replays import Replays
from sockwave.topics.settings import Declarations, TopicSettings, check_presence, check_single

if TYPE_CHECKING:
    from sockwave.core.session.connection import Connection

# How often topics are looked for that nobody uses.
_SWEEP_S = 10.0

#: The close code and the reason for those who have to come back, as messages are missing for good.
_COME_BACK = (1013, "retry=1")


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
        #: Counts that a limit was applied.
        self.count_limit = count_limit
        self.attend = attend
        self.limits = limits
        self.declarations = Declarations()
        self.table = TopicTable(self, limits, slow)
        #: The way to the sequencer, and to other hosts.
        self.reach = Reach(self, host, lambda: make_link(self))
        #: What is published here.
        self.publishing = Publishing(host, self.table, self.reach)
        #: Connections that are sent what they have missed.
        self.replays = Replays(host, self.table, self.reach)
        #: The listeners of the application.
        self.listeners = Listeners(host)
        #: The members of topics.
        self.presence = Presence(host, self.table, self.reach, self.listeners)
        self._sweeping: asyncio.TimerHandle | None = None
        self._ticking: asyncio.TimerHandle | None = None

    # ---- its life

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
        self.reach.close()

    def abandon(self) -> None:
        """In a forked child, let go of what is the parent's."""
        self.table.submissions = None
        self.reach.abandon()

    def _sweep(self) -> None:
        """Forget the topics that nobody uses."""
        self._sweeping = self._host.loop.call_later(_SWEEP_S, self._sweep)
        for topic in self.table.sweep():
            if topic.is_kept or topic.replay_count or self.presence.is_known(topic.name):
                continue
            self.reach.forget(topic)
            self.table.forget(topic)

    def report(self, error: BaseException) -> None:
        """Report an error that no caller could see."""
        self._host.report(error, None)

    def clock(self) -> float:
        """Return the time for a sequencer in this process: the loop's, which may be virtual.

        Until the server runs, that is the clock which all loops of asyncio have.
        """
        return self._host.loop.time() if self._host.is_running else time.monotonic()

    def call_at(self, due_s: float, tick: Callable[[], object]) -> None:
        """Call something at a time of `clock`."""
        self._ticking = self._host.loop.call_later(max(due_s - self.clock(), 0.001), tick)

    # ---- what is declared

    def declare(self, pattern: str, settings: TopicSettings) -> None:
        """Declare a topic or a pattern. Raises SockwaveError for one that is in use already."""
        checked = check_pattern(pattern, self.limits.topic_name_size)
        self.reach.check_settings(checked, settings)
        before = self.declarations.find(checked)
        self.declarations.declare(checked, settings)
        for name in self._used_by(checked):
            topic = self.table.topics[name]
            if self.declarations.find(name) is settings and topic.settings is not settings:
                self.declarations.declare(checked, before)
                raise SockwaveError(
                    f"topic {name!r} is in use: expected to be declared before anybody subscribes"
                )
        self.reach.declare(checked)

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
            self.presence.join(connection, topic, key, encoded)  # first: who is there counts it too
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
                return Entering(mine.replays[topic.name].future)
            self.replays.end(connection, topic.name)
        if not topic.is_sequenced and not self.reach.is_shared and since is None:
            if not is_in:
                table.add(connection, topic)
            return self._entered(Subscribed(None, False), after)
        link = self.reach.link
        if since is not None or (topic.is_stream and not is_in):
            return Entering(self.replays.begin(connection, topic, since, after))
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

    def gap_told(self, topic: Subscribers) -> None:
        """Messages are missing for good: have those come back who cannot be told of it."""
        if topic.settings.envelope is None:
            for connection in self.table.plain_connections(topic):
                connection.close(*_COME_BACK)

    async def count(self, name: str) -> int:
        """Count the connections that hear a topic, on all workers."""
        topic = self.table.find(check_single(name))
        if not self.reach.is_shared:
            return self.table.count(topic)
        answer: asyncio.Future[int] = self._host.loop.create_future()
        self.reach.link.count(topic, Answer(answer))
        return await wait_for(answer)

    def listen(self, name: str, event: str, listener: Callable[..., object], count: int) -> None:
        """Call a listener at an event of a topic, or of all that a pattern matches."""
        check_pattern(name, self.limits.topic_name_size)
        if event != "unwatched":
            check_presence(name, self.settings_for(name))
        self.listeners.add(name, event, listener, count)
        for topic in list(self.table.topics.values()):
            self.presence.look_after(topic)

    def link_opened(self) -> None:
        """Tell a new sequencer who is here, and what was declared after it was greeted."""
        self.reach.link_opened()
        self.presence.link_opened()

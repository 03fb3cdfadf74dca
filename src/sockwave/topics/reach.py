"""How far the topics of a server reach: this process, the other workers, and other hosts."""

import asyncio
import logging
import time
from collections.abc import Callable, Hashable
from typing import TYPE_CHECKING, Any

from sockwave.core.topics.link import SequencerLink
from sockwave.errors import SockwaveError
from sockwave.messages import Message
from sockwave.topics.connecting import Owner, SequencerConnection, describe_process
from sockwave.topics.health import Health
from sockwave.topics.interface import Host
from sockwave.topics.sending import describe_sending
from sockwave.topics.settings import TopicSettings

if TYPE_CHECKING:
    from sockwave.core.topics.subscribers import Subscribers
    from sockwave.topics.hosts import OtherHosts

logger = logging.getLogger("sockwave")

# A sequencer that does not come meanwhile is waited for while the worker serves.
_START_S = 5.0


class Reach:
    """The link to the sequencer, in this process or another, and the way to other hosts."""

    def __init__(self, topics: Owner, host: Host, make_link: Callable[[], SequencerLink]) -> None:
        """Take whose link it is, and what makes one to a sequencer in this process."""
        self._topics = topics
        self._host = host
        self._make_link = make_link
        self._link: SequencerLink | None = None
        self._connection: SequencerConnection | None = None
        #: Whether something was declared while the sequencer was away.
        self._is_declared_late = False
        #: Whether other processes serve the same addresses, of which there is no telling.
        self.is_alone_among_others = False
        #: The way to other hosts; None: there is no broker.
        self.hosts: OtherHosts | None = None

    @property
    def link(self) -> SequencerLink:
        """The way to the sequencer, which is made when it is asked for first."""
        if self._link is None:
            self._link = self._topics.table.uplink = self._make_link()
            self._link.greet(describe_process(), self._topics.declarations.encode())
        return self._link

    # ---- coming and going

    async def join_workers(self, path: str) -> None:
        """Share topics with the other workers, by the sequencer that listens at a path.

        Waits until it is there, but not for long.
        """
        broker = None if self.hosts is None else self.hosts.describe()
        self._connection = SequencerConnection(self._topics, path, broker)
        self._link = self._topics.table.uplink = self._connection.link
        if self.hosts is not None:
            self.hosts.watch(self._link)
        self._connection.connect()
        end = time.monotonic() + _START_S
        while not self.link.output.is_open and time.monotonic() < end:  # noqa: ASYNC110 - only at the start
            await asyncio.sleep(0.002)

    def take_hosts(self, hosts: "OtherHosts") -> None:
        """Take a broker. Raises SockwaveError where what was declared cannot be with one."""
        for pattern, settings in self._topics.declarations.items():
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

    def abandon(self) -> None:
        """In a forked child, let go of what is the parent's."""
        if self.hosts is not None:
            self.hosts.abandon()
        if self._connection is not None:
            self._connection.abandon()

    def close(self) -> None:
        """Leave the sequencer and the broker: the server has ended."""
        if self._connection is not None:
            self._connection.close()
        if self.hosts is not None:
            self.hosts.close()
        if self._link is not None:
            self._link.give_up(SockwaveError("the server has ended: expected to publish before"))

    # ---- how it is

    @property
    def is_shared(self) -> bool:
        """Whether there are other workers."""
        return self._link is not None and self._link.is_remote

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

    def count_dropped(self) -> int:
        """Count the messages of topics that were dropped between the sequencer and this worker."""
        return 0 if self._link is None else self._link.dropped_count

    def messages_dropped(self, name: str, count: int) -> None:
        """Messages of a plain topic were dropped for this worker, which was too slow."""
        logger.warning(
            "topic %r: %d messages were dropped, as this worker was too slow", name, count
        )

    def warn_alone(self) -> None:
        """Warn, once, that a message stays in this process, of several that serve together."""
        if self.is_alone_among_others and self._connection is None:
            self.is_alone_among_others = False
            logger.warning(
                "a message of a topic stays in this process: there are others, but no sequencer "
                "that connects them. Expected `sockwave serve --workers` or `server.run(workers=)`"
            )

    # ---- what the sequencer is told

    def check_settings(self, pattern: str, settings: TopicSettings) -> None:
        """Raise SockwaveError for settings that a topic cannot have as far as this reaches."""
        if self.hosts is not None:
            self.hosts.check_settings(pattern, settings)

    def declare(self, pattern: str) -> None:
        """Tell a sequencer that there is what was declared of a topic or a pattern."""
        if self._link is None:
            return
        if self._link.output.is_open:
            self._link.declare(self._topics.declarations.encode(pattern))
        else:
            self._is_declared_late = True

    def link_opened(self) -> None:
        """Tell a new sequencer what was declared after it was greeted."""
        if self._is_declared_late:
            self._is_declared_late = False
            self.link.declare(self._topics.declarations.encode())

    def forget(self, topic: "Subscribers") -> None:
        """Tell a sequencer that there is that nobody here uses a topic any more."""
        if self._link is not None:
            self._link.forget(topic)

    # ---- broadcasts

    def send_broadcast(
        self,
        message: Message,
        *,
        compress: bool | None = None,
        slow: str | None = None,
        key: Hashable = None,
    ) -> None:
        """Send a broadcast to the other workers, and to other hosts."""
        self.link.submissions.broadcast(message, describe_sending(compress, slow, key))

    def broadcast_came(self, message: str | bytes, meta: dict[str, Any]) -> None:
        """Send a broadcast of another worker to the connections of this one."""
        self._host.hub.deliver(
            message,
            compress=meta.get("compress"),
            slow=meta.get("slow"),
            key=meta.get("key"),
        )

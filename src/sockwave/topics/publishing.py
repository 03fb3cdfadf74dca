"""Publishing on the topics of a server: what is not done for every message."""

from collections.abc import Hashable
from functools import partial
from typing import TYPE_CHECKING, Any

from sockwave.core.topics.publication import Publication
from sockwave.core.topics.table import TopicTable
from sockwave.core.topics.wants import ask_for
from sockwave.errors import SockwaveError
from sockwave.messages import Message
from sockwave.topics.interface import Host
from sockwave.topics.reach import Reach
from sockwave.topics.sending import describe_sending

if TYPE_CHECKING:
    from sockwave.core.session.connection import Connection
    from sockwave.core.topics.subscribers import Subscribers


class Publishing:
    """Takes messages, and what is appended to streams, from the application and from clients."""

    def __init__(self, host: Host, table: TopicTable, reach: Reach) -> None:
        self._host = host
        self._table = table
        self._reach = reach

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
        if self._reach.is_alone_among_others:
            self._reach.warn_alone()
        return self._table.publish(
            name, message, exclude, id, compress=compress, slow=slow, key=key
        )

    def publish_sequenced(
        self,
        topic: "Subscribers",
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
        link = self._reach.link
        if link.is_refusing:
            self._reach.check_publishing()
        owned = self._host.hub.own(message, compress=compress, slow=slow, key=key)
        meta = describe_sending(compress, slow, key)
        if slow not in (None, "close") and topic.settings.history is not None:
            raise ValueError(f"slow: expected 'close' with a history, given {slow!r}")
        return link.submissions.submit(topic, owned, id, meta, exclude)

    def relay(
        self,
        topic: "Subscribers",
        message: Message,
        compress: bool | None,
        slow: str | None,
        key: Hashable,
    ) -> None:
        """Send a message of a plain topic to the other workers."""
        self._reach.link.submissions.relay(topic, message, describe_sending(compress, slow, key))

    def append(self, name: str, delta: Message, id: str | None = None) -> Publication:
        """Append to a stream."""
        topic = self._stream(name)
        if self._reach.hosts is None:
            self._table.submissions = self._reach.link.submissions
        return self._reach.link.submissions.append(topic, delta, id)

    def finish(self, name: str, id: str | None = None) -> Publication:
        """Finish a stream."""
        topic = self._stream(name)
        return self._reach.link.submissions.finish(topic, id)

    def _stream(self, name: str) -> "Subscribers":
        if self._reach.hosts is not None:
            self._reach.hosts.check_stream(name)
        if self._host.calls is None:
            raise SockwaveError(
                "the server does not run: expected to append between its start and its end"
            )
        if self._reach.hosts is not None:
            self._reach.hosts.check()
        topic = self._table.find(name)
        if not topic.is_stream:
            if topic.is_sequenced:
                raise SockwaveError(
                    f"topic {name!r} has a history or presence: expected publish, given append"
                )
            link = self._reach.link
            topic.is_sequenced = topic.is_stream = topic.is_kept = True
            if len(topic):
                ask_for(link.output, topic)
        return topic

    def topic_forgotten(self, topic: "Subscribers") -> None:
        """Note that the sequencer has forgotten a topic: a stream, some time after its end."""
        topic.is_kept = False
        if topic.is_stream:
            topic.is_stream = topic.is_sequenced = False

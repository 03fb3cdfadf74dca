"""The topics of a server: declaring them, and publishing on them."""

from collections.abc import Awaitable, Callable, Hashable
from typing import Any

from sockwave.core.session.connection import Connection
from sockwave.deliveries import Envelope, Published
from sockwave.messages import Message, SlowPolicy
from sockwave.runtime.thread_calls import ThreadFuture
from sockwave.server.announcer import Announcer
from sockwave.topics.handle import Topic
from sockwave.topics.health import Health
from sockwave.topics.settings import AUTO, History, TopicSettings


class Publishing(Announcer):
    """The part of `Server` that is about topics."""

    def topic(
        self,
        name: str,
        *,
        slow: SlowPolicy | None = None,
        key: Callable[[Any], Hashable] | None = None,
        history: History | None = None,
        presence: bool = False,
        grace: float = 0.0,
        envelope: Envelope | str | None = AUTO,
        max_subscribers: int | None = None,
    ) -> Topic:
        """Return a topic; with any setting, declare it, or all topics that a pattern matches.

        What is declared by a topic's own name counts; else the pattern that matches it most
        closely. Declare before anybody subscribes, in each worker alike.

        `slow` and `key`: how its messages wait for clients that cannot keep up, as in
        `Connection.send`; with "conflate", `key(message)` says which message replaces which
        (without: each the one before). `history` keeps messages for those who come back with
        `since`. `presence` gives it members, who stay for `grace` seconds behind their last
        connection. `envelope` makes of a `Delivery` what clients receive: "json" (the default with
        a history), "compact", a function, or None (the default without): the message itself.
        `max_subscribers` is for each worker.

        Raises TypeError or ValueError for what cannot be, SockwaveError for a topic in use.
        """
        self._host.hub.thread.check_call("server.topic")
        topic = Topic(self._host.topics, name)
        given: dict[str, Any] = {
            "slow": slow,
            "key": key,
            "history": history,
            "presence": presence or None,
            "grace": grace or None,
            "max_subscribers": max_subscribers,
        }
        settings = {option: value for option, value in given.items() if value is not None}
        if envelope is not AUTO:
            settings["envelope"] = envelope
        if settings:
            self._host.topics.declare(name, TopicSettings(**settings))
        else:
            self._host.topics.check_name(name)
        return topic

    def publish(
        self,
        topic: str,
        message: Message,
        *,
        exclude: Connection | None = None,
        id: str | None = None,
        compress: bool | None = None,
        slow: SlowPolicy | None = None,
        key: Hashable = None,
    ) -> "Awaitable[Published] | ThreadFuture[Published]":
        """Send a str (text) or bytes-like (binary) to all who are subscribed to a topic.

        It is queued at once, for the subscribers of all workers, but not for `exclude`: framed
        once, and compressed once in each worker. Of a topic with a history or presence, all
        subscribers get all messages in one order. `id` names the message where there is a history:
        within five minutes, a second one with the same name is not published, and gets the position
        of the first. `compress`, `slow` and `key` are those of `Connection.send`, in place of the
        topic's own.

        Returns an awaitable of a `Published`: its position, and for how many connections of this
        process it was queued. It need not be awaited, but who publishes faster than the sequencer
        takes it must wait: from 8 MiB on, publishing raises SockwaveError. May be called from any
        thread; there it returns a `concurrent.futures.Future`.

        Raises TypeError or ValueError for a wrong name or message, SockwaveError for a stream, at
        `topic_count`, and when the server does not run.
        """
        publish = self._host.topics.publishing.publish
        published: Awaitable[Published] | ThreadFuture[Published] = publish(
            topic, message, exclude=exclude, id=id, compress=compress, slow=slow, key=key
        )
        return published

    def health(self) -> Health:
        """Return how the way to other hosts is, in one look: whether this host is deaf.

        Without a broker it is always "ok". A load balancer should send clients elsewhere only where
        `is_deaf` is True: while the broker is away, all hosts are "degraded" alike.
        """
        return self._host.topics.reach.find_health()

    async def count(self, topic: str) -> int:
        """Count the connections that are subscribed to a topic, on all workers."""
        return await self._host.topics.count(topic)

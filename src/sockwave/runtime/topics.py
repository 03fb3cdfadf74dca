"""The topics of a server, put together: with its listeners, and the way to its sequencer."""

import time
from collections.abc import Callable
from typing import Protocol

from sockwave.core.limits.counters import LimitCounters
from sockwave.core.session.connection import Connection
from sockwave.core.topics.local import LocalLink
from sockwave.core.topics.sequencer import Sequencer
from sockwave.options import Options
from sockwave.runtime.loop import is_plain
from sockwave.topics.commands import Commands, Listener
from sockwave.topics.interface import Host as TopicsHost
from sockwave.topics.topics import Topics


class Host(TopicsHost, Protocol):
    """The host of the server; see `runtime.host`."""

    limit_counters: LimitCounters

    def takers(self, event: str) -> list[Listener]:
        """Return the listeners of an event, and how many of its arguments each takes."""

    def listener_failed_for(self, error: BaseException, connection: Connection | None) -> None:
        """Report an error of the application, and close the connection that it happened on."""


def make_topics(host: Host, options: Options) -> Topics:
    """Return the topics of a server."""
    limits = options.limits

    def make_link(topics: Topics) -> LocalLink:
        """Return the link to a sequencer in this process."""
        sequencer = Sequencer(
            topic_count=limits.topic_count,
            history_budget=limits.history_budget,
            append_size=limits.append_size,
            clock=find_clock(host, topics),
        )
        return LocalLink(topics.table, topics, sequencer=sequencer)

    topics = Topics(
        host,
        limits,
        options.slow,
        count_limit=host.limit_counters.count_by_name,
        make_link=make_link,
        attend=lambda connection: commands.attend(connection),  # noqa: PLW0108 - made below
    )
    if options.broker is not None:
        reach_hosts(topics, options.broker, options.broker_down)
    commands = Commands(topics, host.takers, host.listener_failed_for)
    return topics


def find_clock(host: Host, topics: Topics) -> Callable[[], float]:
    """Return the clock of the loop that a server runs on, for the sequencer in this process.

    Each message looks at it: where the loop has the clock of all asyncio's own, that is asked
    without the loop.
    """
    return time.monotonic if host.is_running and is_plain(host.loop) else topics.clock


def reach_hosts(topics: Topics, broker: str, broker_down: str) -> None:
    """Have topics reach other hosts. Raises SockwaveError where they cannot."""
    from sockwave.topics.hosts import OtherHosts  # most servers have no broker

    topics.reach.take_hosts(OtherHosts(broker, broker_down))

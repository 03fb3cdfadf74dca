"""What the operator is told of listeners: that there is none, or that its calls do not end."""

import inspect
import logging

from sockwave.core.session.connection import Connection
from sockwave.functions import describe_in_sentence
from sockwave.limits import Limits
from sockwave.log import fields_of, peers

logger = logging.getLogger("sockwave")

# The log lines for calls that are cancelled, and messages that are dropped, after a connection.
_TOO_LATE = "%s: <Connection %s> has ended, and what it had sent was not handled within %g s"
_TOO_MANY_LATE = "%s: <Connection %s> has ended, and too many others with calls that go on"


class ListenerWarnings:
    """The warnings of one server, each of which is logged once."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._has_warned_of_drops = False
        #: Listeners whose stalled calls have been logged.
        self._warned_stalled: set[str] = set()

    def warn_no_listener(self, connection: Connection) -> None:
        """Warn, once, that messages are dropped because the application does not listen."""
        if self._has_warned_of_drops:
            return
        self._has_warned_of_drops = True
        logger.warning(
            "%s: nothing has listened to its messages within %g s (listen_timeout), and they are "
            "dropped until something does: expected a listener of 'message', `async for` or "
            "`receive`. Other connections may be concerned: see dropped_count",
            connection,
            self._limits.listen_timeout,
            extra=fields_of(connection),
        )

    def warn_tasks_stalled(self, connection: Connection, count: int, seconds: float) -> None:
        """Warn, once per listener, that too many of its calls do not end, which pauses reading."""
        listeners = [*connection.listeners("message"), *connection.listeners("json")]
        # Plain functions cannot be among them: they end when they return.
        waiting = [one for one in listeners if inspect.iscoroutinefunction(one)] or listeners
        names = " and ".join(map(describe_in_sentence, waiting)) or "a listener of 'message'"
        if names in self._warned_stalled:
            return
        self._warned_stalled.add(names)
        logger.warning(
            "%s: %d calls of %s (max_tasks) have not ended in %g s, and nothing is read meanwhile. "
            "If they wait for what this client sends next, they wait for ever: expected `async "
            "for` in one task, what takes long in `conn.create_task`, or a larger max_tasks",
            connection,
            count,
            names,
            seconds,
            extra=fields_of(connection),
        )

    def warn_unfinished(self, connection: Connection | None, is_crowded: bool) -> None:
        """Log that a call was cancelled, or messages dropped, some time after their connection."""
        if connection is None:
            logger.warning("a listener of `close` has not ended in time, and is cancelled")
        elif is_crowded:
            peers.warning(_TOO_MANY_LATE, connection, connection.id)
        else:
            peers.warning(_TOO_LATE, connection, connection.id, self._limits.finish_timeout or 0)

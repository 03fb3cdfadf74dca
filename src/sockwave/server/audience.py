"""Everybody who is connected to a server: who it is, what they are told, what it costs."""

from collections.abc import Callable, Hashable
from typing import Any

from sockwave.core.session.connections import Connections
from sockwave.errors import SockwaveError
from sockwave.messages import Message
from sockwave.runtime.host import Handler, Host
from sockwave.runtime.limit_hits import LimitHits
from sockwave.runtime.thread_calls import ThreadCalls, ThreadFuture
from sockwave.server.announcer import Announcer


class Broadcast:
    """A broadcast that another thread has ordered."""

    def __init__(self, host: Host, message: Message, options: dict[str, Any]) -> None:
        self._host = host
        self._message = message
        self._options = options

    def carry_out(self) -> None:
        """Send it."""
        try:
            self._host.hub.broadcast(self._message, **self._options)
        except Exception as error:
            self._host.report(error, None)

    def give_up(self) -> None:
        """Drop it: the loop is gone, and everybody with it."""


class Audience(Announcer):
    """A server as far as it is about all its connections."""

    @property
    def connections(self) -> Connections:
        """The connected clients: a live view, sized, iterable, and by `id`: `connections[id]`."""
        return self._host.clients

    def broadcast(
        self,
        message: Message,
        *,
        compress: bool | None = None,
        slow: str | None = None,
        key: Hashable = None,
    ) -> int:
        """Send a str (text) or bytes-like (binary) to every connected client.

        Returns how many it was queued for. It is framed once, and leaves in one write per
        connection with all else of this turn of the loop. Clients of the drafts get no binary.

        Where permessage-deflate has been agreed on (RFC 7692), messages from the threshold on are
        compressed, once for all that have the same window; `compress` True or False decides
        otherwise for this one. It refers to no other message, as it is for many; what follows it on
        a connection with server context takeover may refer to it.

        `slow` says what becomes of it for who cannot keep up, in place of the option; with
        "conflate", it replaces the message of the same `key` that waits. See `Connection.send`.

        Raises TypeError for anything else, ValueError for a str with a lone surrogate, TypeError or
        ValueError for a policy that does not exist, or a key without "conflate".
        """
        return self._host.hub.broadcast(message, compress=compress, slow=slow, key=key)

    def broadcast_threadsafe(
        self,
        message: Message,
        *,
        compress: bool | None = None,
        slow: str | None = None,
        key: Hashable = None,
    ) -> None:
        """Broadcast from any thread, or from a signal handler: in the next turn of the loop.

        All that is asked for until then is done in that turn, by one wake-up, in the order in which
        it was asked for; a bytes-like message is sent as it is now. There is no bound to what
        waits: a thread that may be faster than the loop waits for
        `call_threadsafe(server.broadcast, message).result()` instead, which gives the count too.

        Raises what `broadcast` raises, and SockwaveError when the server does not run.
        """
        calls, hub = self._calls(), self._host.hub
        owned = hub.own(message, compress=compress, slow=slow, key=key)
        calls.order(Broadcast(self._host, owned, {"compress": compress, "slow": slow, "key": key}))

    def call_threadsafe(self, function: Callable[..., Any], *args: object) -> ThreadFuture[Any]:
        """Call `function(*args)` in the next turn of the server's loop, from any thread.

        What most of this library's methods need, as they may be called in that thread alone:
        `server.call_threadsafe(conn.send, "news")`. It works in a signal handler too. Returns a
        `concurrent.futures.Future` of the result; an awaitable result is awaited in the loop, and
        gives its own. So `result()` waits, after `conn.send`, while the client is slow. To cancel
        it is to cancel that. What it raises and nobody asks for is logged, but for
        ConnectionClosed.

        Raises SockwaveError when the server does not run. Where the loop ends before the call was
        made, or its result was there, the future does.
        """
        if not callable(function):
            raise TypeError(f"function: expected a callable, given {type(function).__name__}")
        return self._calls().call(function, args)

    def _calls(self) -> ThreadCalls:
        """Give what other threads ask by; raises SockwaveError when the server does not run."""
        calls = self._host.calls
        if calls is None:
            raise SockwaveError(
                "the server does not run: expected a call between its start and its end"
            )
        return calls

    @property
    def dropped_count(self) -> int:
        """How many messages were dropped for clients that could not keep up; see `slow`.

        Those that still waited when a connection was aborted, or its closing handshake took too
        long, are among them.
        """
        return self._host.hub.dropped_count

    @property
    def limit_hits(self) -> LimitHits:
        """How often each limit has been applied: a live mapping, option name → count.

        A limit is applied to a connection that is closed for it, to a request that is refused, to a
        message that is dropped, and to who has to wait: each counts once, when it begins. What each
        of them costs, and the name of its metric, stand in the metadata of the fields of `Limits`.
        """
        return LimitHits(self._host.limit_counters)

    def handle_with(self, handler: Handler, *, cancel_on_close: bool = True) -> None:
        """Run `handler(conn)` as a task for each connection, as `serve` does.

        The connection is closed when it returns, with 1011 when it raises. When the connection
        ends first, the handler is cancelled: not before it has been given all messages that came,
        nor while it may be at work on the last one, for which it has `finish_timeout` seconds; who
        asks for one more is told, and not cancelled meanwhile. With `cancel_on_close` False it goes
        on, until it returns or the server has closed.

        Raises TypeError for what is no async function of one argument.
        """
        self._host.hub.thread.check_call("server.handle_with")
        self._host.handle_with(handler, cancel_on_close)

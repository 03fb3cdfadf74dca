"""All connections of a server: a view of them, broadcasts, calls from threads, and counters."""

from collections.abc import Callable, Hashable
from typing import Any

from sockwave.core.session.connections import Connections
from sockwave.errors import SockwaveError
from sockwave.json_codec import encode_json
from sockwave.messages import Message, SlowPolicy
from sockwave.runtime.handlers import Handler, connect_handler
from sockwave.runtime.host import Host
from sockwave.runtime.limit_hits import LimitHits
from sockwave.runtime.thread_calls import ThreadCalls, ThreadFuture
from sockwave.server.publishing import Publishing


class Broadcast:
    """The job of a broadcast that another thread has submitted."""

    def __init__(self, host: Host, message: Message, options: dict[str, Any]) -> None:
        self._host = host
        self._message = message
        self._options = options

    def run(self) -> None:
        """Send the broadcast."""
        try:
            self._host.hub.broadcast(self._message, **self._options)
        except Exception as error:
            self._host.report(error, None)

    def loop_ended(self) -> None:
        """Drop the broadcast: the loop has ended, and all connections with it."""


class Audience(Publishing):
    """The part of `Server` that is about all its connections."""

    @property
    def connections(self) -> Connections:
        """The connected clients: a live view, sized, iterable, and by `id`: `connections[id]`.

        They are those of this process; `await server.count(topic)` is about all workers.
        """
        return self._host.clients

    def broadcast(
        self,
        message: Message,
        *,
        compress: bool | None = None,
        slow: SlowPolicy | None = None,
        key: Hashable = None,
    ) -> int:
        """Send a str (text) or bytes-like (binary) to every connected client.

        Returns the number of clients of this process that it was queued for; where there are other
        workers, it reaches theirs too. It is framed once, and leaves in one
        write per connection together with everything else of this turn of the loop. Clients of the
        hixie drafts get no binary messages.

        To clients with permessage-deflate (RFC 7692), messages of at least the threshold are sent
        compressed, once for all that have the same window; `compress` True or False overrides that
        for this message. It refers to no earlier message, as it is for many clients; with server
        context takeover, later messages may refer to it.

        `slow` overrides, for this message, the option for clients that cannot keep up; with
        "conflate", it replaces the waiting message of the same `key`. See `Connection.send`.

        Raises TypeError for any other message, ValueError for a str with a lone surrogate,
        TypeError or ValueError for an unknown policy, or a key without "conflate".
        """
        return self._host.hub.broadcast(message, compress=compress, slow=slow, key=key)

    def broadcast_json(
        self,
        value: object,
        *,
        compress: bool | None = None,
        slow: SlowPolicy | None = None,
        key: Hashable = None,
    ) -> int:
        """Send a value as JSON (RFC 8259) to every connected client; see `broadcast`.

        It is encoded once. Raises TypeError for a value that JSON cannot say (see
        `Connection.send_json`), ValueError for NaN, infinity and what contains itself.
        """
        self._host.hub.thread.check_call("server.broadcast_json")
        return self.broadcast(encode_json(value), compress=compress, slow=slow, key=key)

    def broadcast_threadsafe(
        self,
        message: Message,
        *,
        compress: bool | None = None,
        slow: SlowPolicy | None = None,
        key: Hashable = None,
    ) -> None:
        """Broadcast from any thread, or from a signal handler: in the next turn of the loop.

        All broadcasts and calls until then are made in that turn, by one wake-up, in their order; a
        bytes-like message is copied now. Their number is not limited: a thread that may be faster
        than the loop should wait for `call_threadsafe(server.broadcast, message).result()` instead,
        which also returns the count.

        Raises what `broadcast` raises, and SockwaveError when the server does not run.
        """
        calls, hub = self._calls(), self._host.hub
        owned = hub.own(message, compress=compress, slow=slow, key=key)
        calls.submit(Broadcast(self._host, owned, {"compress": compress, "slow": slow, "key": key}))

    def call_threadsafe(self, function: Callable[..., Any], *args: object) -> ThreadFuture[Any]:
        """Call `function(*args)` in the next turn of the server's loop, from any thread.

        Most methods of this library may be called in the loop's thread only; other threads call
        them by `server.call_threadsafe(conn.send, "news")`. It works in a signal handler too.
        Returns a `concurrent.futures.Future` of the result; an awaitable result is awaited in the
        loop, and the future gets the result of that. So, after `conn.send`, `result()` waits while
        the client is slow. To cancel the future cancels the awaitable. An exception that is never
        retrieved from the future is logged, unless it is ConnectionClosed.

        Raises SockwaveError when the server does not run. If the loop ends before the result is
        there, the future raises SockwaveError.
        """
        if not callable(function):
            raise TypeError(f"function: expected a callable, given {type(function).__name__}")
        return self._calls().call(function, args)

    def _calls(self) -> ThreadCalls:
        """Return the ThreadCalls of the server; raises SockwaveError when it does not run."""
        calls = self._host.calls
        if calls is None:
            raise SockwaveError(
                "the server does not run: expected a call between its start and its end"
            )
        return calls

    @property
    def dropped_count(self) -> int:
        """How many messages were dropped for clients that could not keep up; see `slow`.

        It includes messages that still waited when a connection was aborted, or when its closing
        handshake took too long.
        """
        host = self._host
        hubs = host.hub.dropped_count + host.applications.hub.dropped_count
        return hubs + host.topics.reach.count_dropped()

    @property
    def limit_hits(self) -> LimitHits:
        """How often each limit has been applied: a live mapping, option name → count.

        A limit is applied when it closes a connection, refuses a request, drops a message, or makes
        a client or the application wait: each counts once, when it begins. The fields of `Limits`
        have, in their metadata, the close codes or statuses of each limit (`costs`), and its
        `metric`.
        """
        return LimitHits(self._host.limit_counters)

    def handle_with(self, handler: Handler, *, cancel_on_close: bool = True) -> None:
        """Run `handler(conn)` as a task for each connection, as `serve` does.

        The connection is closed when the handler returns, with 1011 when it raises. When the
        connection ends first, the handler is cancelled, but only once it has received all messages
        that came, and has had `finish_timeout` seconds for the last one; meanwhile a call for one
        more message tells it that the connection has ended, and does not cancel it. With
        `cancel_on_close` False it goes on until it returns or the server has closed.

        Raises TypeError unless `handler` is an async function of one argument.
        """
        self._host.hub.thread.check_call("server.handle_with")
        connected = connect_handler(self._host, handler, cancel_on_close)
        self._host.add_listener("connection", connected)

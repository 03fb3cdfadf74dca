"""The limits on what clients may use, with the reason for each default."""

import math
import sys
from dataclasses import Field, dataclass, field, fields
from typing import Any

from sockwave.errors import Refused

# Deadlines are counted in ticks; more than a year is a mistake in the unit.
_LONGEST_TIME = 366 * 24 * 3600.0


# More than a message in a nanosecond is a mistake, or infinity.
_HIGHEST_RATE = 1e9

#: `message_rate` and `byte_rate`: a burst may be as large as the rate times so many seconds, as
#: people act, and networks deliver, in bursts.
BURST_S = 2.0

#: The metric that counts how often each limit has been applied; its label `limit` is the option.
LIMIT_HITS_METRIC = "sockwave_limit_hits_total"

#: `max_connections`: as many as the process may have descriptors, less a reserve.
AUTO = "auto"


def _time(default: float | None, *costs: int) -> Any:
    """Declare a limit in seconds, where None means no limit; see `_declare`."""
    return _declare(default, costs, kind="seconds")


def _pace(default: float | None) -> Any:
    """Declare the interval, in seconds, of something that the server does; None means never."""
    return _declare(default, (), kind="seconds", metric=None)


def _share(default: float) -> Any:
    """Declare a fraction of another number, from 0 to less than 1."""
    return _declare(default, (), kind="share", unlimited=False, metric=None)


def _rate(default: float | None, *costs: int) -> Any:
    """Declare a limit per second, where None means no limit; see `_declare`."""
    return _declare(default, costs, kind="a number a second")


def _size(default: Any, *costs: int, least: int = 1, unlimited: bool = False) -> Any:
    """Declare a limit in bytes or items; `unlimited` says that None may stand for no limit."""
    kind = "'auto' or int" if default == AUTO else "int"
    return _declare(default, costs, kind=kind, least=least, unlimited=unlimited)


def _mark(default: int) -> Any:
    """Declare a number that belongs to another limit, and has no counter of its own."""
    return _declare(default, (), kind="int", unlimited=False, metric=None)


def _declare(
    default: Any,
    costs: tuple[int, ...],
    *,
    kind: str,
    least: int = 1,
    unlimited: bool = True,
    metric: str | None = LIMIT_HITS_METRIC,
) -> Any:
    """Declare an option of `Limits`.

    In the field's metadata: `costs`, the close codes (1000 and above) and HTTP statuses (below)
    with which a client that exceeds the limit is answered, empty where it only has to wait;
    `metric`, the name of the metric that counts this, in the series whose label `limit` is the
    field's name.
    """
    return field(
        default=default,
        metadata={
            "kind": kind,
            "least": least,
            "unlimited": unlimited,
            "costs": costs,
            "metric": metric,
        },
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """The limits of a server; times in seconds, sizes in bytes, counts in items.

    Raises TypeError or ValueError naming the option, what was expected and what was given.
    """

    # ---- which connections are accepted

    #: Of all kinds; "auto": as many as the process may have descriptors (RLIMIT_NOFILE when the
    #: server starts), less 64 for other files, and for clients that are being answered that there
    #: is no room.
    max_connections: int | str | None = _size(AUTO, 503, unlimited=True)
    #: Of one IPv4 address, or of one IPv6 /64, which is what one home or office has. Off, as a
    #: whole company may share one address, and behind a proxy all clients do.
    max_connections_per_address: int | None = _size(None, 429, unlimited=True)
    #: Connections whose opening request has not come or is not answered: enough for many clients
    #: that reconnect at once, and a bound for the memory that slow clients hold.
    max_handshakes: int | None = _size(1024, 503, unlimited=True)
    #: Bytes held for all connections together: what their clients have not yet received, and what
    #: the application has not yet received from them. Off, as only the operator knows how much
    #: memory there is.
    memory_budget: int | None = _size(None, 503, 1013, unlimited=True)

    # ---- the opening handshake, and HTTP

    #: From accept to the end of the opening request, TLS included: a client cannot hold a socket
    #: longer by sending a byte now and then. 503 where the application has not decided in time.
    handshake_timeout: float | None = _time(10.0, 408, 503)
    #: Most proxies of the web refuse longer request lines too.
    request_line_size: int = _size(8192, 414)
    #: Browsers send 10 to 20 fields; each one costs a look-up.
    header_count: int = _size(100, 431)
    #: Room for four cookies of the largest size that browsers store, and for the other fields.
    header_block_size: int = _size(32 * 1024, 431)
    #: Of a request's body, which is held in memory when the application reads it as a whole. 0
    #: refuses every body.
    body_size: int | None = _size(1 << 20, 413, least=0, unlimited=True)
    #: Without any byte of a body that the client still has to send: it has gone, or it stalls on
    #: purpose.
    body_timeout: float | None = _time(20.0, 408)
    #: From the end of a request to the head of its answer: as long as the web's proxies wait. A
    #: request that the application never answers would hold its connection for ever.
    answer_timeout: float | None = _time(60.0, 500)
    #: Between two requests. Load balancers keep an unused connection for 60 seconds by default: it
    #: must be they who close it, as a request that is on its way when we do gets no answer.
    keep_alive_timeout: float | None = _time(75.0)
    #: Requests that wait for the answers to earlier ones; at the limit the socket is not read.
    pipelined_count: int = _size(16)

    # ---- what is received

    #: Of a frame and of a message, checked at the frame's header before memory is allocated.
    max_size: int | None = _size(1 << 20, 1009, unlimited=True)
    #: Fragments of one message, and one more for each 32 bytes of it: this stops floods of tiny and
    #: empty fragments, and never fragments of 32 bytes or more.
    fragment_count: int = _size(1024, 1008)
    #: Messages of one connection per second; twice as many in a burst. Off, as only the application
    #: knows how many are too many.
    message_rate: float | None = _rate(None, 1008)
    #: Bytes of messages of one connection per second, as received (compressed); twice as many in a
    #: burst.
    byte_rate: float | None = _rate(None, 1008)
    #: Pings of one connection per second, and pongs that answer no ping of ours: no client needs
    #: more than one in some seconds, and each ping costs an answer.
    control_rate: float | None = _rate(50.0, 1008)
    #: So many of them in a burst: as many as an eager client queues while the network is down.
    control_burst: int = _mark(200)
    #: Messages that the application has not yet received; at the limit the socket is not read.
    queue_count: int = _size(16)
    #: The same in bytes: two of the largest messages by default.
    queue_size: int = _size(2 << 20)
    #: Tasks that run a connection's asynchronous `message` listeners; at the limit the socket is
    #: not read. As many as `queue_count`: enough to keep slow look-ups going. If all of them wait
    #: for something that comes by the same socket (a pong), they wait for ever.
    max_tasks: int | None = _size(16, unlimited=True)
    #: From a connection's end until the application has handled the messages that came before: long
    #: enough for a slow look-up, and no longer than the client's next attempt may have to wait.
    finish_timeout: float | None = _time(10.0)
    #: Listener calls of a server that still run after their connection's end: clients that connect
    #: and leave at once could pile up any number of them. Beyond, the oldest is cancelled.
    max_finishing: int | None = _size(1024, unlimited=True)

    #: For the application to listen for messages, from the first one that it does not receive: it
    #: may have to look the client up in a database first. An application that only sends never
    #: listens: after this time, messages are read and dropped, so that pongs and closes are read.
    listen_timeout: float | None = _time(10.0)

    # ---- what is sent

    #: Of the backlog (bytes written that the client has not received): from here on `send` waits.
    high_water: int = _size(64 * 1024)
    #: Of the backlog: once it is down to this, `send` no longer waits, and `drain` is emitted.
    low_water: int = _mark(16 * 1024)
    #: Of the backlog: a bound for the memory that one slow client costs; see `slow`.
    max_backlog: int | None = _size(1 << 20, 1013, unlimited=True)
    #: For the client to receive any byte of its backlog: over a slow network some bytes pass now
    #: and then; a client that reads nothing at all holds memory for nothing.
    write_timeout: float | None = _time(20.0)

    # ---- how long it lasts

    #: Between two pings, 10 % more or less. They keep proxies and networks from dropping a quiet
    #: connection: many proxies do so after 60 seconds, some mobile networks after 30.
    ping_interval: float | None = _pace(20.0)
    #: For the pong, or any other byte from the client: after that, the connection counts as lost.
    ping_timeout: float | None = _time(20.0, 1011)
    #: Without a byte from the client, pongs included, and without a message to it. A client that is
    #: pinged answers, and is never idle: this is for connections without pings.
    idle_timeout: float | None = _time(120.0, 1001)
    #: Of a connection, however busy it is. Off, as few need it: to move old connections to new
    #: servers behind a load balancer, or to make clients log in again.
    max_lifetime: float | None = _time(None, 1001)
    #: The fraction by which a lifetime is randomly longer or shorter, so that clients that came
    #: together do not reconnect together.
    lifetime_jitter: float = _share(0.2)
    #: For the client's close frame and its FIN after our close frame.
    close_timeout: float | None = _time(10.0)

    # ---- topics

    #: Topics and patterns that one connection hears.
    subscription_count: int = _size(256)
    #: Patterns among them: each new topic is compared with all patterns.
    pattern_count: int = _size(16)
    #: Of the name of a topic or a pattern, as UTF-8.
    topic_name_size: int = _mark(255)
    #: Topics that are in use: each takes some hundred bytes, here and at the sequencer.
    topic_count: int = _size(100_000)
    #: Of the histories of all topics together: over it the oldest messages go, and who misses them
    #: is told.
    history_budget: int = _mark(256 << 20)
    #: Of all that is appended to one stream: it is kept until the stream has ended.
    append_size: int = _mark(1 << 20)

    def __post_init__(self) -> None:
        for limit in _FIELDS:
            value = getattr(self, limit.name)
            if value is not limit.default:  # which is right, and is what most servers have
                _check_limit(limit, value)
        if self.low_water > self.high_water:
            raise ValueError(
                f"low_water: expected at most high_water ({self.high_water}), "
                f"given {self.low_water}"
            )
        if self.max_backlog is not None and self.max_backlog < self.high_water:
            raise ValueError(
                f"max_backlog: expected at least high_water ({self.high_water}), "
                f"given {self.max_backlog}"
            )
        if self.byte_rate is not None and self.max_size is not None:
            # Otherwise a message of max_size could never be received.
            least = self.max_size / BURST_S
            if self.byte_rate < least:
                raise ValueError(
                    f"byte_rate: expected at least {least:.0f}, so that a message of max_size "
                    f"({self.max_size}) fits into {BURST_S:.0f} seconds, given {self.byte_rate}"
                )


def _check_limit(limit: Field[Any], value: object) -> None:
    """Raise TypeError or ValueError when `value` is not what the declaration of `limit` allows."""
    kind, unlimited = limit.metadata["kind"], limit.metadata["unlimited"]
    if value is None and unlimited:
        return
    if value == AUTO and limit.default == AUTO:
        return
    or_none = " or None" if unlimited else ""
    if kind.endswith("int"):
        if not isinstance(value, int) or isinstance(value, bool):
            raise TypeError(f"{limit.name}: expected {kind}{or_none}, given {type(value).__name__}")
        if not limit.metadata["least"] <= value <= sys.maxsize:
            raise ValueError(
                f"{limit.name}: expected at least {limit.metadata['least']} and at most "
                f"{sys.maxsize}{or_none}, given {value}"
            )
    elif kind == "share":
        if not isinstance(value, (int, float)) or isinstance(value, bool):
            raise TypeError(f"{limit.name}: expected int or float, given {type(value).__name__}")
        if not 0 <= value < 1:
            raise ValueError(f"{limit.name}: expected 0 to less than 1, given {value}")
    else:
        if not isinstance(value, (int, float)) or isinstance(value, bool):
            raise TypeError(
                f"{limit.name}: expected {kind} as int or float{or_none}, "
                f"given {type(value).__name__}"
            )
        most = _LONGEST_TIME if kind == "seconds" else _HIGHEST_RATE
        if not math.isfinite(value) or not 0 < value <= most:
            raise ValueError(
                f"{limit.name}: expected more than 0 and at most {most:.0f} {kind}{or_none}, "
                f"given {value}"
            )


_FIELDS = fields(Limits)
LIMIT_NAMES = frozenset(limit.name for limit in _FIELDS)
#: The limits that `Server.limit_hits` counts.
COUNTED_LIMITS = tuple(limit.name for limit in _FIELDS if limit.metadata["metric"])


_RETRY_LATER = (("Retry-After", "1"),)


class OverLimit(Refused):
    """Raised to refuse a request or connection past one of `Limits`.

    The code that answers it counts the hit. `limit` is the option's name, `status` one of those
    in its `costs`.
    """

    def __init__(self, limit: str, status: int, body: str) -> None:
        # RFC 9110, 10.2.3: a client that comes back at once would find no room either.
        super().__init__(status, body, _RETRY_LATER if status in (429, 503) else ())
        self.limit = limit

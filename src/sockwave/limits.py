"""How much of everything a peer may take, and what happens at a limit."""

import math
import sys
from dataclasses import Field, dataclass, field, fields
from typing import Any

from sockwave.errors import Refused

# Deadlines are counted in ticks; more than a year is a mistake in the unit.
_LONGEST_TIME = 366 * 24 * 3600.0


# More than a message in a nanosecond is a mistake, or infinity.
_HIGHEST_RATE = 1e9

#: `message_rate` and `byte_rate`: what may come at once, in seconds' worth. Clients act in bursts,
#: as people do and networks.
BURST_S = 2.0

#: What counts how often each limit has been applied; its label `limit` is the option's name.
LIMIT_HITS_METRIC = "sockwave_limit_hits_total"

#: `max_connections`: as many as the process may have descriptors, but for some that it keeps.
AUTO = "auto"


def _time(default: float | None, *costs: int) -> Any:
    """Declare a limit in seconds, where None means no limit; see `_declare`."""
    return _declare(default, costs, kind="seconds")


def _pace(default: float | None) -> Any:
    """Declare how often something of ours happens, in seconds, where None means never."""
    return _declare(default, (), kind="seconds", metric=None)


def _share(default: float) -> Any:
    """Declare a part of another number, from 0 to less than 1."""
    return _declare(default, (), kind="share", unlimited=False, metric=None)


def _rate(default: float | None, *costs: int) -> Any:
    """Declare a limit on how often in a second, where None means no limit; see `_declare`."""
    return _declare(default, costs, kind="a number a second")


def _size(default: Any, *costs: int, least: int = 1, unlimited: bool = False) -> Any:
    """Declare a limit in bytes or items; `unlimited` says that None may stand for no limit."""
    kind = "'auto' or int" if default == AUTO else "int"
    return _declare(default, costs, kind=kind, least=least, unlimited=unlimited)


def _mark(default: int) -> Any:
    """Declare a number that goes with a limit, and is none by itself: nothing is counted for it."""
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

    In the field's metadata: `costs`, the close codes (1000 and above) and the statuses of HTTP
    (below) that end what goes past the limit, none where it has to wait; `metric`, what counts how
    often that happened, in the series with the label `limit`, which is the field's name.
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
    """How much of everything one peer may take; times in seconds, sizes in bytes, counts in items.

    Raises TypeError or ValueError naming the option, what was expected and what was given.
    """

    # ---- who may come in

    #: Of all kinds; "auto": as many as the process may have descriptors (RLIMIT_NOFILE when the
    #: server starts), less 64 for everything that is no connection, among it those who are told
    #: that there is no room.
    max_connections: int | str | None = _size(AUTO, 503, unlimited=True)
    #: Of one IPv4 address, or of one IPv6 network of 64 bits, which is what a household has. Off,
    #: as whole companies come from one address, and everybody does behind a proxy.
    max_connections_per_address: int | None = _size(None, 429, unlimited=True)
    #: Connections whose opening request has not come or is not answered: what a herd of clients
    #: that comes back all at once needs, and a bound for what slow ones hold.
    max_handshakes: int | None = _size(1024, 503, unlimited=True)
    #: Bytes held for all connections together: what they have not taken, and what they have sent
    #: and nobody has taken. Off, as only the operator knows how much memory there is.
    memory_budget: int | None = _size(None, 503, 1013, unlimited=True)

    # ---- the opening handshake, and HTTP

    #: From accept to the end of the opening request, TLS included: a slow writer cannot hold a
    #: socket longer by sending a byte now and then. 503 where the application has not decided.
    handshake_timeout: float | None = _time(10.0, 408, 503)
    #: Longer targets than this are refused by most of the web's proxies too.
    request_line_size: int = _size(8192, 414)
    #: Browsers send 10 to 20; each one costs a look-up.
    header_count: int = _size(100, 431)
    #: Four cookies of the largest size that browsers store, and room for the rest.
    header_block_size: int = _size(32 * 1024, 431)
    #: A body is held in memory when the application asks for all of it. 0 refuses every body.
    body_size: int | None = _size(1 << 20, 413, least=0, unlimited=True)
    #: Without any byte of a body that is owed: the peer has gone, or it stalls on purpose.
    body_timeout: float | None = _time(20.0, 408)
    #: From the end of a request to the head of its answer: as long as the web's proxies wait. Who
    #: is not answered would hold a place among the connections for nothing.
    answer_timeout: float | None = _time(60.0, 500)
    #: Between two requests: long enough for a page and what it loads, short for a silent socket.
    keep_alive_timeout: float | None = _time(15.0)
    #: Requests that wait for the answers before theirs; then the socket is not read any more.
    pipelined_count: int = _size(16)

    # ---- what is received

    #: Of a frame and of a message, checked at the frame's header before anything is allocated.
    max_size: int | None = _size(1 << 20, 1009, unlimited=True)
    #: Fragments of one message, and one more for each 32 bytes of it: floods of tiny and of empty
    #: ones are stopped, and honest ones pass (one of 64 bytes pays for itself twice).
    fragment_count: int = _size(1024, 1008)
    #: Messages of one connection in a second; twice as many at once. Off, as only the application
    #: knows how many are too many.
    message_rate: float | None = _rate(None, 1008)
    #: Bytes of messages of one connection in a second, as they came; twice as many at once.
    byte_rate: float | None = _rate(None, 1008)
    #: Pings of one connection in a second, and pongs that answer no ping of ours: nobody needs more
    #: than one in some seconds, and each ping costs an answer.
    control_rate: float | None = _rate(50.0, 1008)
    #: So many of them at once: what an eager client saves up while the network is away.
    control_burst: int = _mark(200)
    #: Messages that the application has not yet received; then the socket is not read any more.
    queue_count: int = _size(16)
    #: The same in bytes: two of the largest messages by default.
    queue_size: int = _size(2 << 20)
    #: Tasks that a connection's asynchronous `message` listeners may have at work; then the socket
    #: is not read any more. As many as may wait for `receive`: enough to keep slow look-ups going.
    #: All of them waiting for what comes by the same socket (a pong) would wait for ever.
    max_tasks: int | None = _size(16, unlimited=True)
    #: From a connection's end to the end of what handles the messages that came before it: long
    #: enough for a slow look-up, and no longer than the client's next attempt may have to wait.
    finish_timeout: float | None = _time(10.0)
    #: Calls of a server's listeners that still handle something after their connection's end: those
    #: who come and go at once could pile up any number of them. Beyond, the oldest is cancelled.
    max_finishing: int | None = _size(1024, unlimited=True)

    #: For the application to listen, from the first message on that nobody takes: it may have to
    #: ask a database who that is. One that only sends never listens: from then on, what comes is
    #: read and dropped, so that pongs and closes are heard.
    listen_timeout: float | None = _time(10.0)

    # ---- what is sent

    #: Of the backlog: from here on `send` waits.
    high_water: int = _size(64 * 1024)
    #: Of the backlog: from here on `send` waits no more, and `drain` is emitted.
    low_water: int = _mark(16 * 1024)
    #: Of the backlog: a peer that is this far behind costs nobody else more; see `slow`.
    max_backlog: int | None = _size(1 << 20, 1013, unlimited=True)
    #: For the peer to take anything of what waits for it: a slow network moves at times, who does
    #: not read at all holds memory for nothing.
    write_timeout: float | None = _time(20.0)

    # ---- how long it lasts

    #: Between two pings, 10 % more or less. They keep what lies between from forgetting a quiet
    #: connection: many a proxy does so in 60 seconds, some mobile networks in 30.
    ping_interval: float | None = _pace(20.0)
    #: For the pong, or anything else from the peer: then it has gone without a word.
    ping_timeout: float | None = _time(20.0, 1011)
    #: Without a byte from the peer, pongs among them, and without a message to it. Where there are
    #: pings, whoever is there answers them, and is never idle: this is for connections without.
    idle_timeout: float | None = _time(120.0, 1001)
    #: However busy the connection is. Off, as only some need it: to move old connections to new
    #: servers behind a load balancer, or to have everybody log in again.
    max_lifetime: float | None = _time(None, 1001)
    #: By how much of itself a lifetime is longer or shorter, so that those who came together do not
    #: come again together.
    lifetime_jitter: float = _share(0.2)
    #: For the peer's close frame and its FIN after our close frame.
    close_timeout: float | None = _time(10.0)

    def __post_init__(self) -> None:
        for limit in fields(self):
            _check_limit(limit, getattr(self, limit.name))
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
            # Else a message of the largest size could never be received.
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


LIMIT_NAMES = frozenset(limit.name for limit in fields(Limits))
#: Those that `Server.limit_hits` counts.
COUNTED_LIMITS = tuple(limit.name for limit in fields(Limits) if limit.metadata["metric"])


class OverLimit(Refused):
    """Raised to refuse what goes past one of `Limits`; whoever answers it counts it.

    `limit` is the option's name, `status` one of those that the limit costs.
    """

    def __init__(self, limit: str, status: int, body: str) -> None:
        super().__init__(status, body)
        self.limit = limit

"""The choice of the engine: the core's own epoll, or asyncio's transports."""

import asyncio
import os
import ssl
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

from sockwave.core.io.asyncio.engine import AsyncioEngine
from sockwave.core.limits.counters import LimitCounters
from sockwave.core.limits.rate_limit import RateLimits
from sockwave.core.tls.asyncio_transport import TlsProtocol
from sockwave.core.tls.session import Records
from sockwave.core.tls.tls import Tls
from sockwave.errors import SockwaveError
from sockwave.limits import Limits

if TYPE_CHECKING:
    from sockwave.core.io.epoll.engine import EpollEngine
    from sockwave.core.io.transport import Transport

Engine: TypeAlias = "EpollEngine | AsyncioEngine"


class EngineOptions(Protocol):
    """What an engine is made from, of the options of a server or a client."""

    limits: Limits
    engine: str


def create_engine(
    options: EngineOptions,
    loop: asyncio.AbstractEventLoop,
    receiver_failed: "Callable[[BaseException, Transport | None], object]",
    limit_counters: LimitCounters,
) -> Engine:
    """Create the engine of the option `engine`; with "auto", epoll where the system has it.

    `receiver_failed` is called with an error that a receiver has raised, and its transport.
    Raises SockwaveError for "epoll" if the system or the loop has none.
    """
    limits = options.limits
    settings: dict[str, Any] = {
        "high_water": limits.high_water,
        "low_water": limits.low_water,
        "max_backlog": sys.maxsize if limits.max_backlog is None else limits.max_backlog,
        "write_timeout": limits.write_timeout,
        "max_size": sys.maxsize if limits.max_size is None else limits.max_size,
        "close_timeout": limits.close_timeout,
        "limit_counters": limit_counters,
        "rate_limits": RateLimits(limits),
    }
    if sys.platform == "linux" and options.engine != "asyncio" and can_watch(loop):
        from sockwave.core.io.epoll.engine import EpollEngine
        from sockwave.runtime.selector import CoreSelector

        engine = EpollEngine(loop, receiver_failed, **settings)
        if not CoreSelector.lend(loop, engine):
            engine.attach()
        return engine
    if options.engine == "epoll":
        raise SockwaveError("engine: expected a system and a loop with epoll, for 'epoll'")
    return AsyncioEngine(loop, receiver_failed, **settings)


def tls_transport_factory(engine: Engine, context: ssl.SSLContext) -> "Callable[[], Any]":
    """Return a function that makes the transports of a listening socket that speaks TLS."""
    records = Records()
    kind = choose_tls()
    if isinstance(engine, AsyncioEngine):
        return lambda: TlsProtocol(engine, kind(context, records))
    from sockwave.core.tls.epoll_socket import TlsSocket

    return lambda: TlsSocket(kind(context, records))


def choose_tls() -> type[Tls]:
    """Choose how OpenSSL is called: directly where that is possible, else through module `ssl`.

    `SOCKWAVE_TLS=portable` in the environment always chooses the second.
    """
    if sys.platform != "win32" and os.environ.get("SOCKWAVE_TLS") != "portable":
        from sockwave.core.tls.openssl import DirectTls, is_available

        if is_available():
            return DirectTls
    return Tls


def can_watch(loop: asyncio.AbstractEventLoop) -> bool:
    """Tell whether a loop can watch a descriptor (`add_reader`)."""
    return type(loop).add_reader is not asyncio.AbstractEventLoop.add_reader

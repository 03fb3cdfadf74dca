"""The options of `connect`, checked once."""

import difflib
import ssl as ssl_module
from collections.abc import Callable, Hashable, Iterable, Mapping
from functools import cache
from typing import Any, TypeAlias

from sockwave.deflate import Deflate
from sockwave.fields import HeaderPairs, check_header, check_headers, is_host, is_token
from sockwave.functions import check_runs, is_async
from sockwave.limits import Limits
from sockwave.messages import check_slow
from sockwave.names import collect_names
from sockwave.options import OPTION_NAMES, check_bool, check_engine, normalize_compression
from sockwave.versions import normalize_version

#: The limits of `Limits` that a client's connection has too; the others are about accepting.
CLIENT_LIMITS = (
    "header_count",
    "header_block_size",
    "max_size",
    "fragment_count",
    "message_rate",
    "byte_rate",
    "control_rate",
    "control_burst",
    "queue_count",
    "queue_size",
    "max_tasks",
    "finish_timeout",
    "max_finishing",
    "listen_timeout",
    "high_water",
    "low_water",
    "max_backlog",
    "write_timeout",
    "ping_interval",
    "ping_timeout",
    "idle_timeout",
    "max_lifetime",
    "lifetime_jitter",
    "close_timeout",
)

# What the handshake says itself; the others that begin with Sec-WebSocket- are its own too.
_OWN_FIELDS = frozenset(
    {"connection", "content-length", "cookie", "origin", "transfer-encoding", "upgrade"}
)

# RFC 6265, 4.1.1: cookie-octet, which has no white space, quotes, commas, semicolons, backslashes.
_COOKIE_BYTES = bytes(byte for byte in range(0x21, 0x7F) if byte not in b'",;\\')

# What others call an option.
_SYNONYMS = {
    "timeout": "open_timeout",
    "connect_timeout": "open_timeout",
    "handshake_timeout": "open_timeout",
    "opening_timeout": "open_timeout",
}

Cookies: TypeAlias = Mapping[str, str] | Iterable[tuple[str, str]]


class ClientOptions:
    """The options of one `connect`, checked and converted to the form that the client uses.

    Raises TypeError for an unknown name or a wrong type and ValueError for a wrong value.
    """

    __slots__ = (
        "compression",
        "conflate",
        "cookies",
        "engine",
        "headers",
        "lag",
        "limits",
        "open_timeout",
        "origin",
        "server_hostname",
        "slow",
        "ssl",
        "subprotocols",
        "version",
    )

    def __init__(
        self,
        *,
        subprotocol: str | Iterable[str] | None = None,
        origin: str | None = None,
        headers: HeaderPairs = (),
        cookies: Cookies = (),
        compression: bool | Deflate | None = None,
        ssl: ssl_module.SSLContext | None = None,
        server_hostname: str | None = None,
        open_timeout: float | None = 10.0,
        engine: str = "auto",
        slow: str = "close",
        version: str = "rfc6455",
        conflate: Callable[[Any], Hashable] | None = None,
        lag: bool = False,
        **limits: Any,
    ) -> None:
        for name in limits:
            if name not in CLIENT_LIMITS:
                raise TypeError(_describe_unknown(name))
        self.subprotocols = _check_subprotocols(subprotocol)
        self.origin = None if origin is None else check_header("Origin", origin)[1]
        self.headers = _check_own_headers(headers)
        self.cookies = _check_cookies(cookies)
        self.compression = normalize_compression(compression)
        self.ssl = check_context("ssl", ssl)
        self.server_hostname = _check_name("server_hostname", server_hostname)
        self.open_timeout = check_seconds("open_timeout", open_timeout)
        self.engine = check_engine(engine)
        self.slow = check_slow(slow)
        self.version = _check_version(version, self.compression)
        self.conflate = _check_key(conflate)
        self.lag = check_bool("lag", lag)
        high_water = limits.get("high_water")
        if isinstance(high_water, int) and "low_water" not in limits:
            limits["low_water"] = max(high_water // 4, 1)
        self.limits = Limits(**limits)

    @property
    def shared(self) -> tuple[Limits, str, str]:
        """What connections must have in common to share an engine."""
        return self.limits, self.engine, self.slow


def _describe_unknown(name: str) -> str:
    """Return the sentence for an option that does not exist."""
    names = {*CLIENT_LIMITS, *ClientOptions.__slots__, "subprotocol"}
    known = sorted(names - {"limits", "subprotocols"})
    if name in OPTION_NAMES and name not in known:
        return f"unknown option {name!r}: it is one of servers"
    nearest = difflib.get_close_matches(name.lower(), known, n=1, cutoff=0.5)
    meant = _SYNONYMS.get(name.lower()) or (nearest[0] if nearest else None)
    if meant is not None:
        return f"unknown option {name!r}; did you mean {meant!r}?"
    return f"unknown option {name!r}; the options are {', '.join(known)}"


def check_seconds(option: str, seconds: float | None) -> float | None:
    """Return `seconds`; raise TypeError or ValueError unless it is None or a positive number."""
    if seconds is None:
        return None
    if not isinstance(seconds, (int, float)) or isinstance(seconds, bool):
        raise TypeError(
            f"{option}: expected seconds as int or float or None, given {type(seconds).__name__}"
        )
    if not 0 < seconds < float("inf"):
        raise ValueError(f"{option}: expected more than 0 seconds, or None, given {seconds}")
    return seconds


def _check_key(key: Callable[[Any], Hashable] | None) -> Callable[[Any], Hashable] | None:
    """Return the function; raise TypeError for one that gives no key when it is called."""
    if key is None:
        return None
    if not callable(key):
        raise TypeError(f"conflate: expected a function or None, given {type(key).__name__}")
    if is_async(key):
        raise TypeError("conflate: expected a plain function, given an async one")
    check_runs("conflate", key)
    return key


def _check_version(version: str, compression: Deflate | None) -> str:
    """Return the canonical name of the version."""
    if not isinstance(version, str):
        raise TypeError(f"version: expected str, given {type(version).__name__}")
    names = normalize_version(version)
    if len(names) > 1:
        raise ValueError(f"version: expected one version, given {version!r}")
    name = next(iter(names))
    if compression is not None and name != "rfc6455":
        raise ValueError(f"compression: expected None with version {name!r}, given {compression}")
    return name


def _check_subprotocols(subprotocol: str | Iterable[str] | None) -> tuple[str, ...]:
    names = () if subprotocol is None else collect_names("subprotocol", subprotocol)
    for name in names:
        if not is_token(name):
            raise ValueError(f"subprotocol: expected tokens (RFC 6455, 4.1), given {name!r}")
    # 4.1: "The elements that comprise this value … MUST all be unique strings."
    if len(set(names)) < len(names):
        raise ValueError(f"subprotocol: expected each name once, given {list(names)!r}")
    return names


def _check_own_headers(headers: HeaderPairs) -> tuple[tuple[str, str], ...]:
    """Return the headers as pairs; raise TypeError or ValueError for what cannot be one."""
    pairs = check_headers(headers)
    for name, value in pairs:
        if name.lower() in _OWN_FIELDS or name.lower().startswith("sec-websocket-"):
            raise ValueError(f"headers: expected none of the handshake's own, given {name!r}")
        if name.lower() == "host" and not is_host(value):
            raise ValueError(f"headers: expected a host and its port for Host, given {value!r}")
    return pairs


def _check_cookies(cookies: Cookies) -> tuple[tuple[str, str], ...]:
    pairs = tuple(cookies.items() if isinstance(cookies, Mapping) else cookies)
    for pair in pairs:
        if not isinstance(pair, tuple) or len(pair) != 2:
            raise TypeError(f"cookies: expected (name, value) pairs, given {pair!r}")
        name, value = pair
        if not isinstance(name, str) or not isinstance(value, str):
            raise TypeError(f"cookies: expected names and values of str, given {pair!r}")
        octets = value[1:-1] if len(value) > 1 and value[0] == value[-1] == '"' else value
        if not is_token(name):
            raise ValueError(f"cookies: expected a token (RFC 6265, 4.1.1), given {name!r}")
        if not octets.isascii() or octets.encode().translate(None, _COOKIE_BYTES):
            raise ValueError(
                f"cookies: expected a value without spaces, quotes, commas, semicolons and "
                f"backslashes (RFC 6265, 4.1.1), given {value!r}"
            )
    return pairs


def check_context(option: str, context: object) -> ssl_module.SSLContext | None:
    """Return the context; raise TypeError unless it is an ssl.SSLContext, or None."""
    if context is not None and not isinstance(context, ssl_module.SSLContext):
        raise TypeError(
            f"{option}: expected ssl.SSLContext or None, given {type(context).__name__}"
        )
    return context


def _check_name(option: str, name: str | None) -> str | None:
    if name is not None and not isinstance(name, str):
        raise TypeError(f"{option}: expected str or None, given {type(name).__name__}")
    return name


@cache
def default_context() -> ssl_module.SSLContext:
    """Return the context for `wss` without `ssl`: the system's authorities, and names checked.

    It is made once, as to read the authorities takes long.
    """
    context = ssl_module.create_default_context()
    context.set_alpn_protocols(["http/1.1"])
    return context

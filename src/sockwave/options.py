"""What `create_server` is told, checked once; the version names are those of RFC 6455's drafts."""

import difflib
import re
import select
from collections.abc import Awaitable, Callable, Iterable
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

from sockwave.deflate import Deflate
from sockwave.fields import is_token
from sockwave.functions import check_runs, is_async
from sockwave.limits import LIMIT_NAMES, Limits
from sockwave.messages import check_slow
from sockwave.trusted import TrustedNetworks

if TYPE_CHECKING:
    from sockwave.handshake.hook import Handshake
    from sockwave.http import RequestHead

OriginOption: TypeAlias = (
    str | Iterable[str | None] | re.Pattern[str] | Callable[[str | None], bool]
)
SubprotocolOption: TypeAlias = (
    str | Iterable[str] | Callable[[list[str], "RequestHead"], str | None] | None
)
Authorize: TypeAlias = Callable[["Handshake"], bool | Awaitable[bool | None] | None]

Function = TypeVar("Function", bound=Callable[..., object])

ENGINES = ("auto", "epoll", "asyncio")

#: Origins without a host. Pages that have nothing in common share one of them, so that they count
#: only where an application has listed them in so many letters: no pattern matches them.
LITERAL_ORIGINS = ("null", "file://")

#: The canonical names, the oldest first.
VERSIONS = ("draft75", "draft76", "hybi-07", "hybi-08", "rfc6455")

# hybi-09 to -12 kept the version number 8, hybi-13 to -17 the number 13 that the RFC has.
_VERSION_NAMES = {
    **{name: name for name in VERSIONS},
    "hybi-00": "draft76",
    **{f"hybi-{number:02}": "hybi-08" for number in range(9, 13)},
    **{f"hybi-{number}": "rfc6455" for number in range(13, 18)},
}

# What Python can iterate over, and is no list of names.
_SINGLE = (str, bytes, bytearray, memoryview)

OPTION_NAMES = LIMIT_NAMES | {
    "authorize",
    "compression",
    "engine",
    "origin",
    "proxy_protocol",
    "slow",
    "subprotocol",
    "trust_forwarded_host",
    "trusted_proxies",
    "version",
}


class Options:
    """The options of one server, checked and brought into the form in which they are used.

    Takes what `create_server` takes, each of `Limits` by its own name. Raises TypeError for an
    unknown name or a wrong type and ValueError for a wrong value.
    """

    __slots__ = (
        "authorize",
        "compression",
        "engine",
        "limits",
        "origin",
        "proxy_protocol",
        "slow",
        "subprotocol",
        "trust_forwarded_host",
        "trusted_proxies",
        "version",
    )

    version: frozenset[str]
    origin: str | frozenset[str | None] | re.Pattern[str] | Callable[[str | None], bool]
    subprotocol: tuple[str, ...] | Callable[[list[str], "RequestHead"], str | None]
    engine: str
    authorize: Authorize | None
    compression: Deflate | None
    slow: str
    proxy_protocol: TrustedNetworks
    trusted_proxies: TrustedNetworks
    trust_forwarded_host: bool
    limits: Limits

    def __init__(
        self,
        *,
        version: str | Iterable[str] = "auto",
        origin: OriginOption = "*",
        subprotocol: SubprotocolOption = None,
        engine: str = "auto",
        authorize: Authorize | None = None,
        compression: bool | Deflate | None = None,
        slow: str = "close",
        proxy_protocol: str | Iterable[str] = (),
        trusted_proxies: str | Iterable[str] = (),
        trust_forwarded_host: bool = False,
        **limits: Any,
    ) -> None:
        for name in limits:
            if name not in LIMIT_NAMES:
                raise TypeError(_describe_unknown(name))
        self.version = normalize_version(version)
        self.origin = normalize_origin(origin)
        self.subprotocol = normalize_subprotocol(subprotocol)
        self.engine = check_engine(engine)
        self.authorize = check_authorize(authorize)
        self.compression = normalize_compression(compression)
        self.slow = check_slow(slow)
        self.proxy_protocol = TrustedNetworks("proxy_protocol", proxy_protocol)
        self.trusted_proxies = TrustedNetworks("trusted_proxies", trusted_proxies)
        if not isinstance(trust_forwarded_host, bool):
            raise TypeError(
                f"trust_forwarded_host: expected bool, given {type(trust_forwarded_host).__name__}"
            )
        self.trust_forwarded_host = trust_forwarded_host
        high_water = limits.get("high_water")
        if isinstance(high_water, int) and "low_water" not in limits:
            limits["low_water"] = max(high_water // 4, 1)
        self.limits = Limits(**limits)


def _describe_unknown(name: str) -> str:
    """Return the sentence for an option that does not exist."""
    nearest = difflib.get_close_matches(name.lower(), OPTION_NAMES, n=1, cutoff=0.5)
    if nearest:
        return f"unknown option {name!r}; did you mean {nearest[0]!r}?"
    return f"unknown option {name!r}; the options are {', '.join(sorted(OPTION_NAMES))}"


def _collect_names(option: str, value: object) -> tuple[str, ...]:
    """Return one str or an iterable of str as a tuple; raise TypeError for anything else."""
    if isinstance(value, str):
        return (value,)
    if isinstance(value, _SINGLE) or not isinstance(value, Iterable):
        raise TypeError(f"{option}: expected str or a list of str, given {type(value).__name__}")
    names = tuple(value)
    for name in names:
        if not isinstance(name, str):
            raise TypeError(f"{option}: expected a list of str, given {name!r} in it")
    if not names:
        raise ValueError(f"{option}: expected at least one name, given an empty list")
    return names


def _check_plain(option: str, function: Function) -> Function:
    """Return a function that answers at once; a coroutine would be taken for its answer."""
    if is_async(function):
        raise TypeError(f"{option}: expected a plain function, given an async one; see authorize")
    check_runs(option, function)
    return function


def check_authorize(authorize: Authorize | None) -> Authorize | None:
    """Return a function that is asked before a handshake is answered, or None; raise TypeError."""
    if authorize is not None:
        if not callable(authorize):
            raise TypeError(
                f"authorize: expected a function or None, given {type(authorize).__name__}"
            )
        check_runs("authorize", authorize)
    return authorize


def normalize_version(version: str | Iterable[str]) -> frozenset[str]:
    """Return the canonical names that `version` stands for; "auto" stands for all of them."""
    accepted: set[str] = set()
    for name in _collect_names("version", version):
        if name == "auto":
            accepted.update(VERSIONS)
        elif name in _VERSION_NAMES:
            accepted.add(_VERSION_NAMES[name])
        else:
            raise ValueError(
                f"version: expected 'auto' or one of {', '.join(_VERSION_NAMES)}, given {name!r}"
            )
    return frozenset(accepted)


def normalize_origin(
    origin: OriginOption,
) -> str | frozenset[str | None] | re.Pattern[str] | Callable[[str | None], bool]:
    """Return "*", "same-origin", a set of origins, a pattern of str, or a callable.

    None in the set stands for a request without an Origin header.
    """
    if isinstance(origin, re.Pattern):
        if not isinstance(origin.pattern, str):
            raise TypeError("origin: expected a pattern of str, given one of bytes")
        return origin
    if callable(origin):
        return _check_plain("origin", origin)
    accepted: set[str | None] = set()
    if isinstance(origin, Iterable) and not isinstance(origin, _SINGLE):
        origin = tuple(origin)
        if None in origin:
            accepted.add(None)
            origin = tuple(name for name in origin if name is not None)
    names = () if accepted and not origin else _collect_names("origin", origin)
    if names in (("*",), ("same-origin",)) and not accepted:
        return names[0]
    for name in names:
        if name in ("*", "same-origin"):
            raise ValueError(f"origin: expected {name!r} alone, given it in a list")
        accepted.add(_check_origin(name))
    return frozenset(accepted)


def _check_origin(origin: str) -> str:
    """Return one origin as browsers write it: scheme and host in lower case, no default port."""
    if origin in LITERAL_ORIGINS:
        return origin
    scheme, separator, host = origin.partition("://")
    if (
        not separator
        or not scheme
        or not host
        or any(character in "/?#@" or character <= " " for character in host)
        or not origin.isascii()
    ):
        raise ValueError(
            "origin: expected '*', 'same-origin', 'null', 'file://' or scheme://host[:port] in "
            f"ASCII, given {origin!r}"
        )
    return fold_origin(origin)


def fold_origin(origin: str) -> str:
    """Return `origin` in lower case and without the default port of http or https."""
    origin = origin.lower()
    if origin.startswith("http://") and origin.endswith(":80"):
        return origin[:-3]
    if origin.startswith("https://") and origin.endswith(":443"):
        return origin[:-4]
    return origin


def normalize_subprotocol(
    subprotocol: SubprotocolOption,
) -> tuple[str, ...] | Callable[[list[str], "RequestHead"], str | None]:
    """Return the names in order of preference, none for None, or the callable."""
    if subprotocol is None:
        return ()
    if callable(subprotocol):
        return _check_plain("subprotocol", subprotocol)
    names = _collect_names("subprotocol", subprotocol)
    for name in names:
        if not is_token(name):
            raise ValueError(f"subprotocol: expected tokens (RFC 6455, 4.1), given {name!r}")
    return names


def normalize_compression(compression: bool | Deflate | None) -> Deflate | None:
    """Return the settings of permessage-deflate (RFC 7692), None for none: that it is off."""
    if isinstance(compression, Deflate):
        return compression
    if compression is not None and not isinstance(compression, bool):
        raise TypeError(
            "compression: expected True, False, None or sockwave.Deflate, "
            f"given {type(compression).__name__}"
        )
    return Deflate() if compression else None


def check_engine(engine: str) -> str:
    """Return the name of the engine; raise when it is none or does not run on this system."""
    if not isinstance(engine, str):
        raise TypeError(f"engine: expected str, given {type(engine).__name__}")
    if engine not in ENGINES:
        raise ValueError(f"engine: expected 'auto', 'epoll' or 'asyncio', given {engine!r}")
    if engine == "epoll" and not hasattr(select, "epoll"):
        raise ValueError("engine: expected 'auto' or 'asyncio' on a system without epoll")
    return engine

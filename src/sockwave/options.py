"""The options of `create_server`, checked once."""

import select
from collections.abc import Awaitable, Callable, Iterable
from typing import Any, TypeAlias, TypeVar, overload

from sockwave.asgi.application import (
    ASGIApplication,
    check_application,
    check_lifespan,
    check_root_path,
)
from sockwave.brokers.urls import check_broker, check_broker_down
from sockwave.core.events.emitter import CONNECTION_EVENTS, SERVER_EVENTS
from sockwave.core.http.request_head import RequestHead
from sockwave.deflate import Deflate
from sockwave.errors import FRAMING_HEADERS
from sockwave.fields import HeaderPairs, check_headers, is_token
from sockwave.functions import check_runs
from sockwave.guesses import describe_unknown_option
from sockwave.handshake.hook import Handshake
from sockwave.handshake.origin import OriginOption, OriginPolicy, normalize_origin
from sockwave.json_codec import INVALID_JSON, JSONReading, make_decoder
from sockwave.limits import LIMIT_NAMES, Limits
from sockwave.messages import check_slow
from sockwave.names import check_choice, check_plain, collect_names
from sockwave.trusted import TrustedNetworks
from sockwave.versions import normalize_version

# The default of a function, which means a decorator; None would be an invalid one.
_MISSING: Any = object()

_L = TypeVar("_L", bound=Callable[..., object])

SubprotocolOption: TypeAlias = (
    str | Iterable[str] | Callable[[list[str], RequestHead], str | None] | None
)
Authorize: TypeAlias = Callable[[Handshake], bool | Awaitable[bool | None] | None]

ENGINES = ("auto", "epoll", "asyncio")

#: "all": Forwarded (RFC 7239), and X-Forwarded-For, -Proto and -Port; "x-forwarded": -For and
#: -Proto alone, as most servers of Python applications do.
FORWARDED_HEADERS = ("all", "x-forwarded")


OPTION_NAMES = LIMIT_NAMES | {
    "access_log",
    "asgi",
    "authorize",
    "broker",
    "broker_down",
    "compression",
    "date_header",
    "engine",
    "forwarded_headers",
    "health_path",
    "invalid_json",
    "json_type",
    "lifespan",
    "origin",
    "proxy_protocol",
    "red_when_broker_down",
    "response_headers",
    "root_path",
    "server_header",
    "slow",
    "subprotocol",
    "trust_forwarded_host",
    "trusted_proxies",
    "version",
}


class Options:
    """The options of one server, checked and converted to the form that the server uses.

    Takes what `create_server` takes, each of `Limits` by its own name. Raises TypeError for an
    unknown name or a wrong type and ValueError for a wrong value.
    """

    __slots__ = (
        "access_log",
        "added_headers",
        "asgi",
        "authorize",
        "broker",
        "broker_down",
        "compression",
        "date_header",
        "engine",
        "forwarded_headers",
        "has_body_size",
        "health_path",
        "invalid_json",
        "json_reading",
        "json_type",
        "lifespan",
        "limits",
        "origin",
        "proxy_protocol",
        "red_when_broker_down",
        "register",
        "response_headers",
        "root_path",
        "server_header",
        "slow",
        "subprotocol",
        "trust_forwarded_host",
        "trusted_proxies",
        "version",
    )

    version: frozenset[str]
    origin: OriginPolicy
    subprotocol: tuple[str, ...] | Callable[[list[str], RequestHead], str | None]
    engine: str
    authorize: Authorize | None
    broker: str | None
    broker_down: str
    health_path: str | None
    red_when_broker_down: bool
    compression: Deflate | None
    slow: str
    proxy_protocol: TrustedNetworks
    trusted_proxies: TrustedNetworks
    trust_forwarded_host: bool
    asgi: ASGIApplication | None
    root_path: str
    lifespan: str
    forwarded_headers: str
    access_log: bool
    response_headers: tuple[tuple[str, str], ...]
    server_header: bool
    date_header: bool
    json_type: Any
    invalid_json: str
    #: The two as connections need them.
    json_reading: JSONReading
    #: What each answer has unless it sets them itself: `response_headers`, and Server.
    added_headers: tuple[tuple[str, str], ...]
    limits: Limits
    #: Whether `body_size` was given: if not, it is no limit for requests to ASGI applications.
    has_body_size: bool
    #: Registers a function for OPTIONS requests of a path; None: no server has these options.
    register: Callable[..., Any] | None

    def __init__(
        self,
        *,
        version: str | Iterable[str] = "auto",
        origin: OriginOption = "*",
        subprotocol: SubprotocolOption = None,
        engine: str = "auto",
        authorize: Authorize | None = None,
        compression: bool | Deflate | None = None,
        broker: str | None = None,
        broker_down: str = "queue",
        health_path: str | None = None,
        red_when_broker_down: bool = False,
        slow: str = "close",
        proxy_protocol: str | Iterable[str] = (),
        trusted_proxies: str | Iterable[str] = (),
        trust_forwarded_host: bool = False,
        asgi: ASGIApplication | None = None,
        root_path: str = "",
        lifespan: str = "auto",
        forwarded_headers: str = "all",
        access_log: bool = False,
        response_headers: HeaderPairs = (),
        server_header: bool = False,
        date_header: bool = True,
        json_type: Any = None,
        invalid_json: str = "close",
        **limits: Any,
    ) -> None:
        for name in limits:
            if name not in LIMIT_NAMES:
                raise TypeError(
                    describe_unknown_option(name, OPTION_NAMES, SERVER_EVENTS, CONNECTION_EVENTS)
                )
        self.version = normalize_version(version)
        self.origin = normalize_origin(origin)
        self.subprotocol = normalize_subprotocol(subprotocol)
        self.engine = check_engine(engine)
        self.authorize = check_authorize(authorize)
        self.compression = normalize_compression(compression)
        self.broker = check_broker(broker)
        self.broker_down = check_broker_down(broker_down)
        self.health_path = None if health_path is None else check_health_path(health_path)
        self.red_when_broker_down = check_bool("red_when_broker_down", red_when_broker_down)
        self.slow = check_slow(slow)
        self.proxy_protocol = TrustedNetworks("proxy_protocol", proxy_protocol)
        self.trusted_proxies = TrustedNetworks("trusted_proxies", trusted_proxies)
        self.trust_forwarded_host = check_bool("trust_forwarded_host", trust_forwarded_host)
        self.forwarded_headers = check_forwarded_headers(forwarded_headers)
        self.access_log = check_bool("access_log", access_log)
        self.response_headers = check_response_headers(response_headers)
        self.server_header = check_bool("server_header", server_header)
        self.date_header = check_bool("date_header", date_header)
        self.json_type = json_type
        self.invalid_json = check_invalid_json(invalid_json)
        self.json_reading = JSONReading(make_decoder(json_type), self.invalid_json)
        self.added_headers = list_added(self.response_headers, self.server_header)
        self.asgi = None if asgi is None else check_application("asgi", asgi)
        self.root_path = check_root_path(root_path)
        self.lifespan = check_lifespan(lifespan)
        self.has_body_size = "body_size" in limits
        high_water = limits.get("high_water")
        if isinstance(high_water, int) and "low_water" not in limits:
            limits["low_water"] = max(high_water // 4, 1)
        self.limits = Limits(**limits)
        self.register = None

    @overload
    def __call__(self, path: str) -> Callable[[_L], _L]: ...
    @overload
    def __call__(self, path: str, handler: Callable[..., object]) -> Any: ...
    def __call__(self, path: str, handler: Any = _MISSING) -> Any:
        """Let a function answer OPTIONS requests of a path: `@server.options("/items")`.

        `server.options` is what the server was made with. Called, it registers a function, as
        `server.get` does, since OPTIONS is a method of HTTP too. Raises what that raises.
        """
        if self.register is None:
            raise TypeError("options: expected those of a server, which has paths")
        return self.register(path) if handler is _MISSING else self.register(path, handler)


def list_added(
    response_headers: tuple[tuple[str, str], ...], server_header: bool
) -> tuple[tuple[str, str], ...]:
    """Return the headers that each answer has unless it sets them itself."""
    if server_header and not any(name.lower() == "server" for name, _ in response_headers):
        return (*response_headers, ("Server", "sockwave"))
    return response_headers


def check_health_path(path: str) -> str:
    """Return the path at which a server says how it is. Raises TypeError or ValueError."""
    if not isinstance(path, str):
        raise TypeError(f"health_path: expected str or None, given {type(path).__name__}")
    if not is_plain_path(path):
        raise ValueError(f"health_path: expected a path, such as '/health', given {path!r}")
    return path


def is_plain_path(path: str) -> bool:
    """Tell whether a text is a path without parameters."""
    return path.startswith("/") and "{" not in path


def check_bool(option: str, value: bool) -> bool:
    """Return `value`; raise TypeError unless it is True or False."""
    if not isinstance(value, bool):
        raise TypeError(f"{option}: expected bool, given {type(value).__name__}")
    return value


def check_invalid_json(reaction: str) -> str:
    """Return `reaction`; raise TypeError or ValueError unless it is one of INVALID_JSON."""
    return check_choice("invalid_json", reaction, INVALID_JSON, "'close' or 'error'")


def check_forwarded_headers(names: str) -> str:
    """Return `names`; raise TypeError or ValueError unless it is one of FORWARDED_HEADERS."""
    return check_choice("forwarded_headers", names, FORWARDED_HEADERS, "'all' or 'x-forwarded'")


def check_response_headers(headers: HeaderPairs) -> tuple[tuple[str, str], ...]:
    """Return the headers as pairs; raise TypeError or ValueError for what cannot be one."""
    pairs = check_headers(headers)
    for name, _ in pairs:
        if name.lower() in FRAMING_HEADERS:
            raise ValueError(f"response_headers: expected none that frames, given {name!r}")
    return pairs


def check_authorize(authorize: Authorize | None) -> Authorize | None:
    """Return `authorize`; raise TypeError unless it is None or a function that runs when called."""
    if authorize is not None:
        if not callable(authorize):
            raise TypeError(
                f"authorize: expected a function or None, given {type(authorize).__name__}"
            )
        check_runs("authorize", authorize)
    return authorize


def normalize_subprotocol(
    subprotocol: SubprotocolOption,
) -> tuple[str, ...] | Callable[[list[str], RequestHead], str | None]:
    """Return the names in order of preference, () for None, or the callable."""
    if subprotocol is None:
        return ()
    if callable(subprotocol):
        return check_plain("subprotocol", subprotocol)
    names = collect_names("subprotocol", subprotocol)
    for name in names:
        if not is_token(name):
            raise ValueError(f"subprotocol: expected tokens (RFC 6455, 4.1), given {name!r}")
    return names


def normalize_compression(compression: bool | Deflate | None) -> Deflate | None:
    """Return the settings of permessage-deflate (RFC 7692); None: compression is off."""
    if isinstance(compression, Deflate):
        return compression
    if compression is not None and not isinstance(compression, bool):
        raise TypeError(
            "compression: expected True, False, None or sockwave.Deflate, "
            f"given {type(compression).__name__}"
        )
    return Deflate() if compression else None


def check_engine(engine: str) -> str:
    """Return `engine`; raise TypeError or ValueError unless it is one that runs on this system."""
    check_choice("engine", engine, ENGINES, "'auto', 'epoll' or 'asyncio'")
    if engine == "epoll" and not hasattr(select, "epoll"):
        raise ValueError("engine: expected 'auto' or 'asyncio' on a system without epoll")
    return engine

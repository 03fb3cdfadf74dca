"""ASGI applications: what is accepted as one, where it is mounted, and which one takes a request.

The specification is "ASGI 3.0" with its HTTP and WebSocket format 2.4, of asgi.readthedocs.io.
"""

import inspect
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, Generic, Protocol, TypeAlias, TypeVar

from sockwave.asgi.lifespan import Lifespan
from sockwave.core.asgi.call import ApplicationTaker
from sockwave.core.asgi.scope import ScopeTemplate, decode_path
from sockwave.core.http.request_head import RequestHead
from sockwave.core.http.settings import Taker
from sockwave.functions import generates

Scope: TypeAlias = MutableMapping[str, Any]
Message: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Message]]
Send: TypeAlias = Callable[[Message], Awaitable[None]]
ASGIApplication: TypeAlias = Callable[[Scope, Receive, Send], Awaitable[None]]


def check_application(name: str, application: object) -> ASGIApplication:
    """Return `application`; raise TypeError, naming the option, unless it may be one of ASGI 3."""
    if not callable(application):
        raise TypeError(f"{name}: expected an ASGI application, given {type(application).__name__}")
    kind = generates(application)
    if kind:
        raise TypeError(f"{name}: expected an ASGI application, given {kind}: {application!r}")
    try:
        signature = inspect.signature(application)
    except (TypeError, ValueError):
        return application  # no signature: a built-in, or an instance with `__call__` in a slot
    try:
        signature.bind({}, None, None)
    except TypeError:
        raise TypeError(
            f"{name}: expected an ASGI 3 application, an async callable of scope, receive and "
            f"send, given {application!r}, which takes other arguments. Applications of ASGI 2 "
            "(scope alone) need asgiref.compatibility.guarantee_single_callable"
        ) from None
    return application


def check_prefix(prefix: object) -> str:
    """Return the prefix of a mount without a slash at its end: "" for "/"."""
    if not isinstance(prefix, str):
        raise TypeError(f"prefix: expected str, given {type(prefix).__name__}")
    if not prefix.startswith("/") or "//" in prefix or "?" in prefix or "#" in prefix:
        raise ValueError(f"prefix: expected a path such as '/api', given {prefix!r}")
    return prefix.removesuffix("/")


def check_root_path(root_path: object) -> str:
    """Return the option `root_path` without a slash at its end; raise TypeError or ValueError."""
    if not isinstance(root_path, str):
        raise TypeError(f"root_path: expected str, given {type(root_path).__name__}")
    if root_path and not root_path.startswith("/"):
        raise ValueError(f"root_path: expected '' or a path such as '/v1', given {root_path!r}")
    return root_path.rstrip("/")


def check_lifespan(lifespan: object) -> str:
    """Return the option `lifespan`; raise TypeError or ValueError for an unknown value."""
    if not isinstance(lifespan, str):
        raise TypeError(f"lifespan: expected str, given {type(lifespan).__name__}")
    if lifespan not in ("auto", "on", "off"):
        raise ValueError(f"lifespan: expected 'auto', 'on' or 'off', given {lifespan!r}")
    return lifespan


class Application:
    """An ASGI application, where it stands, and its lifespan."""

    __slots__ = ("call", "lifespan", "prefix", "root_path", "taker", "topics", "websocket_template")

    def __init__(
        self, call: ASGIApplication, lifespan: Lifespan, *, root_path: str, prefix: str = ""
    ) -> None:
        self.call = call
        #: Of all places where the same callable stands.
        self.lifespan = lifespan
        #: The paths that it takes begin with this; "" for all.
        self.prefix = prefix
        #: What a proxy in front has taken away from each path: the option `root_path`.
        self.root_path = root_path
        #: The calls of `scope["extensions"]["sockwave"]` that are about topics.
        self.topics: dict[str, Any] = {}
        #: What calls it for requests, as long as the server runs.
        self.taker: ApplicationTaker | None = None
        #: What the scopes of its WebSockets have in common, as long as the server runs.
        self.websocket_template: ScopeTemplate


class Mounted(Protocol):
    """What stands at a prefix: an application, or a folder of files."""

    prefix: str

    @property
    def taker(self) -> Taker | None:
        """What takes its requests, as long as the server runs."""


M = TypeVar("M", bound=Mounted)


class Places(Generic[M]):
    """What takes a path: that which stands at the longest prefix of whole segments."""

    __slots__ = ("_mounted",)

    def __init__(self) -> None:
        # The longest prefixes first.
        self._mounted: list[M] = []

    def __bool__(self) -> bool:
        return bool(self._mounted)

    def add(self, mounted: M) -> None:
        """Add something at its prefix; raises ValueError if something else has the same."""
        prefix = mounted.prefix
        if any(one.prefix == prefix for one in self._mounted):
            raise ValueError(f"prefix: expected one that is free, given {prefix or '/'!r} again")
        self._mounted.append(mounted)
        self._mounted.sort(key=lambda one: -len(one.prefix))

    def all(self) -> list[M]:
        """Return all that was added."""
        return list(self._mounted)

    def find(self, head: RequestHead) -> M | None:
        """Return what stands where a request's path leads; None if nothing does."""
        if not self._mounted:
            return None
        path = decode_path(head.path.encode("latin-1"))
        for one in self._mounted:
            if path.startswith(one.prefix) and path[len(one.prefix) :][:1] in ("", "/"):
                return one
        return None

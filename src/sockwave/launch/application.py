"""A server for what TARGET names: an application, a `sockwave.Server`, or what makes one."""

import inspect
import logging
import random
from collections.abc import Callable, Sequence
from typing import Any

from sockwave.asgi.wsgi import wsgi
from sockwave.errors import LaunchError, SockwaveError
from sockwave.functions import is_async
from sockwave.launch.flags import FLAGS
from sockwave.launch.settings import Settings
from sockwave.options import check_health_path
from sockwave.server.server import Server

logger = logging.getLogger("sockwave")

#: Who is believed where `--forwarded-allow-ips` is `*`.
_EVERYBODY = ("0.0.0.0/0", "::/0", "unix")


def make_server(target: object, settings: Settings) -> Server:
    """Return the server of a target that was imported.

    Raises LaunchError for a target that cannot be served, TypeError or ValueError for a setting
    that no server can have.
    """
    if settings.factory:
        target = _make(target)
    elif _is_factory(target):
        logger.warning("TARGET is a function that makes an application: expected --factory")
        target = _make(target)
    if isinstance(target, Server):
        _check_server(target, settings)
        server = target
    else:
        server = _serve_application(target, settings)
    if settings.broker is not None:
        _use_broker(server, settings.broker)
    if settings.health_path is not None:
        _serve_health(server, check_health_path(settings.health_path))
    server._drain_s = settings.timeout_graceful_shutdown
    server._make_loop = find_loop(settings.loop)
    return server


def _serve_health(server: Server, path: str) -> None:
    if path == server._host.options.health_path:  # it does so already
        return
    try:
        server._serve_health(path)
    except ValueError as error:  # a route of the application has it
        raise LaunchError(f"--health-path: {error}") from None


def _use_broker(server: Server, url: str) -> None:
    try:
        server._use_broker(url)
    except (ImportError, SockwaveError) as error:
        raise LaunchError(f"--broker: {error}") from None


def _make(factory: object) -> object:
    if not callable(factory):
        raise LaunchError(f"--factory: expected a function, given {type(factory).__name__}")
    made: object = factory()
    if inspect.iscoroutine(made):
        made.close()
        raise LaunchError("--factory: expected a plain function, given an async one")
    return made


def _is_factory(target: object) -> bool:
    """Tell whether a target is a function without parameters: no application is one."""
    if not inspect.isfunction(target) or is_async(target):
        return False
    return not inspect.signature(target).parameters


def _check_server(server: Server, settings: Settings) -> None:
    if server.addresses:
        where = ", ".join(map(str, server.addresses))
        raise LaunchError(
            f"TARGET is a server that listens on {where} already: expected one for which `listen` "
            "was not called, as the addresses are those of --host, --port, --uds or --fd"
        )
    ignored = [flag.spelling for flag in FLAGS if flag.option and flag.name in settings.given]
    if ignored:
        logger.warning(
            "%s: no effect, as TARGET is a sockwave.Server, which has options of its own",
            ", ".join(ignored),
        )


def _serve_application(target: object, settings: Settings) -> Server:
    if not callable(target):
        raise LaunchError(
            f"TARGET: expected an application or a sockwave.Server, given {type(target).__name__}"
        )
    return Server(asgi=as_asgi(target, settings.interface), **find_options(settings))


def as_asgi(target: Callable[..., Any], interface: str) -> Callable[..., Any]:
    """Return an ASGI 3 application; raises LaunchError for what is none."""
    if interface == "wsgi":
        try:
            return wsgi(target)
        except ImportError:
            raise LaunchError("--interface wsgi needs: pip install 'sockwave[wsgi]'") from None
    if interface == "auto" and not is_async(target):
        count = _count_parameters(target)
        if count == 2:
            raise LaunchError("TARGET looks like a WSGI application: expected --interface wsgi")
        if count == 1:
            raise LaunchError("TARGET looks like an ASGI 2 application: expected ASGI 3")
    return target


def _count_parameters(function: Callable[..., Any]) -> int | None:
    """Return how many arguments a call needs; None where that is not known."""
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return None
    if any(one.kind is one.VAR_POSITIONAL for one in parameters):
        return None
    return sum(
        one.kind in (one.POSITIONAL_ONLY, one.POSITIONAL_OR_KEYWORD) and one.default is one.empty
        for one in parameters
    )


def find_options(settings: Settings) -> dict[str, Any]:
    """Return the options of `create_server` that the settings stand for.

    What was not given is left out, unless serving an application has another default.
    """
    options = {
        flag.option: getattr(settings, flag.name)
        for flag in FLAGS
        if flag.option and flag.name in settings.given
    }
    options["max_size"] = settings.ws_max_size
    options["access_log"] = settings.access_log
    options["server_header"] = settings.server_header
    options["trusted_proxies"] = find_proxies(settings)
    options["forwarded_headers"] = "x-forwarded"
    if "response_headers" in options:
        options["response_headers"] = split_headers(settings.headers)
    return options


def find_proxies(settings: Settings) -> Sequence[str]:
    """Return the proxies that are believed."""
    if not settings.proxy_headers:
        return ()
    names = settings.forwarded_allow_ips
    if isinstance(names, str):
        names = [name.strip() for name in names.split(",") if name.strip()]
    if "*" in names:
        logger.warning(
            "--forwarded-allow-ips '*': every client is believed about its address; expected the "
            "addresses of the proxies, unless nobody else can reach this server"
        )
        return _EVERYBODY
    return names


def split_headers(headers: Sequence[str | Sequence[str]]) -> list[tuple[str, str]]:
    """Return headers as pairs; raises LaunchError for one that is none."""
    pairs = []
    for header in headers:
        pair = header.split(":", 1) if isinstance(header, str) else tuple(header)
        if len(pair) != 2:
            raise LaunchError(f"--header: expected Name:value, given {header!r}")
        pairs.append((pair[0].strip(), pair[1].strip()))
    return pairs


def find_loop(name: str) -> Callable[[], Any] | None:
    """Return what makes the loop; None for the one that `Server.run` makes."""
    if name in ("auto", "asyncio"):
        return None
    if name == "uvloop":
        try:
            import uvloop
        except ImportError:
            raise LaunchError("--loop uvloop needs: pip install uvloop") from None
        make: Callable[[], Any] = uvloop.new_event_loop
        return make
    if ":" in name:
        from sockwave.launch.target import load_target

        found = load_target(name, ".")
        if callable(found):
            return found
    raise LaunchError(f"--loop: expected auto, asyncio, uvloop or module:function, given {name!r}")


def draw_max_requests(settings: Settings) -> int | None:
    """Return after how many requests this worker is to be replaced."""
    if settings.limit_max_requests is None:
        return None
    jitter = random.randint(0, settings.limit_max_requests_jitter)  # noqa: S311 - no secret
    return settings.limit_max_requests + jitter

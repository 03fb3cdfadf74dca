"""The settings of a service: the flags of `sockwave serve`, the keywords of `sockwave.run`."""

import math
import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from sockwave.errors import LaunchError
from sockwave.limits import Limits
from sockwave.options import is_plain_path

#: Each flag can be given as a variable of the environment, too: `--log-level` is
#: SOCKWAVE_LOG_LEVEL.
ENVIRONMENT_PREFIX = "SOCKWAVE_"

LOG_LEVELS = ("critical", "error", "warning", "info", "debug", "trace")

#: Those that have no default of uvicorn's.
LIMITS = Limits()

_TRUE = frozenset({"1", "true", "t", "yes", "y", "on"})
_FALSE = frozenset({"0", "false", "f", "no", "n", "off"})


def parse_bool(text: str) -> bool:
    """Convert a truth value, as uvicorn's flags take it."""
    if text.lower() in _TRUE:
        return True
    if text.lower() in _FALSE:
        return False
    raise ValueError("expected true or false")


def parse_count(text: str) -> int:
    """Convert a whole number, 0 or more."""
    if text.isascii() and text.isdigit():
        return int(text)
    raise ValueError("expected a whole number")


def parse_positive(text: str) -> int:
    """Convert a whole number above 0."""
    if parse_count(text) > 0:
        return int(text)
    raise ValueError("expected a whole number above 0")


def parse_port(text: str) -> int:
    """Convert a port."""
    if parse_count(text) <= 65535:
        return int(text)
    raise ValueError("expected a number from 0 to 65535")


def parse_seconds(text: str) -> float:
    """Convert a time, 0 or more."""
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if math.isfinite(seconds) and seconds >= 0:
        return seconds
    raise ValueError("expected seconds")


def parse_interval(text: str) -> float | None:
    """Convert a time above 0; "none" means never."""
    if text.lower() == "none":
        return None
    if seconds := parse_seconds(text):
        return seconds
    raise ValueError("expected seconds, or none")


def parse_limit(text: str) -> float | None:
    """Convert a time, 0 or more; "none" means without a limit."""
    return None if text.lower() == "none" else parse_seconds(text)


def parse_health_path(text: str) -> str:
    """Convert a path without parameters."""
    if is_plain_path(text):
        return text
    raise ValueError("expected a path, such as '/health'")


@dataclass(frozen=True, slots=True)
class Flag:
    """One setting."""

    #: As a keyword of `run`; the flag is spelt with dashes.
    name: str
    default: Any
    help: str
    #: Converts the text of a flag, or of a variable; None: a switch, with or without `--no-`.
    parse: Callable[[str], Any] | None = str
    choices: tuple[str, ...] | None = None
    metavar: str | None = None
    #: The flag, where it is not the name: one that may be given several times is in the singular.
    flag: str | None = None
    is_multiple: bool = False
    #: The switch that turns it off, where it has one.
    negative: str | None = None
    #: The option of `create_server` that it sets, which a `sockwave.Server` has of its own.
    option: str | None = None
    #: Why it has no effect here, in a sentence; "" for a flag that has.
    without_effect: str = ""

    @property
    def spelling(self) -> str:
        """The flag as it stands on the command line."""
        return "--" + (self.flag or self.name.replace("_", "-"))

    @property
    def variable(self) -> str:
        """The variable of the environment that gives it."""
        return ENVIRONMENT_PREFIX + self.name.upper()


def _switch(name: str, default: bool | None, text: str, *, off: bool = False, **more: Any) -> Flag:
    """Declare a switch; `off`: with one that turns it off."""
    negative = f"--no-{name.replace('_', '-')}" if off else None
    return Flag(name, default, text, parse=None, negative=negative, **more)


def _number(name: str, default: int | None, text: str, **more: Any) -> Flag:
    return Flag(name, default, text, parse=parse_positive, metavar="N", **more)


def _file(name: str, text: str) -> Flag:
    return Flag(name, None, text, metavar="FILE")


FLAGS = (
    # ---- what is served
    _switch("factory", False, "TARGET is a function that makes the application"),
    Flag("app_dir", ".", "where TARGET is looked for first", metavar="DIR"),
    _file("env_file", "read variables of the environment from this file (extra: env)"),
    Flag(
        "interface",
        "auto",
        "what kind of application TARGET is (wsgi needs the extra: wsgi)",
        choices=("auto", "asgi3", "wsgi"),
    ),
    Flag(
        "lifespan",
        "auto",
        "whether the application is told of start and end",
        choices=("auto", "on", "off"),
        option="lifespan",
    ),
    Flag("root_path", "", "the path below which a proxy serves the application",
         metavar="PATH", option="root_path"),
    # ---- where
    Flag("host", "127.0.0.1", "the address to listen on"),
    Flag("port", 8000, "the port; 0 picks a free one", parse=parse_port, metavar="N"),
    Flag("uds", None, "listen on a Unix socket instead", metavar="PATH"),
    Flag("fd", None, "listen on this inherited descriptor instead", parse=parse_count, metavar="N"),
    _number("backlog", 4096, "connections that the kernel queues until they are accepted"),
    # ---- processes
    _number("workers", None, "serve by so many processes (or: $WEB_CONCURRENCY)"),
    Flag("sequencer", None, "the Unix socket by which others publish, with --workers",
         metavar="PATH"),
    Flag("broker", None, "the broker that connects several hosts: valkey://..., nats://...",
         metavar="URL"),
    Flag("health_path", None, "the path at which load balancers ask how the server is",
         parse=parse_health_path, metavar="PATH"),
    _number("limit_max_requests", None, "replace a worker that has had so many requests"),
    Flag("limit_max_requests_jitter", 0, "at random up to so many more",
         parse=parse_count, metavar="N"),
    _switch("reload", False, "start anew when a file changes (extra: reload)"),
    Flag("reload_dirs", (), "a directory to watch (default: the current one)",
         flag="reload-dir", is_multiple=True, metavar="DIR"),
    Flag("reload_includes", (), "a pattern of files to watch, besides *.py",
         flag="reload-include", is_multiple=True, metavar="PATTERN"),
    Flag("reload_excludes", (), "a pattern of files, or a directory, not to watch",
         flag="reload-exclude", is_multiple=True, metavar="PATTERN"),
    Flag("reload_delay", 0.25, "seconds in which changes are taken together",
         parse=parse_seconds, metavar="S"),
    Flag("timeout_graceful_shutdown", 30.0,
         "seconds that connections have to end when the server does; or none",
         parse=parse_limit, metavar="S"),
    Flag("loop", "auto", "the event loop: auto, asyncio, uvloop, or module:function"),
    # ---- TLS
    _file("ssl_certfile", "speak TLS, with the certificates in this file"),
    _file("ssl_keyfile", "the certificate's key (default: in the same file)"),
    Flag("ssl_keyfile_password", None, "the key's password", metavar="TEXT"),
    _file("ssl_ca_certs", "who may have signed the certificates of clients"),
    Flag("ssl_cert_reqs", 0, "client certificates: 0 none, 1 optional, 2 required",
         choices=("0", "1", "2"), parse=parse_count),
    Flag("ssl_ciphers", None, "ciphers of TLS 1.2, as OpenSSL spells them", metavar="LIST"),
    # ---- behind a proxy
    _switch("proxy_headers", True, "believe X-Forwarded-For and -Proto of proxies", off=True),
    Flag("forwarded_allow_ips", "127.0.0.1,::1",
         "trusted proxies: addresses, networks, unix, or * (or: $FORWARDED_ALLOW_IPS)",
         metavar="LIST", option="trusted_proxies"),
    # ---- limits
    _number("limit_concurrency", None, "connections at once; others get 503",
            option="max_connections"),
    Flag("timeout_keep_alive", LIMITS.keep_alive_timeout, "seconds between two requests",
         parse=parse_interval, metavar="S", option="keep_alive_timeout"),
    _number("h11_max_incomplete_event_size", LIMITS.header_block_size, "bytes of a request's head",
            option="header_block_size"),
    _number("ws_max_size", 16 << 20, "bytes of a WebSocket message", option="max_size"),
    _number("ws_max_queue", LIMITS.queue_count, "WebSocket messages that wait for the application",
            option="queue_count"),
    Flag("ws_ping_interval", LIMITS.ping_interval, "seconds between two pings; or none",
         parse=parse_interval, metavar="S", option="ping_interval"),
    Flag("ws_ping_timeout", LIMITS.ping_timeout, "seconds for the pong; or none",
         parse=parse_interval, metavar="S", option="ping_timeout"),
    Flag("ws_per_message_deflate", False, "compress WebSocket messages",
         parse=parse_bool, metavar="BOOL", option="compression"),
    # ---- answers
    Flag("headers", (), "a header of all answers, as Name:value",
         flag="header", is_multiple=True, metavar="HEADER", option="response_headers"),
    _switch("server_header", True, "send Server: sockwave", off=True, option="server_header"),
    _switch("date_header", True, "send Date", off=True, option="date_header"),
    # ---- logging
    Flag("log_level", None, "how much is logged (default: info)", choices=LOG_LEVELS),
    _file("log_config", "configure logging by this file: .ini, .json or .yaml"),
    _switch("access_log", True, "log each request", off=True, option="access_log"),
    _switch("use_colors", None, "colour the log (default: on a terminal)", off=True),
    # ---- flags of uvicorn's that have no effect here
    Flag("http", "auto", "no effect", without_effect="there is one implementation of HTTP"),
    Flag("ws", "auto", "no effect", without_effect="there is one implementation of WebSockets"),
    _switch("http2", False, "no effect", without_effect="HTTP/1.1 is spoken"),
    Flag("ssl_version", None, "no effect",
         without_effect="TLS 1.2 and 1.3 are spoken, as Python's ssl module recommends"),
    Flag("timeout_worker_healthcheck", None, "no effect",
         without_effect="a worker that is busy for long is not killed"),
    _switch("reset_contextvars", False, "no effect",
            without_effect="each request has context variables of its own"),
)  # fmt: skip

BY_NAME = {flag.name: flag for flag in FLAGS}


def read_environment(environment: Mapping[str, str]) -> dict[str, Any]:
    """Return the settings that SOCKWAVE_* variables give; raises LaunchError for a wrong value."""
    return {
        flag.name: convert(flag, environment[flag.variable], flag.variable)
        for flag in FLAGS
        if environment.get(flag.variable, "")
    }


def convert(flag: Flag, text: str, where: str) -> Any:
    """Convert the text of a flag; raises LaunchError that names `where` it stood."""
    if flag.is_multiple:
        return tuple(shlex.split(text))
    if flag.choices is not None and text not in flag.choices:
        raise LaunchError(f"{where}: expected {', '.join(flag.choices)}, given {text!r}")
    try:
        return (flag.parse or parse_bool)(text)
    except ValueError as error:
        raise LaunchError(f"{where}: {error}, given {text!r}") from None

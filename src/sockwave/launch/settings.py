"""The settings of one service, from flags, the environment and defaults."""

import dataclasses
import difflib
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Self

from sockwave.errors import LaunchError
from sockwave.launch.flags import BY_NAME, LIMITS


@dataclass(slots=True, kw_only=True)
class Settings:
    """What each flag says; see `sockwave.launch.flags` for their meaning."""

    factory: bool = False
    app_dir: str = "."
    env_file: str | None = None
    interface: str = "auto"
    lifespan: str = "auto"
    root_path: str = ""
    host: str = "127.0.0.1"
    port: int = 8000
    uds: str | None = None
    fd: int | None = None
    backlog: int = 4096
    workers: int | None = None
    sequencer: str | None = None
    broker: str | None = None
    health_path: str | None = None
    limit_max_requests: int | None = None
    limit_max_requests_jitter: int = 0
    reload: bool = False
    reload_dirs: Sequence[str] = ()
    reload_includes: Sequence[str] = ()
    reload_excludes: Sequence[str] = ()
    reload_delay: float = 0.25
    timeout_graceful_shutdown: float | None = 30.0
    loop: str = "auto"
    ssl_certfile: str | None = None
    ssl_keyfile: str | None = None
    ssl_keyfile_password: str | None = None
    ssl_ca_certs: str | None = None
    ssl_cert_reqs: int = 0
    ssl_ciphers: str | None = None
    proxy_headers: bool = True
    forwarded_allow_ips: str | Sequence[str] = "127.0.0.1,::1"
    limit_concurrency: int | None = None
    timeout_keep_alive: float | None = LIMITS.keep_alive_timeout
    h11_max_incomplete_event_size: int = LIMITS.header_block_size
    ws_max_size: int = 16 << 20
    ws_max_queue: int = LIMITS.queue_count
    ws_ping_interval: float | None = LIMITS.ping_interval
    ws_ping_timeout: float | None = LIMITS.ping_timeout
    ws_per_message_deflate: bool = False
    headers: Sequence[str | Sequence[str]] = ()
    server_header: bool = True
    date_header: bool = True
    log_level: str | int | None = None
    log_config: Any = None
    access_log: bool = True
    use_colors: bool | None = None
    #: The names of the settings that were given, and are not defaults.
    given: frozenset[str] = field(default_factory=frozenset)
    #: The names of those given that have no effect here.
    ignored: tuple[str, ...] = ()

    @classmethod
    def collect(cls, given: Mapping[str, Any]) -> Self:
        """Make the settings of those that were given.

        Raises TypeError for an unknown name, with the nearest one.
        """
        for name in given:
            if name not in BY_NAME:
                nearest = difflib.get_close_matches(name, BY_NAME, n=1)
                hint = f"; did you mean {nearest[0]!r}?" if nearest else ""
                raise TypeError(f"unknown setting {name!r}{hint}")
        ignored = tuple(name for name in given if BY_NAME[name].without_effect)
        taken = {name: _plain(value) for name, value in given.items() if name not in ignored}
        for name in ("reload_dirs", "reload_includes", "reload_excludes"):
            value = taken.get(name, ())
            taken[name] = (value,) if isinstance(value, str) else tuple(value or ())
        return cls(**taken, given=frozenset(given), ignored=ignored)

    def to_json(self) -> dict[str, Any]:
        """Return what `from_json` makes the same settings of, in another process."""
        fields = {one.name: getattr(self, one.name) for one in dataclasses.fields(self)}
        return fields | {"given": sorted(self.given)}

    @classmethod
    def from_json(cls, fields: Mapping[str, Any]) -> Self:
        """Return the settings that `to_json` was called for."""
        return cls(**{**fields, "given": frozenset(fields["given"])})

    @property
    def worker_count(self) -> int:
        """How many workers there are; 1 without the flag."""
        return self.workers or 1

    def read_shared_variables(self, environment: Mapping[str, str]) -> None:
        """Take what variables say that other servers read too, where no flag says anything."""
        if self.workers is None and (count := environment.get("WEB_CONCURRENCY")):
            if not (count.isascii() and count.isdigit() and int(count)):
                raise LaunchError(f"WEB_CONCURRENCY: expected a number above 0, given {count!r}")
            self.workers = int(count)
        if "forwarded_allow_ips" not in self.given and (
            proxies := environment.get("FORWARDED_ALLOW_IPS")
        ):
            self.forwarded_allow_ips = proxies


def _plain(value: Any) -> Any:
    """Return a path as text."""
    return os.fspath(value) if isinstance(value, os.PathLike) else value

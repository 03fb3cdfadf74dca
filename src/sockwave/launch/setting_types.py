"""The settings of `sockwave.run` as type checkers and editors see them.

`Settings` checks them when the program runs; `docs/serve.md` says what each of them means.
"""

import os
from collections.abc import Sequence
from typing import Any, Literal, TypeAlias, TypedDict

File: TypeAlias = str | os.PathLike[str]


class RunSettings(TypedDict, total=False):
    """What `sockwave.run` takes by name: the flags of `sockwave serve`."""

    factory: bool
    app_dir: File
    env_file: File | None
    interface: Literal["auto", "asgi3", "wsgi"]
    lifespan: Literal["auto", "on", "off"]
    root_path: str
    host: str
    port: int
    uds: File | None
    fd: int | None
    backlog: int
    broker: str | None
    health_path: str | None
    workers: int | None
    sequencer: File | None
    limit_max_requests: int | None
    limit_max_requests_jitter: int
    reload: bool
    reload_dirs: File | Sequence[str]
    reload_includes: File | Sequence[str]
    reload_excludes: File | Sequence[str]
    reload_delay: float
    timeout_graceful_shutdown: float | None
    loop: str
    ssl_certfile: File | None
    ssl_keyfile: File | None
    ssl_keyfile_password: str | None
    ssl_ca_certs: File | None
    ssl_cert_reqs: Literal[0, 1, 2]
    ssl_ciphers: str | None
    proxy_headers: bool
    forwarded_allow_ips: str | Sequence[str]
    limit_concurrency: int | None
    timeout_keep_alive: float | None
    h11_max_incomplete_event_size: int
    ws_max_size: int
    ws_max_queue: int
    ws_ping_interval: float | None
    ws_ping_timeout: float | None
    ws_per_message_deflate: bool
    headers: Sequence[str | Sequence[str]]
    server_header: bool
    date_header: bool
    log_level: str | int | None
    log_config: Any
    access_log: bool
    use_colors: bool | None

    # Without effect here: for commands that were written for uvicorn.
    http: Any
    ws: Any
    http2: Any
    ssl_version: Any
    timeout_worker_healthcheck: Any
    reset_contextvars: Any

"""The options of a server as type checkers and editors see them: `create_server(**options)`.

`Options` checks them when the program runs; `docs/options.md` says what each of them means.
"""

from collections.abc import Iterable
from typing import Any, Literal, TypeAlias, TypedDict

from sockwave.asgi.application import ASGIApplication
from sockwave.deflate import Deflate
from sockwave.fields import HeaderPairs
from sockwave.handshake.origin import OriginOption
from sockwave.messages import SlowPolicy
from sockwave.options import Authorize, SubprotocolOption

VersionName: TypeAlias = Literal[
    "auto",
    "draft75",
    "draft76",
    "hybi-00",
    "hybi-07",
    "hybi-08",
    "hybi-09",
    "hybi-10",
    "hybi-11",
    "hybi-12",
    "hybi-13",
    "hybi-14",
    "hybi-15",
    "hybi-16",
    "hybi-17",
    "rfc6455",
]


class ServerOptions(TypedDict, total=False):
    """What `create_server`, `Server` and `serve` take by name: see `Options` and `Limits`."""

    version: VersionName | Iterable[VersionName]
    origin: OriginOption
    subprotocol: SubprotocolOption
    engine: Literal["auto", "epoll", "asyncio"]
    authorize: Authorize | None
    compression: bool | Deflate | None
    slow: SlowPolicy
    proxy_protocol: str | Iterable[str]
    trusted_proxies: str | Iterable[str]
    trust_forwarded_host: bool
    asgi: ASGIApplication | None
    root_path: str
    lifespan: Literal["auto", "on", "off"]
    forwarded_headers: Literal["all", "x-forwarded"]
    access_log: bool
    response_headers: HeaderPairs
    server_header: bool
    date_header: bool
    broker: str | None
    broker_down: Literal["queue", "raise", "local"]
    health_path: str | None
    red_when_broker_down: bool
    json_type: Any
    invalid_json: Literal["close", "error"]

    # The limits.
    max_connections: int | Literal["auto"] | None
    max_connections_per_address: int | None
    max_handshakes: int | None
    memory_budget: int | None
    handshake_timeout: float | None
    request_line_size: int
    header_count: int
    header_block_size: int
    body_size: int | None
    body_timeout: float | None
    answer_timeout: float | None
    keep_alive_timeout: float | None
    pipelined_count: int
    max_size: int | None
    fragment_count: int
    message_rate: float | None
    byte_rate: float | None
    control_rate: float | None
    control_burst: int
    queue_count: int
    queue_size: int
    max_tasks: int | None
    finish_timeout: float | None
    max_finishing: int | None
    listen_timeout: float | None
    high_water: int
    low_water: int
    max_backlog: int | None
    write_timeout: float | None
    ping_interval: float | None
    ping_timeout: float | None
    idle_timeout: float | None
    max_lifetime: float | None
    lifetime_jitter: float
    close_timeout: float | None
    subscription_count: int
    pattern_count: int
    topic_name_size: int
    topic_count: int
    history_budget: int
    append_size: int

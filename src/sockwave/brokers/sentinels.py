"""Sentinels: which server of Valkey, or of Redis, is the primary now."""

from typing import Any, TypeAlias
from urllib.parse import parse_qsl, unquote, urlencode, urlsplit, urlunsplit

from sockwave.brokers.tls_settings import read_tls_settings

#: Host and port.
Place: TypeAlias = tuple[str, int]

_SUFFIX = "+sentinel"
_PORT = 26379

# What the settings of the sentinels begin with in a URL; all others are those of the server.
_SETTING = "sentinel_"
_SETTINGS = ("username", "password")

# Sentinels speak TLS where the server does, with the same settings.
_WITH_TLS = ("valkeys", "rediss")


class Sentinels:
    """Several sentinels that watch one service."""

    def __init__(self, places: list[Place], service: str, settings: dict[str, Any]) -> None:
        self._places = places
        self._service = service
        self._settings = settings

    def find_primary(self, connect_s: float) -> Place:
        """Ask them for the primary, one after the other, each for so many seconds at most.

        Raises an exception of valkey's where none knows it.
        """
        from valkey import sentinel as client
        from valkey.backoff import NoBackoff
        from valkey.retry import Retry

        make: Any = client.Sentinel  # it has no types
        sentinel = make(
            self._places,
            sentinel_kwargs={
                "socket_timeout": connect_s,
                "socket_connect_timeout": connect_s,
                "retry": Retry(NoBackoff(), 0),
                **self._settings,
            },
        )
        try:
            host, port = sentinel.discover_master(self._service)
            return str(host), int(port)
        finally:
            for one in sentinel.sentinels:
                one.close()


def split_sentinels(url: str) -> tuple[str, Sentinels | None]:
    """Return the URL of a server, and the sentinels that know which it is; None: the URL says it.

    That of sentinels is `valkey+sentinel://USER:PASSWORD@HOST:26379,HOST:26379/SERVICE`, with the
    user and the password of the server. Raises ValueError for what is none.
    """
    parts = urlsplit(url)
    scheme = parts.scheme.lower()
    if not scheme.endswith(_SUFFIX):
        return url, None
    service = unquote(parts.path.strip("/"))
    if not service:
        raise ValueError("broker: expected the name of a service behind the sentinels")
    login, at, hosts = parts.netloc.rpartition("@")
    places = [split_place(one, _PORT, "sentinel") for one in hosts.split(",")]
    own: dict[str, Any] = {}
    others = []
    for name, value in parse_qsl(parts.query):
        if not name.startswith(_SETTING):
            others.append((name, value))
            continue
        setting = name.removeprefix(_SETTING)
        if setting not in _SETTINGS:
            raise ValueError(f"broker: expected {_SETTING}username or -password, given {name!r}")
        own[setting] = value
    base = scheme.removesuffix(_SUFFIX)
    if base in _WITH_TLS:
        own |= {"ssl": True, **read_tls_settings(dict(others))}
    server = f"{login}{at}primary"  # whatever the sentinels say
    return urlunsplit((base, server, "", urlencode(others), "")), Sentinels(places, service, own)


def split_place(place: str, port: int, what: str) -> Place:
    """Return host and port of one of several places. Raises ValueError for what is none."""
    parts = urlsplit(f"//{place}")
    try:
        port = parts.port or port
    except ValueError:
        raise ValueError(f"broker: expected HOST:PORT of each {what}, given {place!r}") from None
    if not parts.hostname:
        raise ValueError(f"broker: expected HOST:PORT of each {what}, given {place!r}")
    return parts.hostname, port

"""How a server of Valkey is reached: `valkey` knows TLS, passwords, users and their errors."""

from typing import Any

from sockwave.brokers.errors import PERMANENT_ERRORS, read_port
from sockwave.brokers.interface import Loop
from sockwave.brokers.sentinels import Place, split_sentinels
from sockwave.brokers.tls_settings import read_tls_settings
from sockwave.brokers.valkey import ValkeySession
from sockwave.brokers.valkey_names import ValkeyNames
from sockwave.brokers.valkey_publishing import ValkeyPublishing
from sockwave.core.topics.bridge import Bridge
from sockwave.errors import SockwaveError

# For a server that is there; meanwhile a thread waits, and not the loop.
_CONNECT_S = 2.0

#: What the names of channels begin with, unless the URL has another `prefix`.
PREFIX = "sockwave"


class ValkeyOpener:
    """Reaches one server."""

    def __init__(self, url: str, host: str) -> None:
        """Read the URL. Raises ValueError for what is none, ImportError without `valkey`."""
        try:
            import valkey.connection as client
            from valkey.backoff import NoBackoff
            from valkey.retry import Retry
        except ImportError as error:
            raise ImportError(
                f"broker: expected the package 'valkey' for {url.partition(':')[0]}://: "
                "pip install 'sockwave[valkey]'"
            ) from error
        url, self._sentinels = split_sentinels(url)
        read_port(url)
        try:
            settings: dict[str, Any] = client.parse_url(url)
        except ValueError as error:
            raise ValueError(f"broker: {error}") from None
        self._class = settings.pop("connection_class", client.Connection)
        prefix = settings.pop("prefix", PREFIX)
        if not prefix or not prefix.isprintable():
            raise ValueError(f"broker: expected a prefix to be printable, given {prefix!r}")
        self._names = ValkeyNames(prefix.encode())
        settings.setdefault("socket_connect_timeout", _CONNECT_S)
        settings.setdefault("socket_keepalive", True)
        settings.setdefault("client_name", f"sockwave-{host}" if host else None)
        if issubclass(self._class, client.SSLConnection):
            settings |= read_tls_settings(settings)
        # While it connects; the sockets have none afterwards.
        settings["socket_timeout"] = _CONNECT_S
        self._settings = settings | {"retry": Retry(NoBackoff(), 0), "protocol": 2}
        self._make()  # raises for a setting that does not exist

    @property
    def prefix(self) -> bytes:
        """What all names begin with."""
        return self._names.prefix

    @property
    def database(self) -> int:
        """The number of the database."""
        return int(self._settings.get("db", 0))

    def _make(self, place: Place | None = None, within_s: float = _CONNECT_S) -> Any:
        """Make a connection to the server, or to another place than its URL says."""
        changed: dict[str, Any] = {"host": place[0], "port": place[1]} if place else {}
        for name in ("socket_connect_timeout", "socket_timeout"):
            changed[name] = min(within_s, self._settings[name])
        try:
            return self._class(**self._settings | changed)
        except TypeError as error:
            raise ValueError(f"broker: expected settings that valkey knows: {error}") from None

    def connect(self) -> list[Any]:
        """Connect twice: to publish, and to hear."""
        return self._connect(2)

    def _connect(self, count: int, within_s: float = _CONNECT_S) -> list[Any]:
        if not self._sentinels:
            return self.connect_to(None, count, within_s)
        place = self._sentinels.find_primary(min(within_s, _CONNECT_S))
        connections = self.connect_to(place, count, within_s)
        try:
            check_primary(connections[0])
        except BaseException:
            self.discard(connections)
            raise
        return connections

    def connect_to(
        self, place: Place | None, count: int, within_s: float = _CONNECT_S
    ) -> list[Any]:
        """Connect to a server, so many times; None: to the one that the URL says.

        Raises an exception of valkey's.
        """
        within_s = min(within_s, _CONNECT_S)
        connections = [self._make(place, within_s) for _ in range(count)]
        try:
            for connection in connections:
                connection.connect()
        except BaseException:
            self.discard(connections)
            raise
        return connections

    def open(self, connected: object, loop: Loop, bridge: Bridge) -> "ValkeySession":
        """Make a session of the two connections."""
        assert isinstance(connected, list)
        return ValkeySession(loop, bridge, connected, self._names)

    def connect_publishing(self, within_s: float) -> ValkeyPublishing:
        """Connect to publish only, and block meanwhile."""
        from valkey.exceptions import AuthenticationError

        try:
            (connection,) = self._connect(1, within_s)
        except (*PERMANENT_ERRORS, AuthenticationError) as error:
            raise SockwaveError(f"{error}") from error
        return ValkeyPublishing(connection, self._names)

    def discard(self, connected: object) -> None:
        """Close the connections."""
        assert isinstance(connected, list)
        for connection in connected:
            connection.disconnect()


def check_primary(connection: Any) -> None:
    """Raise ConnectionError where a server is no primary: what a replica is given reaches few."""
    connection.send_command("ROLE")
    role = connection.read_response(disable_decoding=True)
    if not isinstance(role, list) or role[0] != b"master":
        raise ConnectionError(
            "Valkey: expected the primary, which the sentinels have not found yet"
        )

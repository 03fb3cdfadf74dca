"""The connected clients of a server, as the application sees them."""

from collections.abc import Iterator

from sockwave.core.connection import Connection


class Connections:
    """The connected clients: sized, iterable in the order in which they came, and by `id`.

    It is live: what it shows is who is connected now. Clients that come or go while it is iterated
    over do no harm.
    """

    __slots__ = ("_connections",)

    def __init__(self, connections: dict[int, Connection]) -> None:
        self._connections = connections

    def __len__(self) -> int:
        return len(self._connections)

    def __iter__(self) -> Iterator[Connection]:
        return iter(list(self._connections.values()))

    def __contains__(self, connection: object) -> bool:
        if isinstance(connection, Connection):
            return self._connections.get(connection.id) is connection
        return connection in self._connections

    def __getitem__(self, id: int) -> Connection:  # noqa: A002  (it is one)
        return self._connections[id]

    def get(self, id: int) -> Connection | None:  # noqa: A002
        """Give the connection with this `id`, or None."""
        return self._connections.get(id)

    def __repr__(self) -> str:
        return f"<Connections {len(self)}>"

"""The header fields of one message, looked up without regard to case: RFC 9110, section 5."""

from collections.abc import Iterable, Iterator, Sequence
from typing import TypeVar, overload

_D = TypeVar("_D")

# Real lists hold a few elements; a header block full of commas must not become as many objects.
_LIST_COUNT = 100


class Headers:
    """Header fields in the order in which they were sent; a name may occur several times.

    Values are str, decoded from Latin-1, without the white space around them. `headers[name]` is
    the first value of that name, or raises KeyError. Iteration gives every name once, in its first
    spelling; `len` counts these names.
    """

    __slots__ = ("_first", "_pairs")

    _pairs: Sequence[Sequence[str]]
    _first: dict[str, str]

    def __init__(self, pairs: Iterable[tuple[str, str]] = ()) -> None:
        self._index(list(pairs))

    def _index(self, pairs: Sequence[Sequence[str]]) -> None:
        """Keep the pairs, and a mapping of each name to its first value."""
        self._pairs = pairs
        self._first = {name.lower(): value.strip(" \t") for name, value in pairs}
        if len(self._first) != len(pairs):
            self._first = {name.lower(): value.strip(" \t") for name, value in reversed(pairs)}

    def __getitem__(self, name: str) -> str:
        return self._first[name.lower()]

    @overload
    def get(self, name: str) -> str | None: ...
    @overload
    def get(self, name: str, default: _D) -> str | _D: ...
    def get(self, name: str, default: object = None) -> object:
        """Return the first value of that name, or `default`."""
        return self._first.get(name.lower(), default)

    def get_all(self, name: str) -> list[str]:
        """Return all values of that name in order, an empty list if there is none."""
        name = name.lower()
        if name not in self._first:
            return []
        if len(self._first) == len(self._pairs):
            return [self._first[name]]
        return [value for given, value in self.items() if given.lower() == name]

    def get_tokens(self, name: str) -> list[str]:
        """Return the elements of a comma-separated list over all its lines, in lower case.

        Only the first hundred elements are read.
        """
        # RFC 9110, 5.6.1.2: "a recipient MUST parse and ignore a reasonable number of empty list
        # elements".
        values = ",".join(self.get_all(name)).lower().split(",", _LIST_COUNT)[:_LIST_COUNT]
        return [token for value in values if (token := value.strip(" \t"))]

    def keys(self) -> list[str]:
        """Return every name once, as it was first spelled: `dict(headers)` has the first values."""
        return list(self)

    def values(self) -> list[str]:
        """Return all values in order, those of repeated names included."""
        return [value for _, value in self.items()]

    def items(self) -> list[tuple[str, str]]:
        """Return all pairs, repeated names included, as they were spelled."""
        return [(name, value.strip(" \t")) for name, value in self._pairs]

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and name.lower() in self._first

    def __iter__(self) -> Iterator[str]:
        names: dict[str, str] = {}
        for name, _ in self._pairs:
            names.setdefault(name.lower(), name)
        return iter(names.values())

    def __len__(self) -> int:
        return len(self._first)

    def __repr__(self) -> str:
        return f"Headers({self.items()!r})"


def parse_lines(lines: Iterable[str]) -> Headers:
    """Read field lines without their line ends; ValueError for one that has no colon."""
    headers = Headers.__new__(Headers)
    headers._index([line.split(":", 1) for line in lines])
    return headers

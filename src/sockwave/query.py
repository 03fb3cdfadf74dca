"""The query of a request target: RFC 3986, section 3.4, with the fields of HTML forms."""

from collections.abc import Iterator, Mapping
from urllib.parse import parse_qsl


class Params(Mapping[str, str]):
    """The fields of a query, percent-decoded as UTF-8; of a repeated field, the last one counts."""

    __slots__ = ("_values",)

    def __init__(self, query: str) -> None:
        self._values: dict[str, list[str]] = {}
        for name, value in parse_qsl(query, keep_blank_values=True):
            self._values.setdefault(name, []).append(value)

    def get_all(self, name: str) -> list[str]:
        """Return all values of that field in order, an empty list if there is none."""
        return list(self._values.get(name, ()))

    def __getitem__(self, name: str) -> str:
        return self._values[name][-1]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __repr__(self) -> str:
        return f"Params({self._values!r})"

"""The head of one request, parsed from its raw bytes on access: RFC 9112, sections 3 and 5."""

from collections.abc import Iterator, Mapping
from urllib.parse import parse_qsl

from sockwave.headers import Headers, parse_lines


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


def parse_cookies(headers: Headers) -> dict[str, str]:
    """Return the cookies by name; of two with one name the first, which is the more specific."""
    # RFC 6265, 5.4: "Cookies with longer paths are listed before cookies with shorter paths."
    cookies: dict[str, str] = {}
    for pair in ";".join(headers.get_all("cookie")).split(";"):
        name, separator, value = pair.partition("=")
        name, value = name.strip(" \t"), value.strip(" \t")
        if len(value) >= 2 and value[0] == value[-1] == '"':
            value = value[1:-1]
        if separator and name:
            cookies.setdefault(name, value)
    return cookies


class RequestHead:
    """The head of a request that `parse_head` has accepted, parsed on access.

    `raw` holds the request line and the header block, with the empty line that ends them.
    """

    __slots__ = ("_cookies", "_headers", "_line", "_params", "raw")

    raw: bytes
    _line: tuple[str, str, str] | None
    _headers: Headers | None
    _params: Params | None
    _cookies: dict[str, str] | None

    def __init__(
        self,
        raw: bytes,
        line: tuple[str, str, str] | None = None,
        headers: Headers | None = None,
    ) -> None:
        self.raw = raw
        self._line = line
        self._headers = headers
        self._params = None
        self._cookies = None

    def _parse_line(self) -> tuple[str, str, str]:
        """Return method, target and protocol, split on first access."""
        if self._line is None:
            method, target, protocol = self.raw.partition(b"\r\n")[0].decode("latin-1").split(" ")
            self._line = (method, target, protocol)
        return self._line

    @property
    def method(self) -> str:
        """The method as it was sent, `"GET"`."""
        return self._parse_line()[0]

    @property
    def target(self) -> str:
        """The request target as it was sent, `"/chat?room=1"`."""
        return self._parse_line()[1]

    @property
    def http_version(self) -> str:
        """`"1.1"` or `"1.0"`."""
        return self._parse_line()[2][5:]

    @property
    def path(self) -> str:
        """The target up to the query, not percent-decoded; `"*"` for OPTIONS of the server."""
        return self._origin_form().partition("?")[0]

    @property
    def query(self) -> str:
        """The part of the target behind the first question mark, not decoded."""
        return self._origin_form().partition("?")[2]

    def _origin_form(self) -> str:
        """Return the target, without scheme and authority where it has them."""
        target = self.target
        if target[0] == "/" or target == "*":
            return target
        rest = target.partition("://")[2]
        authority_size = min((i for i in map(rest.find, "/?") if i >= 0), default=len(rest))
        rest = rest[authority_size:]
        return rest if rest.startswith("/") else "/" + rest

    @property
    def params(self) -> Params:
        """The fields of the query; `params.get_all(name)` gives repeated ones."""
        if self._params is None:
            self._params = Params(self.query)
        return self._params

    @property
    def headers(self) -> Headers:
        """The header fields."""
        if self._headers is None:
            block = self.raw[:-4].decode("latin-1")
            self._headers = parse_lines(block.split("\r\n")[1:])
        return self._headers

    @property
    def cookies(self) -> dict[str, str]:
        """The cookies by name, their values as they were sent but for quotes around them."""
        if self._cookies is None:
            self._cookies = parse_cookies(self.headers)
        return self._cookies

    @property
    def origin(self) -> str | None:
        """The `Origin`, or `Sec-WebSocket-Origin` of hybi-08 and older; None if there is none."""
        headers = self.headers
        return headers.get("origin", headers.get("sec-websocket-origin"))

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.method} {self.target!r}>"

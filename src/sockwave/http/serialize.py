"""Response heads as bytes: RFC 9112, section 4, and RFC 9110, section 15."""

from collections.abc import Iterable, Mapping, Sequence
from http import HTTPStatus

from sockwave.fields import HeaderPairs, check_header, check_headers, has_controls
from sockwave.http.dates import format_now

HeaderValue = str | int | Sequence[str]
ResponseHeaders = Mapping[str, HeaderValue] | Iterable[tuple[str, HeaderValue]]
Data = str | bytes | bytearray | memoryview

# RFC 9110 renamed some phrases; the standard library has the new ones only from Python 3.13 on.
_REASONS = {status.value: status.phrase for status in HTTPStatus} | {
    413: "Content Too Large",
    414: "URI Too Long",
    416: "Range Not Satisfiable",
    422: "Unprocessable Content",
}

# RFC 9110, 6.4.1: "All 1xx (Informational), 204 (No Content), and 304 (Not Modified) responses do
# not include content."
BODILESS_STATUSES = frozenset({204, 304})


def encode_data(data: Data) -> bytes:
    """Return `data` as bytes, a str as UTF-8; raises TypeError or ValueError if it cannot be."""
    if isinstance(data, str):
        try:
            return data.encode()
        except UnicodeEncodeError:
            raise ValueError("data: expected str without lone surrogates, given one") from None
    if isinstance(data, (bytes, bytearray, memoryview)):
        return bytes(data)
    raise TypeError(f"data: expected str or bytes-like, given {type(data).__name__}")


def expand_headers(headers: ResponseHeaders | None) -> list[tuple[str, str]]:
    """Return all pairs, checked; a value may be an int, or a list for a repeated name."""
    if headers is None:
        return []
    if isinstance(headers, (str, bytes)) or not isinstance(headers, (Mapping, Iterable)):
        raise TypeError(f"headers: expected a mapping or pairs, given {type(headers).__name__}")
    pairs = []
    for pair in headers.items() if isinstance(headers, Mapping) else headers:
        if not isinstance(pair, (tuple, list)) or len(pair) != 2:
            raise TypeError(f"headers: expected (name, value) pairs, given {pair!r}")
        name, value = pair
        for single in value if isinstance(value, (list, tuple)) else (value,):
            is_number = isinstance(single, int) and not isinstance(single, bool)
            pairs.append(check_header(name, str(single) if is_number else single))
    return pairs


def check_reason(reason: str) -> str:
    """Return the reason phrase; raise TypeError or ValueError if it may not go on the wire."""
    if not isinstance(reason, str):
        raise TypeError(f"reason: expected str, given {type(reason).__name__}")
    if has_controls(reason) or not all(character <= "\xff" for character in reason):
        raise ValueError(f"reason: expected Latin-1 without control characters, given {reason!r}")
    return reason


def serialize_head(status: int, reason: str | None, pairs: Iterable[tuple[str, str]]) -> bytes:
    """Return status line and header block; the caller has checked all arguments."""
    if reason is None:
        reason = _REASONS.get(status, "")
    lines = [f"HTTP/1.1 {status} {reason}\r\n"]
    lines += [f"{name}: {value}\r\n" for name, value in pairs]
    lines.append("\r\n")
    return "".join(lines).encode("latin-1")


def serialize_response(
    status: int,
    headers: HeaderPairs = (),
    body: bytes = b"",
    *,
    close: bool = True,
    reason: str | None = None,
    to_head: bool = False,
) -> bytes:
    """Return one whole response, with Date, Content-Length and Connection.

    A body without a Content-Type is sent as plain text. `close`: it is the connection's last.
    `to_head`: it answers HEAD, and has the fields of the body without the body.
    """
    pairs = list(check_headers(headers))
    names = {name.lower() for name, _ in pairs}
    if "date" not in names:
        pairs.append(("Date", format_now()))
    if status in BODILESS_STATUSES:
        body = b""
    else:
        if body and "content-type" not in names:
            pairs.append(("Content-Type", "text/plain; charset=utf-8"))
        pairs.append(("Content-Length", str(len(body))))
    # RFC 9110, 7.8: "A sender of Upgrade MUST also send an "Upgrade" connection option".
    options = ["Upgrade"] if "upgrade" in names else []
    if close:
        options.append("close")
    if options:
        pairs.append(("Connection", ", ".join(options)))
    head = serialize_head(status, None if reason is None else check_reason(reason), pairs)
    # RFC 9110, 9.3.2: "the server MUST NOT send content in the response" to HEAD.
    return head if to_head else head + body

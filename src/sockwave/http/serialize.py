"""Response heads as bytes: RFC 9112, section 4, and RFC 9110, section 15."""

from collections.abc import Iterable

from sockwave.core.http.response_head import REASONS, format_now, has_content
from sockwave.errors import Refused
from sockwave.fields import HeaderPairs, check_headers


def serialize_head(status: int, pairs: Iterable[tuple[str, str]]) -> bytes:
    """Return status line and header block; the caller has checked all arguments."""
    lines = [f"HTTP/1.1 {status} {REASONS.get(status, '')}\r\n"]
    lines += [f"{name}: {value}\r\n" for name, value in pairs]
    lines.append("\r\n")
    return "".join(lines).encode("latin-1")


def serialize_response(
    status: int, headers: HeaderPairs = (), body: bytes = b"", *, to_head: bool = False
) -> bytes:
    """Return one whole response, the connection's last, with Date, Content-Length and Connection.

    A body without a Content-Type is sent as plain text. `to_head`: it answers HEAD, and has the
    fields of the body without the body.
    """
    pairs = list(check_headers(headers))
    names = {name.lower() for name, _ in pairs}
    if "date" not in names:
        pairs.append(("Date", format_now()))
    if not has_content(status):
        body = b""
    else:
        if body and "content-type" not in names:
            pairs.append(("Content-Type", "text/plain; charset=utf-8"))
        pairs.append(("Content-Length", str(len(body))))
    # RFC 9110, 7.8: "A sender of Upgrade MUST also send an "Upgrade" connection option".
    pairs.append(("Connection", "Upgrade, close" if "upgrade" in names else "close"))
    head = serialize_head(status, pairs)
    # RFC 9110, 9.3.2: "the server MUST NOT send content in the response" to HEAD.
    return head if to_head else head + body


def serialize_refusal(
    refused: Refused, added: Iterable[tuple[str, str]], *, to_head: bool = False
) -> bytes:
    """Return the answer to what is refused, with the server's own headers that it does not have.

    `to_head`: the method is HEAD.
    """
    names = {name.lower() for name, _ in refused.headers}
    headers = [*refused.headers, *(pair for pair in added if pair[0].lower() not in names)]
    return serialize_response(refused.status, headers, refused.body, to_head=to_head)

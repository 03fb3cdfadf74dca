"""The opening request of a client: RFC 6455, section 4.1, and the drafts before it."""

import os
from base64 import b64encode
from collections.abc import Sequence
from dataclasses import dataclass

from sockwave.client.compression import write_offer
from sockwave.client.drafts import write_keys
from sockwave.client.options import ClientOptions
from sockwave.client.uri import Uri

Fields = list[tuple[str, str]]

# They stand where a browser writes them, and replace what is written there otherwise.
_PLACED = ("host", "user-agent", "authorization")

# The values of Sec-WebSocket-Version.
_NUMBERS = {"rfc6455": "13", "hybi-08": "8", "hybi-07": "7"}


@dataclass(frozen=True, slots=True)
class OpeningRequest:
    """An opening request, and what the answer to it must have."""

    head: bytes
    #: What follows the head: the third key of draft 76.
    behind: bytes = b""
    #: Its Sec-WebSocket-Key.
    key: bytes = b""
    #: What the answer of draft 76 has behind its head.
    signature: bytes = b""
    #: What the answers of both drafts repeat.
    location: str = ""
    origin: str = ""


def make_request(uri: Uri, first: Uri, options: ClientOptions) -> OpeningRequest:
    """Make the opening request to `uri`, to which `first` has led by redirects, or which it is.

    Another server than the first must not get its credentials, its cookies and the headers that
    were meant for it.
    """
    own = options.headers if uri.origin == first.origin else ()
    given = {name.lower(): value for name, value in own}
    host = given.get("host", uri.authority)
    rest = [("User-Agent", given.get("user-agent", "sockwave"))]
    if uri.origin == first.origin:
        authorization = given.get("authorization", first.authorization)
        if authorization is not None:
            rest.append(("Authorization", authorization))
        if options.cookies:
            cookies = [f"{name}={value}" for name, value in options.cookies]
            rest.append(("Cookie", "; ".join(cookies)))
        rest += [(name, value) for name, value in own if name.lower() not in _PLACED]
    if options.version in _NUMBERS:
        return _make_usual(uri.target, host, rest, options)
    return _make_draft(uri, host, rest, options)


def _make_usual(target: str, host: str, rest: Fields, options: ClientOptions) -> OpeningRequest:
    """Make a request of RFC 6455, or of a draft from hybi-07 on."""
    # 4.1: "a nonce consisting of a randomly selected 16-byte value that has been base64-encoded".
    key = b64encode(os.urandom(16))
    fields = [
        ("Host", host),
        ("Upgrade", "websocket"),
        ("Connection", "Upgrade"),
        ("Sec-WebSocket-Key", key.decode("ascii")),
        ("Sec-WebSocket-Version", _NUMBERS[options.version]),
    ]
    if options.origin is not None:
        prefix = "" if options.version == "rfc6455" else "Sec-WebSocket-"
        fields.append((f"{prefix}Origin", options.origin))
    if options.subprotocols:
        fields.append(("Sec-WebSocket-Protocol", ", ".join(options.subprotocols)))
    if options.compression is not None:
        fields.append(("Sec-WebSocket-Extensions", write_offer(options.compression)))
    return OpeningRequest(_write(target, [*fields, *rest]), key=key)


def _make_draft(uri: Uri, host: str, rest: Fields, options: ClientOptions) -> OpeningRequest:
    """Make a request of draft 75 or 76, which always have an origin: without one, the server's."""
    scheme = "https" if uri.is_secure else "http"
    origin = f"{scheme}://{host}" if options.origin is None else options.origin
    fields = [
        ("Upgrade", "WebSocket"),
        ("Connection", "Upgrade"),
        ("Host", host),
        ("Origin", origin),
    ]
    is_76 = options.version == "draft76"
    if options.subprotocols:
        name = "Sec-WebSocket-Protocol" if is_76 else "WebSocket-Protocol"
        fields.append((name, " ".join(options.subprotocols)))
    keys, key3, signature = write_keys() if is_76 else ([], b"", b"")
    return OpeningRequest(
        _write(uri.target, [*fields, *keys, *rest]),
        key3,
        signature=signature,
        location=f"{'wss' if uri.is_secure else 'ws'}://{host}{uri.target}",
        origin=origin,
    )


def _write(target: str, fields: Sequence[tuple[str, str]]) -> bytes:
    lines = [f"GET {target} HTTP/1.1", *(f"{name}: {value}" for name, value in fields)]
    return "\r\n".join([*lines, "", ""]).encode("latin-1")

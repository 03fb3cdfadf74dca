"""WebSocket URIs: RFC 6455, section 3, and RFC 3986."""

import re
from base64 import b64encode
from dataclasses import dataclass, field
from ipaddress import IPv6Address
from urllib.parse import quote, unquote_to_bytes, urljoin, urlsplit

_PORTS = {"ws": 80, "wss": 443}

# What a path and a query may hold as it is (RFC 3986, 3.3 and 3.4), and the sign of what is encoded
# already.
_AS_IT_IS = "/?:@!$&'()*+,;=-._~%[]"

# RFC 1035, 2.3.4: the octets between two dots.
_LABEL_SIZE = 63

# RFC 3986, 3.2.2, in the form that goes on the wire: unreserved characters, and sub-delims.
_NAME = re.compile(r"[-._~!$&'()*+,;=0-9A-Za-z]+")


@dataclass(frozen=True, slots=True)
class Uri:
    """Where a client connects to, and what it asks for there."""

    is_secure: bool
    #: A name, or an IP address without brackets.
    host: str
    port: int
    #: The path and the query, as they stand in the request line.
    target: str
    #: The value of Authorization for the user information; None: there is none.
    authorization: str | None = field(default=None, repr=False)

    @property
    def authority(self) -> str:
        """The host, and the port unless it is the scheme's own: the value of Host."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        is_usual = self.port == _PORTS["wss" if self.is_secure else "ws"]
        return host if is_usual else f"{host}:{self.port}"

    @property
    def origin(self) -> tuple[bool, str, int]:
        """What two URIs share that lead to the same server."""
        return self.is_secure, self.host.lower(), self.port

    def __str__(self) -> str:
        return f"{'wss' if self.is_secure else 'ws'}://{self.authority}{self.target}"


def parse_uri(text: str) -> Uri:
    """Parse a URI; characters that may not stand in one are encoded, as browsers do.

    Raises TypeError for anything but a str, ValueError for what is no URI of a WebSocket.
    """
    if not isinstance(text, str):
        raise TypeError(f"uri: expected str, given {type(text).__name__}")
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError as error:
        sentence = f"uri: expected ws://HOST or wss://HOST, given {text!r}: {error}"
        raise ValueError(sentence) from None
    if parts.scheme not in _PORTS:
        raise ValueError(f"uri: expected ws:// or wss://, given {text!r}")
    # 3: "Fragment identifiers are meaningless in the context of WebSocket URIs and MUST NOT be used
    # on these URIs."
    if "#" in text:
        raise ValueError(f"uri: expected no fragment, given {text!r}")
    return Uri(
        parts.scheme == "wss",
        _read_host(parts.hostname, text),
        _PORTS[parts.scheme] if port is None else port,
        _encode(parts.path or "/") + (f"?{_encode(parts.query)}" if parts.query else ""),
        _read_user(parts.netloc),
    )


def resolve(location: str, base: Uri) -> Uri:
    """Parse what a redirect leads to, which may be relative; http is taken for ws (RFC 6455, 4.1).

    Raises ValueError.
    """
    known = f"{'https' if base.is_secure else 'http'}://{base.authority}{base.target}"
    scheme, colon, rest = urljoin(known, location).partition(":")
    schemes = {"http": "ws", "https": "wss"}
    # RFC 9110, 10.2.2: a fragment is a matter of the user agent's, and goes nowhere.
    return parse_uri(f"{schemes.get(scheme.lower(), scheme)}{colon}{rest.partition('#')[0]}")


def _read_host(host: str | None, text: str) -> str:
    """Return the host in the form that goes on the wire."""
    if host and ":" in host:
        IPv6Address(host)  # a ValueError of its own
        return host
    try:
        # RFC 3490, in the form of the standard library, which is what resolvers use as well.
        name = "" if not host else host if host.isascii() else host.encode("idna").decode("ascii")
    except UnicodeError:
        name = ""
    if not _NAME.fullmatch(name):
        raise ValueError(f"uri: expected a host, given {text!r}")
    if max(map(len, name.split("."))) > _LABEL_SIZE:
        raise ValueError(
            f"uri: expected a host of labels of at most {_LABEL_SIZE} characters (RFC 1035, "
            f"2.3.4), given {text!r}"
        )
    return name


def _encode(text: str) -> str:
    return quote(text, safe=_AS_IT_IS)


def _read_user(netloc: str) -> str | None:
    """Return the value of Authorization (RFC 7617) for the user information of a URI."""
    user, at, _ = netloc.rpartition("@")
    if not at:
        return None
    name, _, password = user.partition(":")
    credentials = unquote_to_bytes(name) + b":" + unquote_to_bytes(password)
    return f"Basic {b64encode(credentials).decode('ascii')}"

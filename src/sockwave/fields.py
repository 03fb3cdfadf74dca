"""Checks of header fields: RFC 9110, sections 5.1, 5.5, 5.6.2 and 7.2."""

import ipaddress
import re
from collections.abc import Iterable, Mapping

#: RFC 9110, 5.6.2: tchar. The deletion table of `bytes.translate`.
TOKEN_BYTES = b"!#$%&'*+-.^_`|~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"

# RFC 9110, 7.2: Host = uri-host [ ":" port ], and RFC 3986, 3.2.2 and 3.2.3: an IPv6 address in
# brackets, or a name of unreserved characters, sub-delims and percent-encoded bytes. User
# information is no part of it (RFC 9110, 4.2.4), and a name is not empty (4.2.1).
_HOST = re.compile(
    r"(?:\[([0-9A-Fa-f:.]+)\]|(?:[-._~!$&'()*+,;=0-9A-Za-z]|%[0-9A-Fa-f]{2})++)"
    r"(?::([0-9]{0,5}))?"
)
_MAX_PORT = 65535

# RFC 9110, 5.5: "Field values containing CR, LF, or NUL characters are invalid and dangerous". The
# other C0 and C1 controls go with them: some readers take 0x0B, 0x0C, 0x1C-0x1E or 0x85 for the end
# of a line. TAB alone is a field's own white space.
_CONTROLS = dict.fromkeys((*range(0x09), *range(0x0A, 0x20), *range(0x7F, 0xA0)))

HeaderPairs = Mapping[str, str] | Iterable[tuple[str, str]]


def is_token(text: str) -> bool:
    """Tell whether `text` is an RFC 9110 token."""
    return bool(text) and text.isascii() and not text.encode().translate(None, TOKEN_BYTES)


def has_controls(text: str) -> bool:
    """Tell whether `text` holds a C0 or C1 control character or DEL; TAB does not count."""
    return len(text.translate(_CONTROLS)) != len(text)


def check_header(name: str, value: str) -> tuple[str, str]:
    """Return the pair; raise TypeError or ValueError when it may not stand in a header block."""
    if not isinstance(name, str):
        raise TypeError(f"header name: expected str, given {type(name).__name__}")
    if not is_token(name):
        raise ValueError(f"header name: expected a token (RFC 9110, 5.6.2), given {name!r}")
    if not isinstance(value, str):
        raise TypeError(f"header {name}: expected a str value, given {type(value).__name__}")
    if has_controls(value):
        raise ValueError(f"header {name}: expected no control characters, given {value!r}")
    try:
        value.encode("latin-1")
    except UnicodeEncodeError:
        raise ValueError(f"header {name}: expected Latin-1 characters, given {value!r}") from None
    return name, value


def check_headers(headers: HeaderPairs) -> tuple[tuple[str, str], ...]:
    """Return all pairs of a mapping or an iterable of pairs, each checked by `check_header`."""
    if isinstance(headers, (str, bytes)) or not isinstance(headers, (Mapping, Iterable)):
        raise TypeError(
            f"headers: expected a mapping or pairs of str, given {type(headers).__name__}"
        )
    checked = []
    for pair in headers.items() if isinstance(headers, Mapping) else headers:
        if not isinstance(pair, (tuple, list)) or len(pair) != 2:
            raise TypeError(f"headers: expected (name, value) pairs, given {pair!r}")
        checked.append(check_header(*pair))
    return tuple(checked)


def is_host(host: str) -> bool:
    """Tell whether `host` may stand in a Host header field: a name or address, with a port or not.

    The port is at most 65535, and may be empty. Of RFC 3986's address literals, only those of IPv6
    are known, and without a zone: RFC 6874, 4, has clients remove it.
    """
    found = _HOST.fullmatch(host)
    if found is None:
        return False
    address, port = found.groups()
    if port and int(port) > _MAX_PORT:
        return False
    if address is None:
        return True
    try:
        ipaddress.IPv6Address(address)
    except ValueError:
        return False
    return True

"""Cookies: those of a request, and the field that sets one. RFC 6265, sections 4.1 and 5.4."""

import re
from collections.abc import Iterable
from datetime import UTC, datetime
from email.utils import formatdate

from sockwave.fields import is_token

# RFC 6265, 4.1.1: cookie-octet, "US-ASCII characters excluding CTLs, whitespace, DQUOTE, comma,
# semicolon, and backslash"; the whole may stand in quotes.
_VALUE = re.compile(r'[!#-+\--:<-\[\]-~]*|"[!#-+\--:<-\[\]-~]*"')
# The same section: path-value is "any CHAR except CTLs or ";"". Browsers take a path that does not
# begin with a slash for none (5.2.4).
_PATH = re.compile(r"/[ -:<-~]*")
# RFC 1034, 3.5, as a domain-value is. A dot in front is ignored (5.2.3), and a port is no part of
# a domain.
_DOMAIN = re.compile(r"\.?[0-9A-Za-z-]+(\.[0-9A-Za-z-]+)*")

_SAMESITE = {"strict": "Strict", "lax": "Lax", "none": "None"}

# What browsers keep of one cookie: of a larger one, nothing. RFC 6265, 6.1: "At least 4096 bytes
# per cookie (as measured by the sum of the length of the cookie's name, value, and attributes)."
_MOST_SIZE = 4096


def parse_cookies(values: Iterable[str]) -> dict[str, str]:
    """Return the cookies of `Cookie` fields by name; of two with one name, the first.

    It is the more specific one.
    """
    # RFC 6265, 5.4: "Cookies with longer paths are listed before cookies with shorter paths."
    cookies: dict[str, str] = {}
    for pair in ";".join(values).split(";"):
        name, separator, value = pair.partition("=")
        name, value = name.strip(" \t"), value.strip(" \t")
        if len(value) >= 2 and value[0] == value[-1] == '"':
            value = value[1:-1]
        if separator and name:
            cookies.setdefault(name, value)
    return cookies


def format_cookie(
    name: object,
    value: object,
    *,
    max_age: object,
    expires: object,
    path: object,
    domain: object,
    secure: object,
    httponly: object,
    samesite: object,
) -> str:
    """Return the value of a Set-Cookie field; raise TypeError or ValueError if it may not be sent.

    What browsers would ignore, such as SameSite=None without Secure, is refused, too.
    """
    for option, flag in (("secure", secure), ("httponly", httponly)):
        if not isinstance(flag, bool):
            raise TypeError(f"{option}: expected bool, given {type(flag).__name__}")
    parts = [f"{_check_name(name)}={_check_value(value)}"]
    if max_age is not None:
        parts.append(f"Max-Age={_check_max_age(max_age)}")
    if expires is not None:
        parts.append(f"Expires={_format_expires(expires)}")
    if domain is not None:
        parts.append(f"Domain={_check(_DOMAIN, 'domain', domain, 'the name of a host')}")
    if path is not None:
        parts.append(f"Path={_check(_PATH, 'path', path, 'a path')}")
    if secure:
        parts.append("Secure")
    if httponly:
        parts.append("HttpOnly")
    if samesite is not None:
        parts.append(f"SameSite={_check_samesite(samesite, secure=bool(secure))}")
    _check_prefix(str(name), secure=bool(secure), is_of_host=domain is None and path == "/")
    line = "; ".join(parts)
    if len(line) > _MOST_SIZE:
        raise ValueError(f"cookie {name}: expected at most {_MOST_SIZE} bytes, given {len(line)}")
    return line


def _check_name(name: object) -> str:
    if not isinstance(name, str):
        raise TypeError(f"name: expected str, given {type(name).__name__}")
    if not is_token(name):
        raise ValueError(f"name: expected a token (RFC 6265, 4.1.1), given {name!r}")
    return name


def _check_value(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(f"value: expected str, given {type(value).__name__}")
    if _VALUE.fullmatch(value) is None:
        raise ValueError(
            "value: expected ASCII without white space, quotes, commas, semicolons and backslashes "
            f"(RFC 6265, 4.1.1), as urllib.parse.quote makes it, given {value!r}"
        )
    return value


def _check(pattern: re.Pattern[str], option: str, value: object, expected: str) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{option}: expected str or None, given {type(value).__name__}")
    if pattern.fullmatch(value) is None:
        raise ValueError(f"{option}: expected {expected}, given {value!r}")
    return value


def _check_max_age(max_age: object) -> int:
    if not isinstance(max_age, int) or isinstance(max_age, bool):
        raise TypeError(f"max_age: expected int, seconds, given {type(max_age).__name__}")
    if max_age < 0:
        raise ValueError(f"max_age: expected 0 or more seconds, given {max_age}")
    return max_age


def _format_expires(expires: object) -> str:
    if isinstance(expires, datetime):
        if expires.tzinfo is None:
            raise ValueError(f"expires: expected a datetime with a time zone, given {expires!r}")
        expires = expires.astimezone(UTC).timestamp()
    if not isinstance(expires, (int, float)) or isinstance(expires, bool):
        raise TypeError(f"expires: expected datetime or seconds, given {type(expires).__name__}")
    try:
        return formatdate(int(expires), usegmt=True)
    except (ValueError, OverflowError, OSError):
        raise ValueError(f"expires: expected a date that can be, given {expires}") from None


def _check_samesite(samesite: object, *, secure: bool) -> str:
    found = _SAMESITE.get(samesite.lower()) if isinstance(samesite, str) else None
    if found is None:
        raise ValueError(f"samesite: expected 'strict', 'lax', 'none' or None, given {samesite!r}")
    if found == "None" and not secure:
        # RFC 6265bis, 5.7: a cookie with SameSite=None and without Secure is ignored.
        raise ValueError("samesite: expected 'lax' or 'strict' without secure, given 'none'")
    return found


def _check_prefix(name: str, *, secure: bool, is_of_host: bool) -> None:
    """Raise ValueError for a name that browsers take with other attributes only."""
    # RFC 6265bis, 4.1.3: of names with these prefixes, in any case.
    lowered = name.lower()
    if lowered.startswith(("__secure-", "__host-")) and not secure:
        raise ValueError(f"name: expected secure with {name!r}, given none")
    if lowered.startswith("__host-") and not is_of_host:
        raise ValueError(f"name: expected path '/' and no domain with {name!r}, given others")

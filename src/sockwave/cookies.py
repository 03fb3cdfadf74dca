"""The cookies of a request: RFC 6265, section 5.4."""

from collections.abc import Iterable


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

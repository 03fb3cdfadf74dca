"""Where a client is sent: RFC 9110, sections 10.2.2 and 15.4."""

from urllib.parse import quote

from sockwave.fields import has_controls

#: RFC 9110, 15.4: those that send the client to the `Location` by themselves.
REDIRECTS = (301, 302, 303, 307, 308)

# RFC 3986, 2.2: what stands in a URI unescaped, beside letters, digits and "-._~"; and "%", as what
# is escaped already is left alone.
_RESERVED = ":/?#[]@!$&'()*+,;=%"


def check_redirect(status: object) -> None:
    """Raise TypeError or ValueError unless `status` sends a client to another place."""
    if not isinstance(status, int) or isinstance(status, bool):
        raise TypeError(f"status: expected int, given {type(status).__name__}")
    if status not in REDIRECTS:
        expected = ", ".join(map(str, REDIRECTS))
        raise ValueError(f"status: expected one of {expected}, given {int(status)}")


def encode_location(location: object) -> str:
    """Return a URI reference, percent-encoded where it has to be; raise TypeError or ValueError."""
    if not isinstance(location, str):
        raise TypeError(f"location: expected str, given {type(location).__name__}")
    if not location or has_controls(location) or "\t" in location:
        raise ValueError(f"location: expected a URL or a path, given {location!r}")
    try:
        return quote(location, safe=_RESERVED)
    except UnicodeEncodeError:
        raise ValueError(f"location: expected no lone surrogate, given {location!r}") from None

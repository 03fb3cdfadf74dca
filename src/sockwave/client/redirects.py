"""Where a redirect leads: RFC 9110, section 15.4."""

from sockwave.client.errors import HandshakeError, HandshakeRefused
from sockwave.client.uri import Uri, resolve
from sockwave.log import quote

_STATUSES = frozenset({301, 302, 303, 307, 308})

#: So many redirects are followed, one after the other: as many as a site needs, and no circle.
REDIRECT_COUNT = 5


def find_next(refused: HandshakeRefused, base: Uri) -> Uri | None:
    """Return the URI that a server redirects to; None: it does not.

    Raises HandshakeError for one that may not be followed: out of TLS, or to no URI at all.
    """
    location = refused.headers.get("location")
    if refused.status not in _STATUSES or location is None:
        return None
    try:
        uri = resolve(location, base)
    except ValueError:
        raise HandshakeError(
            f"Location: expected a URI of a WebSocket, given {quote(location)}"
        ) from refused
    if base.is_secure and not uri.is_secure:
        raise HandshakeError(f"Location: expected wss://, given {quote(location)}") from refused
    return uri

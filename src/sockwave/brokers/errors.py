"""What is said of a broker that cannot be reached as its URL has it."""

import ssl
from urllib.parse import urlsplit

#: What is not otherwise when it is tried again: a certificate, or a file that is not there.
PERMANENT_ERRORS = (ssl.SSLError, FileNotFoundError, PermissionError, IsADirectoryError)


def read_port(url: str) -> int | None:
    """Return the port of a URL, if it has one. Raises ValueError.

    The error does not say what stands in its place: it may be a part of a password.
    """
    try:
        return urlsplit(url).port
    except ValueError:
        scheme = url.partition(":")[0]
        raise ValueError(
            f"broker: expected {scheme}://USER:PASSWORD@HOST:PORT, where what is special in a user "
            f"or a password is written as %2F is for /"
        ) from None

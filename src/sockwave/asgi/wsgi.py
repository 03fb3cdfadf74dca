"""WSGI applications (PEP 3333), by way of a2wsgi: the extra `wsgi`."""

from collections.abc import Callable
from typing import Any, cast

from sockwave.asgi.application import ASGIApplication


def wsgi(application: Callable[..., Any], *, workers: int = 10) -> ASGIApplication:
    """Return an ASGI application that runs a WSGI application in `workers` threads.

    Raises TypeError for what cannot be called, ImportError without a2wsgi.
    """
    if not callable(application):
        raise TypeError(
            f"application: expected a WSGI application, given {type(application).__name__}"
        )
    try:
        from a2wsgi import WSGIMiddleware
    except ImportError:
        raise ImportError(
            "sockwave.asgi.wsgi: expected a2wsgi, given none: pip install sockwave[wsgi]",
            name="a2wsgi",
        ) from None
    return cast(ASGIApplication, WSGIMiddleware(application, workers=workers))

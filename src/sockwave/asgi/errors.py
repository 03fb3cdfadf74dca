"""What an application's `send` raises when nothing can reach the client any more."""


class ClientDisconnected(ConnectionError):  # noqa: N818  (says what happened)
    """Raised by `send` once the client has gone; an OSError, as ASGI's spec_version 2.4 says.

    An application that does not catch it has done nothing wrong: it is neither reported nor logged.
    """


def without_disconnects(error: BaseException) -> BaseException | None:
    """Return `error` without its parts that are ClientDisconnected; None if none is left."""
    if isinstance(error, BaseExceptionGroup):
        return error.split(ClientDisconnected)[1]
    return None if isinstance(error, ClientDisconnected) else error

"""What of an application's errors only says that its client has gone."""

from sockwave.errors import ClientDisconnected


def says_disconnected(error: BaseException) -> bool:
    """Tell whether an error only says that the client has gone.

    Frameworks turn ours into one of their own, and raise it for `websocket.disconnect` too:
    ClientDisconnect and WebSocketDisconnect of Starlette, WebSocketDisconnect of Litestar.
    """
    return isinstance(error, ClientDisconnected) or "Disconnect" in type(error).__name__


def without_disconnects(error: BaseException) -> BaseException | None:
    """Return `error` without what only says that the client has gone; None if none is left."""
    if isinstance(error, BaseExceptionGroup):
        return error.split(says_disconnected)[1]
    return None if says_disconnected(error) else error

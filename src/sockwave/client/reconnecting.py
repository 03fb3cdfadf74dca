"""`async for conn in sockwave.connect(uri)`: connections, one after the other."""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import TypeVar

from sockwave.client.backoff import (
    Backoff,
    Waits,
    is_final_code,
    is_final_error,
    read_hint,
    read_retry_after,
)
from sockwave.close import CloseCode
from sockwave.core.session.client_connection import ClientConnection
from sockwave.errors import ConnectionClosed

Opened = TypeVar("Opened", bound=ClientConnection)

logger = logging.getLogger("sockwave")


async def reconnect(
    open_one: Callable[[], Awaitable[Opened]], backoff: Backoff, name: str
) -> AsyncIterator[Opened]:
    """Yield a connection, and another one when the loop's body is done with it.

    Raises what ends it for good: ConnectionClosed with a code that says so, HandshakeRefused with
    such a status.
    """
    loop = asyncio.get_running_loop()
    waits = Waits(backoff)
    while True:
        try:
            connection = await open_one()
        except Exception as error:
            if is_final_error(error):
                raise
            wait = waits.next(read_retry_after(error))
            logger.info("no connection to %s: %s; next attempt in %.1f s", name, error, wait)
            await asyncio.sleep(wait)
            continue
        begin = loop.time()
        try:
            yield connection
        except BaseException:  # GeneratorExit: the loop was left
            await connection._leave(CloseCode.GOING_AWAY)
            raise
        await connection._leave(CloseCode.NORMAL_CLOSURE)
        code, reason = connection.close_code, connection.close_reason
        if code is not None and is_final_code(code):
            raise ConnectionClosed(code, reason or "")
        waits.note_lifetime(loop.time() - begin)
        await asyncio.sleep(waits.next(read_hint(reason)))

"""`async for conn in sockwave.connect(uri)`: connections, one after the other."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import TypeVar

from sockwave.client.backoff import Waits
from sockwave.close import CloseCode
from sockwave.core.session.client_connection import ClientConnection

Opened = TypeVar("Opened", bound=ClientConnection)


async def reconnect(
    open_one: Callable[[], Awaitable[Opened]], waits: Waits
) -> AsyncIterator[Opened]:
    """Yield a connection, and another one when the loop's body is done with it.

    Raises what ends it for good: ConnectionClosed with a code that says so, HandshakeRefused with
    such a status. `sync.connecting` is the same for threads.
    """
    loop = asyncio.get_running_loop()
    while True:
        try:
            connection = await open_one()
        except Exception as error:
            await asyncio.sleep(waits.after_failure(error))
            continue
        begin = loop.time()
        try:
            yield connection
        except BaseException:  # GeneratorExit: the loop was left
            await connection._leave(CloseCode.GOING_AWAY)
            raise
        await connection._leave(CloseCode.NORMAL_CLOSURE)
        code, reason = connection.close_code, connection.close_reason
        await asyncio.sleep(waits.after_end(code, reason, loop.time() - begin))

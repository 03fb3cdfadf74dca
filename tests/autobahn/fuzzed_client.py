"""Our client, as Autobahn's fuzzing server wants one: it asks for each case, and echoes."""

import asyncio
import contextlib
from typing import TYPE_CHECKING

import kosoku

import sockwave

if TYPE_CHECKING:
    from collections.abc import Sequence

    from kosoku._kosoku import CaseResult

AGENT = "sockwave"

# The suite's server takes only a client that hints at `client_no_context_takeover` for one that
# can do without its context, which it asks for in some cases.
COMPRESSION = sockwave.Deflate(
    server_max_window_bits=15,
    client_max_window_bits=15,
    server_context_takeover=True,
    threshold=0,
)


async def echo(uri: str, engine: str, max_size: int) -> None:
    """Echo until the server closes. By a listener, so that what came before a violation is echoed
    before the connection fails."""
    ended = asyncio.Event()
    connector = sockwave.connect(
        uri,
        engine=engine,
        compression=COMPRESSION,
        max_size=max_size,
        max_backlog=4 * max_size,
        close_timeout=2.0,
    )
    async with connector as conn:
        conn.on("message", conn.send)
        conn.on("close", ended.set)
        await ended.wait()


async def echo_aside(uri: str, engine: str, max_size: int) -> None:
    """Echo until the server closes, in a thread without asyncio."""
    await asyncio.to_thread(echo_in_thread, uri, engine, max_size)


def echo_in_thread(uri: str, engine: str, max_size: int) -> None:
    connection = sockwave.sync.connect(
        uri, engine=engine, compression=COMPRESSION, max_size=max_size, close_timeout=2.0
    )
    with connection as conn, contextlib.suppress(sockwave.ConnectionClosed):
        for message in conn:
            conn.send(message)


async def ask_client(
    engine: str, patterns: "Sequence[str]", *, max_size: int, is_sync: bool = False
) -> "list[CaseResult]":
    """Run the cases matching the patterns against our client, each once."""
    run = echo_aside if is_sync else echo
    async with kosoku.run_fuzzingserver(list(patterns), port=0) as server:
        base = f"ws://{server.address}:{server.port}"
        async with sockwave.connect(f"{base}/getCaseCount", engine=engine) as conn:
            count = int(await conn.receive())
        for number in range(1, count + 1):
            await run(f"{base}/runCase?case={number}&agent={AGENT}", engine, max_size)
        async with sockwave.connect(f"{base}/updateReports?agent={AGENT}", engine=engine):
            pass
        try:
            return list(await server.get_result())
        except kosoku.FailureError as failure:
            return list(failure.results)

"""An echo for people who think in `async for`: one coroutine per connection (RFC 6455)."""

import asyncio
import contextlib

import sockwave


async def echo(conn):
    async for message in conn:
        await conn.send(message)


async def main():
    async with sockwave.serve(echo, "127.0.0.1", 8000) as server:
        await server.serve_forever()


with contextlib.suppress(KeyboardInterrupt):  # Ctrl-C ends `main`, which closes the server
    asyncio.run(main())

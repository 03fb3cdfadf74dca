"""Echo with websockets; compression and keepalive pings are off, as they are in the others."""

import ssl

from serving import create_context, parse_arguments, run
from websockets.asyncio.server import ServerConnection, serve


async def echo(connection: ServerConnection) -> None:
    async for message in connection:
        await connection.send(message)


async def main(port: int, context: ssl.SSLContext | None) -> None:
    async with serve(
        echo, "127.0.0.1", port, ssl=context, compression=None, ping_interval=None
    ) as server:
        await server.serve_forever()


if __name__ == "__main__":
    arguments = parse_arguments()
    run(main(arguments.port, create_context(arguments)), arguments.loop)

"""Echo with websockets; keepalive pings are off, compression unless it is asked for."""

import ssl

from serving import create_context, parse_arguments, run
from websockets.asyncio.server import ServerConnection, serve


async def echo(connection: ServerConnection) -> None:
    async for message in connection:
        await connection.send(message)


async def main(port: int, context: ssl.SSLContext | None, compression: str | None) -> None:
    async with serve(
        echo, "127.0.0.1", port, ssl=context, compression=compression, ping_interval=None
    ) as server:
        await server.serve_forever()


if __name__ == "__main__":
    arguments = parse_arguments()
    compression = "deflate" if arguments.compression else None
    run(main(arguments.port, create_context(arguments), compression), arguments.loop)

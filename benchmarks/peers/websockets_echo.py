"""Echo with websockets; keepalive pings are off, compression unless it is asked for.

``--silent`` makes it a server that takes messages and does nothing.
"""

import argparse

from serving import create_context, parse_arguments, run
from websockets.asyncio.server import ServerConnection, serve


async def echo(connection: ServerConnection) -> None:
    async for message in connection:
        await connection.send(message)


async def ignore(connection: ServerConnection) -> None:
    async for _ in connection:
        pass


async def main(arguments: argparse.Namespace) -> None:
    async with serve(
        ignore if arguments.silent else echo,
        "127.0.0.1",
        arguments.port,
        ssl=create_context(arguments),
        compression="deflate" if arguments.compression else None,
        ping_interval=None,
        max_size=arguments.max_size,
        backlog=4096,
    ) as server:
        await server.serve_forever()


if __name__ == "__main__":
    arguments = parse_arguments()
    run(main(arguments), arguments.loop)

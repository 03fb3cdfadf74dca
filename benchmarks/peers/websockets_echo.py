"""Echo with websockets; compression and keepalive pings are off, as they are in the others."""

from serving import parse_arguments, run
from websockets.asyncio.server import ServerConnection, serve


async def echo(connection: ServerConnection) -> None:
    async for message in connection:
        await connection.send(message)


async def main(port: int) -> None:
    async with serve(echo, "127.0.0.1", port, compression=None, ping_interval=None) as server:
        await server.serve_forever()


if __name__ == "__main__":
    arguments = parse_arguments()
    run(main(arguments.port), arguments.loop)

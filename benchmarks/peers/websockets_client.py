"""Ask an echo server with websockets, with asyncio or without; compression and pings are off."""

import argparse

from asking import BATCH_COUNT, Meter, parse_arguments, run
from websockets.asyncio.client import connect
from websockets.sync.client import connect as connect_sync


async def receive(arguments: argparse.Namespace) -> None:
    text = "x" * arguments.size
    meter = Meter(arguments)
    async with connect(arguments.uri, compression=None, ping_interval=None) as conn:
        while meter.goes_on():
            for _ in range(BATCH_COUNT):
                await conn.send(text)
                await conn.recv()


def block(arguments: argparse.Namespace) -> None:
    text = "x" * arguments.size
    meter = Meter(arguments)
    with connect_sync(arguments.uri, compression=None, ping_interval=None) as conn:
        while meter.goes_on():
            for _ in range(BATCH_COUNT):
                conn.send(text)
                conn.recv()


if __name__ == "__main__":
    arguments = parse_arguments()
    if arguments.way == "sync":
        block(arguments)
    else:
        run(receive(arguments), arguments.loop)

"""Ask an echo server with sockwave: by a listener, in a task, or in a thread without asyncio."""

import argparse
import asyncio

from asking import BATCH_COUNT, Meter, parse_arguments, run

import sockwave


async def listen(arguments: argparse.Namespace) -> None:
    """Send the next message where the reply is heard."""
    text = "x" * arguments.size
    meter = Meter(arguments)
    over = asyncio.Event()
    left = BATCH_COUNT
    async with sockwave.connect(arguments.uri) as conn:

        @conn.on("message")
        def message(message: str | bytes) -> None:
            nonlocal left
            left -= 1
            if not left:
                left = BATCH_COUNT
                if not meter.goes_on():
                    over.set()
                    return
            conn.send(text)

        conn.send(text)
        await over.wait()


async def receive(arguments: argparse.Namespace) -> None:
    """Send and await the reply, in one task."""
    text = "x" * arguments.size
    meter = Meter(arguments)
    async with sockwave.connect(arguments.uri) as conn:
        while meter.goes_on():
            for _ in range(BATCH_COUNT):
                await conn.send(text)
                await conn.receive()


def block(arguments: argparse.Namespace) -> None:
    """Send and wait for the reply, in one thread."""
    text = "x" * arguments.size
    meter = Meter(arguments)
    with sockwave.sync.connect(arguments.uri) as conn:
        while meter.goes_on():
            for _ in range(BATCH_COUNT):
                conn.send(text)
                conn.recv()


if __name__ == "__main__":
    arguments = parse_arguments()
    if arguments.way == "sync":
        block(arguments)
    else:
        ask = listen if arguments.way == "listener" else receive
        run(ask(arguments), arguments.loop)

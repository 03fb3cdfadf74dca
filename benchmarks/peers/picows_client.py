"""Ask an echo server with picows: its core API, which its README recommends for speed."""

import argparse
import asyncio

from asking import BATCH_COUNT, Meter, parse_arguments, run
from picows import WSFrame, WSListener, WSMsgType, WSTransport, ws_connect


async def listen(arguments: argparse.Namespace) -> None:
    """Send the next message where the reply is heard; both as a str, as the other clients do."""
    text = "x" * arguments.size
    meter = Meter(arguments)
    over = asyncio.Event()
    left = BATCH_COUNT

    class Asking(WSListener):
        def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
            nonlocal left
            if frame.msg_type != WSMsgType.TEXT:
                return
            frame.get_payload_as_utf8_text()
            left -= 1
            if not left:
                left = BATCH_COUNT
                if not meter.goes_on():
                    over.set()
                    return
            transport.send(WSMsgType.TEXT, text.encode())

    transport, _ = await ws_connect(Asking, arguments.uri)
    transport.send(WSMsgType.TEXT, text.encode())
    await over.wait()
    transport.disconnect()
    await transport.wait_disconnected()


if __name__ == "__main__":
    arguments = parse_arguments()
    run(listen(arguments), arguments.loop)

"""Echo with picows: its core API, which its README recommends for speed, and its defaults.

``--silent`` makes it a server that takes frames and does nothing.
"""

import argparse

from picows import (
    WSFrame,
    WSListener,
    WSMsgType,
    WSTransport,
    WSUpgradeRequest,
    ws_create_server,
)
from serving import create_context, parse_arguments, run


class Echo(WSListener):
    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        if frame.msg_type == WSMsgType.CLOSE:
            transport.send_close(frame.get_close_code(), frame.get_close_message())
            transport.disconnect()
        else:
            transport.send(frame.msg_type, frame.get_payload_as_memoryview())


class Silent(WSListener):
    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        if frame.msg_type == WSMsgType.CLOSE:
            transport.disconnect()


async def main(arguments: argparse.Namespace) -> None:
    listener = Silent if arguments.silent else Echo

    def accept(request: WSUpgradeRequest) -> WSListener:
        return listener()

    server = await ws_create_server(
        accept,
        "127.0.0.1",
        arguments.port,
        ssl=create_context(arguments),
        max_frame_size=arguments.max_size,
        backlog=4096,
    )
    await server.serve_forever()


if __name__ == "__main__":
    arguments = parse_arguments()
    run(main(arguments), arguments.loop)

"""Echo with picows: its core API, which its README recommends for speed, and its defaults."""

import ssl

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


def accept(request: WSUpgradeRequest) -> WSListener:
    return Echo()


async def main(port: int, context: ssl.SSLContext | None) -> None:
    server = await ws_create_server(accept, "127.0.0.1", port, ssl=context)
    await server.serve_forever()


if __name__ == "__main__":
    arguments = parse_arguments()
    run(main(arguments.port, create_context(arguments)), arguments.loop)

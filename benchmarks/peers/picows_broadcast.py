"""Every message goes to everybody with picows: a loop over the transports, its core API."""

from picows import (
    WSFrame,
    WSListener,
    WSMsgType,
    WSTransport,
    WSUpgradeRequest,
    ws_create_server,
)
from serving import parse_arguments, run

TRANSPORTS: set[WSTransport] = set()


class Chat(WSListener):
    def on_ws_connected(self, transport: WSTransport) -> None:
        TRANSPORTS.add(transport)

    def on_ws_disconnected(self, transport: WSTransport) -> None:
        TRANSPORTS.discard(transport)

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        if frame.msg_type == WSMsgType.CLOSE:
            transport.send_close(frame.get_close_code(), frame.get_close_message())
            transport.disconnect()
        else:
            kind, payload = frame.msg_type, frame.get_payload_as_memoryview()
            for other in TRANSPORTS:
                other.send(kind, payload)


def accept(request: WSUpgradeRequest) -> WSListener:
    return Chat()


async def main(port: int) -> None:
    server = await ws_create_server(accept, "127.0.0.1", port, backlog=4096)
    await server.serve_forever()


if __name__ == "__main__":
    arguments = parse_arguments()
    run(main(arguments.port), arguments.loop)

"""Echo with granian, one worker, through RSGI, the interface of its own; in this process."""

from pathlib import Path
from typing import Any

from granian.constants import Interfaces
from granian.log import LogLevels
from granian.rsgi import Scope, WebsocketMessageType, WebsocketProtocol
from granian.server.embed import Server
from serving import parse_arguments, run


async def echo(scope: Scope, protocol: WebsocketProtocol) -> None:
    transport = await protocol.accept()
    while True:
        message = await transport.receive()
        if message.kind == WebsocketMessageType.string:
            await transport.send_str(message.data)
        elif message.kind == WebsocketMessageType.bytes:
            await transport.send_bytes(message.data)
        else:
            break


async def main(port: int, **files: Any) -> None:
    server = Server(
        echo,
        "127.0.0.1",
        port,
        interface=Interfaces.RSGI,
        backlog=4096,
        backpressure=20_000,  # connections that may be open at once
        log_level=LogLevels.warning,
        **files,
    )
    await server.serve()


if __name__ == "__main__":
    arguments = parse_arguments()
    files = {}
    if arguments.tls_cert:
        files = {"ssl_cert": Path(arguments.tls_cert), "ssl_key": Path(arguments.tls_key)}
    run(main(arguments.port, **files), arguments.loop)

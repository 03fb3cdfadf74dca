"""Echo with uvicorn and its `websockets-sansio`, an ASGI application; the access log is off."""

from collections.abc import Awaitable, Callable
from typing import Any

import uvicorn
from serving import parse_arguments

Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]


async def echo(scope: dict[str, Any], receive: Receive, send: Send) -> None:
    await receive()
    await send({"type": "websocket.accept"})
    while (event := await receive())["type"] == "websocket.receive":
        if (text := event.get("text")) is not None:
            await send({"type": "websocket.send", "text": text})
        else:
            await send({"type": "websocket.send", "bytes": event["bytes"]})


if __name__ == "__main__":
    arguments = parse_arguments()
    uvicorn.run(
        echo,
        host="127.0.0.1",
        port=arguments.port,
        loop=arguments.loop,
        http="httptools",
        ws="websockets-sansio",
        ws_max_size=arguments.max_size,
        ws_ping_interval=None,
        ws_per_message_deflate=arguments.compression,
        lifespan="off",
        log_level="warning",
        backlog=4096,
        ssl_certfile=arguments.tls_cert,
        ssl_keyfile=arguments.tls_key,
    )

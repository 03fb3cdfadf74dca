"""A host of python-socketio, with its manager for Redis; or, with --publish, what publishes.

That reads lines: for each, it emits one message to the room.
"""

import argparse
import sys

import socketio
import uvicorn


def publish(broker: str, size: int) -> None:
    manager = socketio.RedisManager(broker, write_only=True)
    for _ in sys.stdin:
        manager.emit("message", "x" * size, room="everybody")


def serve(broker: str, port: int) -> None:
    server = socketio.AsyncServer(
        async_mode="asgi",
        client_manager=socketio.AsyncRedisManager(broker),
        ping_interval=3600,
        http_compression=False,
    )

    @server.event
    async def connect(sid: str, environ: object) -> None:
        await server.enter_room(sid, "everybody")

    uvicorn.run(
        socketio.ASGIApp(server),
        host="127.0.0.1",
        port=port,
        loop="uvloop",
        ws_ping_interval=None,
        ws_per_message_deflate=False,
        log_level="error",
        backlog=4096,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int)
    parser.add_argument("--broker", required=True)
    parser.add_argument("--size", type=int, required=True)
    parser.add_argument("--publish", action="store_true")
    arguments = parser.parse_args()
    if arguments.publish:
        publish(arguments.broker, arguments.size)
    else:
        serve(arguments.broker, arguments.port)


if __name__ == "__main__":
    main()

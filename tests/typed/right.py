"""A program without mistakes: no type checker may find one."""

import dataclasses
from typing import Any

import sockwave


@dataclasses.dataclass
class Move:
    x: int


server = sockwave.create_server(
    max_size=1024,
    ping_interval=None,
    max_connections="auto",
    engine="asyncio",
    slow="drop_old",
    version=["rfc6455", "hybi-08"],
    origin=["https://example.com", None],
    subprotocol="chat",
    compression=sockwave.Deflate(level=3),
    response_headers={"X-A": "b"},
    json_type=Move,
    invalid_json="error",
)
sockwave.Server(finish_timeout=2.5, access_log=True)
config: dict[str, Any] = {"max_size": 5}
sockwave.create_server(**config)


@server.on("listening")
async def listening() -> None:
    pass


@server.on("connection")
def connected(conn: sockwave.Connection) -> None:
    def echo(message: str | bytes) -> None:
        conn.send(message, slow="conflate", key=1)

    conn.on("message", echo).once("message", conn.send)
    conn.on("json", conn.send_json)
    conn.on("close", lambda: None)

    @conn.on("close")
    def closed(code: int, reason: str) -> None:
        print(code, reason)

    @conn.once("json")
    async def moved(move: Move) -> None:
        print(move.x)

    @conn.on("readyStateChange")
    def changed(state: sockwave.ReadyState) -> None:
        print(state.name)

    conn.on("pong", lambda data: print(len(data))).on("drain", lambda: None)
    conn.off("message", echo)
    closed(1000, "a decorator leaves the function as it is")


server.on("request", lambda request, response: response.end(request.path))
server.on("error", lambda error: None).once("close", lambda: None)


@server.on("request")
def answer(request: sockwave.Request) -> None:
    print(request.path)


@server.once("error")
def failed(error: BaseException, conn: sockwave.Connection | None) -> None:
    print(error, conn)


@server.on("handshake")
async def judge(handshake: sockwave.Handshake) -> bool:
    return handshake.request.path == "/"


@server.on("subscribe")
def may(conn: sockwave.Connection, topic: str) -> sockwave.Member | bool:
    return sockwave.Member(topic, {"id": conn.id})


@server.topic("room").on("join")
def joined(key: str, data: Any) -> None:
    print(key, data)


async def handler(conn: sockwave.Connection) -> None:
    async for move in conn.json(Move):
        print(move.x + 1)
    print((await conn.receive_json(json_type=Move)).x)
    print(server.broadcast_json({"a": [1]}) + conn.broadcast_json(None))


sockwave.serve(handler, "127.0.0.1", 0, max_size=1024)
sockwave.run("main:app", workers=2, log_level="debug", reload_dirs=["src"], interface="asgi3")


async def hear_topics() -> None:
    async for conn in sockwave.connect("ws://127.0.0.1/", subprotocol="sockwave.1"):
        subscribed = await conn.subscribe("room", since="0-0", data={"name": "me"})
        print(subscribed.recovered)

        @conn.on("join")
        def joined(key: str, data: Any) -> None:
            print(key, data)

        publishing = conn.publish("room", b"bytes", id="mine")
        print(publishing.id, (await publishing).position)
        members: dict[str, Any] = await conn.members("room")
        print(members)
        async for delivery in conn.deliveries():
            print(delivery.topic, delivery.position)
    async with sockwave.connect("ws://127.0.0.1/", subprotocol=["sockwave.1"]) as conn:
        conn.once("delivery", print).finish("stream")
    plain: sockwave.ClientConnection = await sockwave.connect("ws://127.0.0.1/", subprotocol="a")
    print(plain.subprotocol)

"""Topics in ASGI applications: from requests, and from WebSockets."""

import asyncio
import json
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from conftest import StartServer
from http_wire import receive_answer
from wire import Wire, build_request

import sockwave
from sockwave import History, SockwaveError
from sockwave.server.closing import running


@pytest.fixture(autouse=True)
def no_other_servers() -> Iterator[None]:
    """Put aside the servers that other tests of this process have left in loops of their own."""
    left = list(running)
    running.clear()
    yield
    running.update(left)


async def application(scope: dict[str, Any], receive: Any, send: Any) -> None:
    """Subscribe each WebSocket to the topic that its path names, and publish what is posted."""
    if scope["type"] == "lifespan":
        while True:
            kind = (await receive())["type"]
            await send({"type": f"{kind}.complete"})
            if kind == "lifespan.shutdown":
                return
    topics = scope["extensions"]["sockwave"]
    topic = scope["path"].strip("/")
    if scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.accept"})
        if topic.startswith("people"):
            await topics["subscribe"](topic, member=scope["query_string"].decode())
        else:
            await topics["subscribe"](topic)
        await send({"type": "websocket.send", "text": "subscribed"})
        while (await receive())["type"] != "websocket.disconnect":
            pass
        return
    if topic.startswith("people"):
        answer = json.dumps(await topics["presence"](topic))
    elif scope["query_string"] == b"module":
        answer = str(await sockwave.publish(topic, "by the module"))
    else:
        answer = str((await topics["publish"](topic, "from a request")).local_count)
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": answer.encode()})


async def get(address: Any, target: str) -> bytes:
    """Ask for a target, and give the body of the answer."""
    async with await Wire.open(address) as wire:
        wire.write(build_request({"Host": "a", "Connection": "close"}, target=target))
        return (await receive_answer(wire)).body


async def test_a_request_publishes_to_websockets(start_server: StartServer) -> None:
    server = await start_server(asgi=application)
    server.topic("people/*", presence=True)
    address = server.addresses[0]
    async with (
        await Wire.connect(address, target="/room") as one,
        await Wire.connect(address, target="/room") as two,
        await Wire.connect(address, target="/people/x?ann") as three,
    ):
        for wire in (one, two, three):
            assert await wire.receive_message() == "subscribed"
        assert await get(address, "/room") == b"2"
        for wire in (one, two):
            assert await wire.receive_message() == "from a request"
        found = await get(address, "/room?module")
        assert found == b"Published(position=None, local_count=2)"
        for wire in (one, two):
            assert await wire.receive_message() == "by the module"
        assert await get(address, "/people/x") == b'{"ann": null}'


async def test_the_module_publishes_where_one_server_runs(start_server: StartServer) -> None:
    with pytest.raises(SockwaveError, match="given 0"):
        sockwave.publish("room", "x")
    server = await start_server()
    server.topic("room", history=History())
    published = await sockwave.publish("room", "x")
    assert published.local_count == 0
    await start_server()
    with pytest.raises(SockwaveError, match="given 2"):
        sockwave.publish("room", "x")


#: Leaves a server running when its loop ends, and runs another in a loop of its own.
LEFT_BEHIND = """
import asyncio, sockwave
async def start():
    server = sockwave.create_server(engine={engine!r})
    server.listen(0, "127.0.0.1")
    await server.start()
    return server
async def publish():
    async with await start():
        print((await sockwave.publish("room", "x")).local_count)
left = asyncio.run(start())
try:
    sockwave.publish("room", "x")
except sockwave.SockwaveError as error:
    print(error)
asyncio.run(publish())
"""


async def test_the_module_passes_over_a_server_whose_loop_has_ended(engine: str) -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", LEFT_BEHIND.format(engine=engine), stdout=asyncio.subprocess.PIPE
    )
    said, _ = await process.communicate()
    assert said.decode().splitlines() == [
        "expected one server that runs in this process, given 0: use server.publish",
        "0",
    ]


async def test_publishing_before_the_start_raises() -> None:
    server = sockwave.create_server()
    with pytest.raises(SockwaveError, match="does not run"):
        server.publish("room", "x")

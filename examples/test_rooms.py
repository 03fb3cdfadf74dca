"""How an application is tested: in the test's own loop, on a port that is free, by real clients.

    pytest examples/test_rooms.py

`rooms` is the application; `httpx` and `websockets` are clients that have nothing to do with it.
"""

from collections.abc import AsyncIterator

import httpx
import pytest
from rooms import server
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import InvalidStatus
from websockets.typing import Origin


@pytest.fixture
async def address() -> AsyncIterator[str]:
    server.listen(0, "127.0.0.1")
    async with server:
        host, port = server.addresses[0]
        yield f"{host}:{port}"


async def enter(address: str, name: str, password: str) -> ClientConnection:
    async with httpx.AsyncClient(base_url=f"http://{address}") as client:
        answer = await client.post("/login", data={"name": name, "password": password})
    return await connect(
        f"ws://{address}/rooms/lobby",
        origin=Origin(f"http://{address}"),
        additional_headers={"Cookie": f"session={answer.cookies.get('session')}"},
    )


async def test_rooms(address: str) -> None:
    async with await enter(address, "ada", "wave") as ada:
        await ada.send("hello")
        assert "ada: hello" in str(await ada.recv())
        async with await enter(address, "bo", "tide") as bo:
            assert "ada: hello" in str(await bo.recv())  # what was said before
            await bo.send("hi")
            assert "bo: hi" in str(await ada.recv())
    with pytest.raises(InvalidStatus):
        await enter(address, "eve", "guess")

"""Clients that speak `sockwave.1`, as a test says what they say."""

import json
from typing import Any

from wire import Wire

SUBPROTOCOL = {"Sec-WebSocket-Protocol": "sockwave.1"}


class Client:
    """A client that speaks `sockwave.1`."""

    def __init__(self, wire: Wire) -> None:
        self.wire = wire

    @classmethod
    async def connect(cls, address: Any) -> "Client":
        return cls(await Wire.connect(address, headers=SUBPROTOCOL))

    def say(self, **fields: Any) -> None:
        self.wire.send(json.dumps(fields))

    async def hear(self) -> dict[str, Any]:
        message = await self.wire.receive_message()
        assert isinstance(message, str)
        found = json.loads(message)
        assert isinstance(found, dict)
        return found

    async def ask(self, **fields: Any) -> dict[str, Any]:
        self.say(**fields)
        return await self.hear()

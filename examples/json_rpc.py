"""JSON-RPC 2.0, both ways: the server calls its clients by the same class by which they call it.

    python examples/json_rpc.py

A client says {"jsonrpc": "2.0", "id": 1, "method": "transfer", "params": [70]}; before it is
answered, the server asks it: {"jsonrpc": "2.0", "id": 1, "method": "confirm", "params": [70]}.
"""

import asyncio
import itertools
from collections.abc import Callable
from typing import Any

import msgspec

import sockwave


class Failure(msgspec.Struct):
    code: int
    message: str


class Message(msgspec.Struct):
    """A request, a notification or an answer: what is UNSET is not sent."""

    jsonrpc: str = "2.0"
    id: int | str | msgspec.UnsetType | None = msgspec.UNSET
    method: str | msgspec.UnsetType = msgspec.UNSET
    params: list[Any] | msgspec.UnsetType = msgspec.UNSET
    result: Any = msgspec.UNSET
    error: Failure | msgspec.UnsetType = msgspec.UNSET


class RemoteError(Exception):
    """The other side has answered with an error."""


class Peer:
    """One side of a connection: calls the other's methods, and answers with its own."""

    def __init__(self, conn: sockwave.Connection, **methods: Callable[..., Any]) -> None:
        self.conn = conn
        self.methods = methods
        self.ids = itertools.count(1)
        self.calls: dict[object, asyncio.Future[Any]] = {}

    async def call(self, method: str, *params: Any) -> Any:
        number = next(self.ids)
        answer = self.calls[number] = asyncio.get_running_loop().create_future()
        try:
            self.send(Message(id=number, method=method, params=list(params)))
            return await answer
        finally:
            del self.calls[number]

    def notify(self, method: str, *params: Any) -> None:
        self.send(Message(method=method, params=list(params)))

    async def run(self) -> None:
        """Take what the other side sends, until it leaves; what still waits then is cancelled."""
        try:
            async for message in self.conn.json(Message):
                if message.method is not msgspec.UNSET:
                    self.conn.create_task(self.answer(message, message.method))
                elif (call := self.calls.get(message.id)) is None or call.done():
                    continue  # of a call that was given up
                elif message.error is not msgspec.UNSET:
                    call.set_exception(RemoteError(message.error.code, message.error.message))
                else:
                    call.set_result(message.result)
        finally:
            for call in self.calls.values():
                call.cancel()

    async def answer(self, asked: Message, name: str) -> None:
        method, answer = self.methods.get(name), Message(id=asked.id)
        if method is None:
            answer.error = Failure(-32601, f"no method {name!r}")
        else:
            try:
                answer.result = await method(*(asked.params or ()))
            except Exception as error:
                answer.error = Failure(-32000, f"{type(error).__name__}: {error}")
        if asked.id is not msgspec.UNSET:  # else nobody waits for the answer
            self.send(answer)

    def send(self, message: Message) -> None:
        self.conn.send(msgspec.json.encode(message).decode())


server = sockwave.create_server()


@server.route("/rpc")
async def serve(conn: sockwave.Connection) -> None:
    async def transfer(amount: float) -> str:
        if amount > 50 and not await peer.call("confirm", amount):
            raise PermissionError("not confirmed")
        return f"transferred {amount:g}"

    peer = Peer(conn, transfer=transfer)
    await peer.run()


if __name__ == "__main__":
    server.listen(8000, "127.0.0.1")
    server.run()

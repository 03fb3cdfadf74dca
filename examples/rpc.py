"""Remote calls: {"id": 1, "method": "add", "params": [2, 3]} is answered by {"id": 1, "result": 5}.

    python examples/rpc.py

Calls of one connection run side by side, and end with it.
"""

import asyncio
from collections.abc import Callable
from typing import Any

import sockwave

server = sockwave.create_server()
methods: dict[str, Callable[..., Any]] = {}


def method(function: Callable[..., Any]) -> Callable[..., Any]:
    methods[function.__name__] = function
    return function


@method
async def add(a: float, b: float) -> float:
    return a + b


@method
async def wait(seconds: float) -> str:
    await asyncio.sleep(seconds)
    return "waited"


@server.route("/rpc")
def connected(conn: sockwave.Connection) -> None:
    @conn.on("json")
    async def call(call: Any) -> None:
        try:
            answer = {"result": await methods[call["method"]](*call.get("params", ()))}
        except Exception as error:  # of the caller, or of the method: the answer says which
            answer = {"error": f"{type(error).__name__}: {error}"}
        conn.send_json({"id": call.get("id"), **answer})


if __name__ == "__main__":
    server.listen(8000, "127.0.0.1")
    server.run()

"""A ticker: prices change a hundred times a second, and who is slow gets the newest of each.

    python examples/ticker.py

A WebSocket at /prices/ACME,INIT hears both.
"""

import asyncio
import random

import sockwave

prices = {"ACME": 100.0, "INIT": 50.0}

server = sockwave.create_server()
server.topic("price/*", slow="conflate")


@server.route("/prices/{names}")
def watch(conn: sockwave.Connection) -> None:
    for name in conn.path_params["names"].split(","):
        conn.subscribe(f"price/{name}")


@server.on("listening")
async def tick() -> None:
    while not server.is_closing:
        for name in prices:
            prices[name] *= random.uniform(0.99, 1.01)  # noqa: S311 - of an exchange, say
            server.publish(f"price/{name}", f"{name} {prices[name]:.2f}")
        await asyncio.sleep(0.01)


if __name__ == "__main__":
    server.listen(8000, "127.0.0.1")
    server.run()

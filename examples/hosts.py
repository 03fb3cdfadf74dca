"""A lobby on any number of hosts: the same program with no broker, with Valkey and with NATS.

    sockwave serve examples.hosts:server
    sockwave serve examples.hosts:server --workers 4 --broker valkey://10.0.0.5
    sockwave serve examples.hosts:server --workers 4 --broker nats://10.0.0.5

docs/scaling.md has HAProxy in front of two of them.
"""

import os
import socket

import sockwave

server = sockwave.create_server()
HOST = socket.gethostname()


@server.route("/lobby")
async def lobby(conn: sockwave.Connection) -> None:
    await conn.subscribe("lobby")
    async for text in conn:
        server.publish("lobby", f"{conn.id}: {text!s}")


@server.get("/host")
def host() -> object:
    return {"host": HOST, "worker": os.getpid(), "clients": len(server.connections)}


if __name__ == "__main__":
    server.listen(8000, "127.0.0.1")
    server.run()

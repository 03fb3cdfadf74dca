"""The client for threads without asyncio.

    from sockwave.sync import connect

    with connect("ws://127.0.0.1:8000/chat") as conn:
        conn.send("hello")
        print(conn.recv(timeout=5))

connect       opens a connection to a server
Connection    what it gives: send, recv, iteration, ping, close
"""

from sockwave.core.sync.connection import Connection
from sockwave.sync.connecting import connect

__all__ = ["Connection", "connect"]

"""The client for threads without asyncio.

    from sockwave.sync import connect

    with connect("ws://127.0.0.1:8000/chat") as conn:
        conn.send("hello")
        print(conn.recv(timeout=5))

connect           opens a connection to a server
Connection        what it gives: send, recv, iteration, ping, close
TopicConnection   the same with topics: subprotocol="sockwave.1"
"""

from sockwave.core.sync.connection import Connection
from sockwave.sync.connecting import connect
from sockwave.sync.topics import TopicConnection

__all__ = ["Connection", "TopicConnection", "connect"]

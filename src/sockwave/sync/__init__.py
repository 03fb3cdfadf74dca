"""The client for threads without asyncio.

    from sockwave.sync import connect

    with connect("ws://127.0.0.1:8000/chat") as conn:
        conn.send("hello")
        print(conn.recv(timeout=5))

connect           connects to a server: `with`, or `for conn in connect(...)` to come back
Connector         what it gives: a connection, or one after the other
Connection        one of them: send, recv, iteration, ping, close
TopicConnection   the same with topics: subprotocol="sockwave.1"
"""

from sockwave.core.sync.connection import Connection
from sockwave.sync.connecting import Connector, connect
from sockwave.sync.topics import TopicConnection

__all__ = ["Connection", "Connector", "TopicConnection", "connect"]

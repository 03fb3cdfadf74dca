"""A client that is no more than a socket: it has opened a WebSocket, and reads what it likes."""

import socket

from harness.processes import START_S, BenchmarkError

REQUEST = (
    "GET {target} HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)


def open_websocket(port: int, target: str = "/") -> socket.socket:
    """Connect and shake hands; nothing is read behind the answer. The socket blocks.

    Raises BenchmarkError where the server refuses.
    """
    made = socket.create_connection(("127.0.0.1", port), START_S)
    made.sendall(REQUEST.format(target=target).encode())
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        seen = made.recv(4096, socket.MSG_PEEK)
        if not seen:
            break
        end = (head + seen).find(b"\r\n\r\n")
        head += made.recv(len(seen) if end < 0 else end + 4 - len(head))
    if not head.startswith(b"HTTP/1.1 101"):
        raise BenchmarkError(f"a client was refused: {head[:200]!r}")
    made.settimeout(None)
    return made

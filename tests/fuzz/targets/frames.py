"""The frame reader: RFC 6455, sections 5.2 to 5.5, limits and UTF-8, whatever takes the messages.

Byte 0 chooses the limit and who takes the messages, byte 1 how the stream is cut.
"""

import functools

import reference

from fuzz.conversation import Witness, check_anyhow, check_frames, feed
from fuzz.memory import MemoryServer
from sockwave.core.session.connection import Connection
from sockwave.errors import ConnectionClosed

SIZES = (16, 300, 70_000, 1 << 20)
TAKERS = ("echo", "listener", "receive", "stream", "close", "abort", "nobody", "slow")


@functools.cache
def server(size: int) -> MemoryServer:
    """Give the server with that limit, and none on pings: the reference does not count them."""
    return MemoryServer(max_size=size, queue_count=4, control_rate=None)


def run(data: bytes) -> None:
    """Hold one stream of bytes against the reference."""
    if len(data) < 2:
        return
    max_size = SIZES[data[0] & 3]
    taker = TAKERS[data[0] >> 2 & 7]
    front = server(max_size)
    peer = front.open()
    wire = data[2:]
    if taker in ("echo", "listener", "slow"):
        witness = Witness(peer, echoes=taker != "listener")
        if taker == "slow":
            peer.appetite = 64
        feed(front, peer, wire, data[1])
        peer.take(None)
        front.settle(peer)
        front.end(peer)
        outcome = reference.decode(wire, max_size=max_size)
        check_anyhow(witness, max_size)
        if taker != "slow":
            check_frames(witness, outcome)
    elif taker in ("receive", "stream"):
        received: list[str | bytes] = []
        take = receive_all if taker == "receive" else stream_all
        peer.connection._expect_handler()
        front.server._host.hub.start_task(take(peer.connection, received), peer.connection)
        feed(front, peer, wire, data[1])
        front.end(peer)
        limit = max_size if taker == "receive" else None
        expected = reference.decode(wire, max_size=limit).messages
        assert received == expected, f"received {received!r}, expected {expected!r}"
    else:
        witness = Witness(peer)
        if taker == "close":
            peer.connection.on("message", lambda: peer.connection.close(4000, "enough"))
            peer.connection.on("ping", lambda: peer.connection.close(4001, "enough"))
        elif taker == "abort":
            peer.connection.on("message", peer.connection.abort)
            peer.connection.on("ping", peer.connection.abort)
        else:
            peer.connection.off("message", witness.heard)
        feed(front, peer, wire, data[1])
        front.end(peer)
        check_anyhow(witness, max_size)
        reference.parse_all(bytes(peer.output), from_client=False)


async def receive_all(connection: Connection, received: list[str | bytes]) -> None:
    """Receive messages as long as there are any."""
    received.extend([message async for message in connection])


async def stream_all(connection: Connection, received: list[str | bytes]) -> None:
    """Receive every message in pieces."""
    try:
        while True:
            stream = connection.stream(max_size=None)
            chunks = [chunk async for chunk in stream]
            received.append(("" if stream.is_text else b"").join(chunks))
    except ConnectionClosed:
        pass

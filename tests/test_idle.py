"""What an idle connection takes of our own memory, counted to the byte."""

import asyncio
import gc
import socket
import sys
import tracemalloc

import pytest
from wire import build_request, upgrade_headers, wait_until

import sockwave
from sockwave.cli.echo import create_echo

COUNT = 256
#: The most that a connection may take beside the header block of its request, in bytes.
BAR = 640
#: Masked with zeros (RFC 6455, section 5.3): "x".
FRAME = b"\x81\x81\0\0\0\0x"


async def connect(server: sockwave.Server) -> socket.socket:
    """Connect, shake hands and have one message echoed; nothing but the socket is kept."""
    loop = asyncio.get_running_loop()
    sock = socket.create_connection(server.addresses[0])
    sock.setblocking(False)
    await loop.sock_sendall(sock, build_request(upgrade_headers()) + FRAME)
    answer = b""
    while not answer.endswith(b"\r\n\r\n\x81\x01x"):
        answer += await loop.sock_recv(sock, 4096)
    return sock


def measure_traced() -> int:
    """Give what is allocated now, but for what this file has made: the other ends."""
    gc.collect()
    snapshot = tracemalloc.take_snapshot()
    others = snapshot.filter_traces(
        [tracemalloc.Filter(False, name) for name in (__file__, socket.__file__)]
    )
    return sum(trace.size for trace in others.traces)


@pytest.mark.skipif(sys.platform != "linux", reason="the engine is epoll's")
async def test_an_idle_connection_takes_few_bytes() -> None:
    server = create_echo(engine="epoll")
    server.listen(0, "127.0.0.1")
    async with server:
        socks = [await connect(server)]  # what is made once is made now
        tracemalloc.start()
        try:
            before = measure_traced()
            socks += [await connect(server) for _ in range(COUNT)]
            await wait_until(lambda: len(server.connections) == len(socks))
            size = (measure_traced() - before) / COUNT
        finally:
            tracemalloc.stop()
        for sock in socks:
            sock.close()
    assert size - len(build_request(upgrade_headers())) <= BAR

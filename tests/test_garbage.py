"""A connection that has ended is gone: nothing of it waits for the collector of garbage, which a
flood of connections would otherwise keep at work, while everybody else waits."""

import asyncio
import collections
import gc
import socket
from typing import Any

import pytest
from reference import CLOSE, TEXT, Frame, serialize
from wire import build_request, let_arrive, upgrade_headers, wait_until

import sockwave

UPGRADE = build_request(upgrade_headers())
# What a visitor sends before it goes, each time waiting for an answer; an unfinished request has
# none.
VISITS = {
    "slow": [b"GET / HTTP/1.1\r\nX-Slow: "],
    "refused": [b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n"],
    "http": [b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"],
    "lost": [UPGRADE, serialize(Frame(TEXT, b"hello"))],
    "closed": [UPGRADE, serialize(Frame(CLOSE, b"\x03\xe8"))],
}


def visit(address: Any, steps: list[bytes]) -> None:
    """Come and go; in a thread, as an asyncio transport of ours would be garbage itself."""
    with socket.create_connection(address) as sock:
        for step in steps:
            sock.sendall(step)
            if step not in VISITS["slow"]:
                assert sock.recv(4096)


def count_objects() -> collections.Counter[type]:
    return collections.Counter(map(type, gc.get_objects()))


@pytest.mark.parametrize("steps", VISITS.values(), ids=VISITS)
async def test_a_connection_that_has_ended_leaves_nothing_to_the_collector_of_garbage(
    echo_server: sockwave.Server, steps: list[bytes]
) -> None:
    async def serve(visitor_count: int) -> None:
        for _ in range(visitor_count):
            await asyncio.to_thread(visit, echo_server.addresses[0], steps)
        await wait_until(lambda: not echo_server._host.engine.transport_count)
        await let_arrive()  # the loop's own last calls

    await serve(5)
    count_objects()  # whose first call fills the caches of abstract classes, of each that is there
    gc.collect()
    gc.disable()
    try:
        before = count_objects()
        await serve(30)
        left = {kind: number for kind, number in (count_objects() - before).items() if number >= 30}
    finally:
        gc.enable()
    assert left == {}

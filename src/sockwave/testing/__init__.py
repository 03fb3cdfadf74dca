"""The test kit: real servers and clients, on free ports or in memory under a virtual clock.

    from sockwave import testing

    async def test_echo():
        async with testing.serve(echo) as url, sockwave.connect(url) as conn:
            await conn.send("hello")
            assert await conn.receive() == "hello"

To serve
    serve           a server or a handler, on a free port, for the time of a block
    pair            the same with a client: both ends of one connection
    Hang            a test has waited too long: names the line, and what both sides have sent
    find_free_port  a port for a program that is told one
Time
    virtual_clock   a decorator: the test runs under a virtual clock, its connections in memory
    run             a coroutine does
    VirtualLoop     the loop that has one
Faults
    Network         what is between clients and server: latency, bytes_per_second, its links
    Link            one connection of it: vanish, reset, transcript
    Lane            one direction of a link: stall, resume, inject
    frame           the bytes of a frame, allowed or not
    MALFORMED       what no client may send, and the close codes for it

`docs/testing.md` is the manual. pytest has the fixtures `sockwave_server`, `sockwave_client` and
`sockwave_port`.
"""

from sockwave.testing.clock import VirtualLoop, run, virtual_clock
from sockwave.testing.frames import MALFORMED, frame
from sockwave.testing.network import Lane, Link, Network
from sockwave.testing.serving import find_free_port, pair, serve
from sockwave.testing.watch import Hang

__all__ = [
    "MALFORMED",
    "Hang",
    "Lane",
    "Link",
    "Network",
    "VirtualLoop",
    "find_free_port",
    "frame",
    "pair",
    "run",
    "serve",
    "virtual_clock",
]

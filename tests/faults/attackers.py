"""Attackers of one kind, in a process of their own: each that is closed begins again.

Says how many were opened, and how many the server closed, at the end of its time.
"""

import argparse
import asyncio
import contextlib
import json
import os
import socket
import sys
import time
import zlib
from collections.abc import Awaitable, Callable
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.append(str(HERE.parent))

from client import PING, RSV1, TAIL, abort_transport, make_frame, make_request  # noqa: E402
from costly import make_nothing  # noqa: E402

DEFLATE = "Sec-WebSocket-Extensions: permessage-deflate\r\n"
#: Who was closed comes again after so long: a flood of handshakes is what the limits are for, too.
REST_S = 0.25
#: In which it hears of its end, if that has come.
LOOK_S = 1.0
SEND_SIZE = 65536
#: Requests of a flood that are written at once, and that may wait for their answers.
BATCH_COUNT, AHEAD_COUNT = 100, 1000


class Attack:
    """What the attackers of this process share."""

    def __init__(self, port: int, seconds: float, patience_s: float) -> None:
        self.port = port
        self.patience_s = patience_s
        self.end = time.monotonic() + seconds
        self.opened_count = self.closed_count = self.failed_count = 0

    @property
    def is_over(self) -> bool:
        """Tell whether nobody begins again."""
        return time.monotonic() > self.end

    async def persist(self, attacker: "Callable[[Attack, Peer], Awaitable[None]]") -> None:
        """Attack, until the server closes the connection; and again."""
        while not self.is_over:
            peer = Peer()
            try:
                await peer.connect(self.port)
            except OSError:
                self.failed_count += 1
                await asyncio.sleep(REST_S)
                continue
            self.opened_count += 1
            acting = asyncio.ensure_future(attacker(self, peer))
            await self.outlast(peer)
            acting.cancel()
            await asyncio.gather(acting, return_exceptions=True)
            # Who neither reads nor has anything to write has not heard of its end.
            peer.transport.resume_reading()
            await asyncio.wait([peer.ended], timeout=LOOK_S)
            self.closed_count += peer.ended.done()
            abort_transport(peer.transport)
            await asyncio.sleep(REST_S)

    async def outlast(self, peer: "Peer") -> None:
        """Wait for a peer's end. Behind the attack the server has until its deadlines for that.

        They begin when the peer has read what it is owed, for which a loud machine may leave it no
        time: as long as it reads, the wait begins again.
        """
        await asyncio.wait([peer.ended], timeout=max(0.0, self.end - time.monotonic()))
        if self.is_over and hasattr(os, "SCHED_OTHER"):
            # They attack with the time that nobody else wants; now nobody is measured any more.
            with contextlib.suppress(OSError):  # an old kernel, or no right to it
                os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))
        for _ in range(5):
            size = peer.received_size
            await asyncio.wait([peer.ended], timeout=self.patience_s / 3)
            if peer.ended.done():
                return
            if peer.received_size == size:
                await asyncio.wait([peer.ended], timeout=self.patience_s * 2 / 3)
                if peer.received_size == size:
                    return


class Peer(asyncio.Protocol):
    """One attacker's connection."""

    transport: asyncio.Transport

    def __init__(self) -> None:
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.answered: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.may_write = asyncio.Event()
        self.may_write.set()
        self.received_size = 0

    async def connect(self, port: int, *, receive_size: int = 4096) -> None:
        """Connect from one of many addresses, with little room for what it does not read.

        And with no more room than it needs for what it sends: that would be an attacker's own
        memory, but here it comes out of what the kernel has for the server, too.
        """
        sock = socket.socket()
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_size)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_SIZE)
        sock.setblocking(False)
        loop = asyncio.get_running_loop()
        try:
            sock.bind((f"127.0.1.{1 + int.from_bytes(os.urandom(1), 'big') % 250}", 0))
            await loop.sock_connect(sock, ("127.0.0.1", port))
            await loop.create_connection(lambda: self, sock=sock)
        except BaseException:
            sock.close()
            raise

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.received_size += len(data)
        if not self.answered.done():
            self.answered.set_result(None)

    def connection_lost(self, error: Exception | None) -> None:
        self.may_write.set()
        if not self.ended.done():
            self.ended.set_result(None)

    def pause_writing(self) -> None:
        self.may_write.clear()

    def resume_writing(self) -> None:
        self.may_write.set()

    async def write(self, data: bytes) -> None:
        """Send, and wait until there is room for more."""
        if not self.ended.done():
            self.transport.write(data)
            await self.may_write.wait()
            await asyncio.sleep(0)

    async def shake_hands(self, more: str = "") -> None:
        """Open the WebSocket."""
        await self.write(make_request("/", more))
        await self.answered


async def be_slow(attack: Attack, peer: Peer) -> None:
    """Slowloris: a header that never ends, a byte now and then."""
    await peer.write(make_request()[:-2] + b"X-Slow: ")
    while not peer.ended.done():
        await peer.write(b"a")
        await asyncio.sleep(5)


async def read_nothing(attack: Attack, peer: Peer) -> None:
    """Have much echoed, and read none of it."""
    await peer.shake_hands()
    peer.transport.pause_reading()
    frame = make_frame(bytes(60_000))
    while not peer.ended.done() and not attack.is_over:
        await peer.write(frame)


async def flood_pings(attack: Attack, peer: Peer) -> None:
    """Send pings as fast as they go."""
    await peer.shake_hands()
    frames = make_frame(bytes(125), PING) * 100
    while not peer.ended.done() and not attack.is_over:
        await peer.write(frames)


async def flood_fragments(attack: Attack, peer: Peer) -> None:
    """Send empty fragments of a message that never ends."""
    await peer.shake_hands()
    await peer.write(make_frame(b"", fin=False))
    frames = make_frame(b"", 0, fin=False) * 500
    while not peer.ended.done() and not attack.is_over:
        await peer.write(frames)


async def shake_badly(attack: Attack, peer: Peer) -> None:
    """Send handshakes that are none."""
    junk = (
        b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
        b"GET / HTTP/1.1\r\n" + b"X: y\r\n" * 2000 + b"\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(60),
        make_request().replace(b"Version: 13", b"Version: 99"),
    )
    await peer.write(junk[attack.opened_count % len(junk)])


def make_bomb() -> bytes:
    """Give 16 MiB of zeros in 16 KB."""
    packer = zlib.compressobj(9, wbits=-15)
    packed = packer.compress(bytes(16 << 20)) + packer.flush(zlib.Z_SYNC_FLUSH)
    return make_frame(packed.removesuffix(TAIL), 0x1 | RSV1)


BOMB = make_bomb()


async def throw_bomb(attack: Attack, peer: Peer) -> None:
    """Send a message that is a thousand times as large as it looks."""
    await peer.shake_hands(DEFLATE)
    await peer.write(BOMB)


# Sound up to its end, which is what it is closed for.
EMPTY_BLOCKS = make_frame(make_nothing("flat", (1 << 20) - 100)[:-1] + b"\xff", 0x2 | RSV1)


async def send_empty_blocks(attack: Attack, peer: Peer) -> None:
    """Send a message that takes as long to inflate as a hundred others, and makes nothing."""
    await peer.shake_hands(DEFLATE)
    await peer.write(EMPTY_BLOCKS)


def make_post(target: str, size: int) -> bytes:
    """Give the head of a request with a body of so many bytes."""
    head = f"POST {target} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {size}\r\n\r\n"
    return head.encode()


async def post_slowly(attack: Attack, peer: Peer) -> None:
    """Send a body of which a byte comes now and then, and at last none."""
    await peer.write(make_post("/upload", 100_000))
    while not peer.ended.done() and not attack.is_over:
        await peer.write(b"a")
        await asyncio.sleep(0.5)


async def flood_requests(attack: Attack, peer: Peer) -> None:
    """Ask as fast as it goes, ahead of the answers, which are read.

    Not further ahead than the server can work off when the attack is over.
    """
    request = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"
    await peer.write(request)
    await peer.answered
    answer_size = peer.received_size
    sent_count = 1
    while not peer.ended.done() and not attack.is_over:
        if sent_count - peer.received_size // answer_size < AHEAD_COUNT:
            await peer.write(request * BATCH_COUNT)
            sent_count += BATCH_COUNT
        else:
            await asyncio.sleep(0.001)


def ignore_answers(target: str) -> "Callable[[Attack, Peer], Awaitable[None]]":
    """Give an attacker that asks for much, and reads none of it."""
    requests = f"GET {target} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode() * 200

    async def ask(attack: Attack, peer: Peer) -> None:
        peer.transport.pause_reading()
        while not peer.ended.done() and not attack.is_over:
            await peer.write(requests)

    return ask


async def post_unread(attack: Attack, peer: Peer) -> None:
    """Send a body that the application never reads."""
    await peer.write(make_post("/unread", 1_000_000))
    for _ in range(10):
        await peer.write(bytes(100_000))


KINDS = {
    "slowloris": be_slow,
    "reader": read_nothing,
    "pings": flood_pings,
    "fragments": flood_fragments,
    "handshakes": shake_badly,
    "bombs": throw_bomb,
    "blocks": send_empty_blocks,
    "bodies": post_slowly,
    "requests": flood_requests,
    "deaf": ignore_answers("/large"),
    "unread": post_unread,
    "endless": ignore_answers("/endless"),
}


async def main() -> None:
    """Attack for so many seconds, then wait until the server has closed everybody."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--kind", choices=KINDS, required=True)
    parser.add_argument("--count", type=int, required=True)
    parser.add_argument("--seconds", type=float, required=True)
    parser.add_argument("--patience-s", type=float, required=True)
    arguments = parser.parse_args()
    attack = Attack(arguments.port, arguments.seconds, arguments.patience_s)
    attacker = KINDS[arguments.kind]
    tasks = []
    for number in range(arguments.count):
        tasks.append(asyncio.ensure_future(attack.persist(attacker)))
        if number % 50 == 49:
            await asyncio.sleep(0.02)
    await asyncio.gather(*tasks)
    record = {
        "opened": attack.opened_count,
        "closed": attack.closed_count,
        "failed": attack.failed_count,
    }
    sys.stdout.write(json.dumps(record) + "\n")


if __name__ == "__main__":
    asyncio.run(main())

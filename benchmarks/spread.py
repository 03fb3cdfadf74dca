"""How evenly connections spread over workers: one shared socket, or one of each worker's own.

It prints, for three ways in which 400 clients come, how many each of four workers has got. The
answer is in docs/serve.md: `workers/sockets.py` gives each worker a socket of its own.
"""

import argparse
import asyncio
import collections
import os
import signal
import socket
import time
from collections.abc import Sequence

import sockwave
from sockwave.listening.binding import bind_port, open_sibling

REQUEST = (
    b"GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)
WAYS = ("at once", "one by one", "one in 2 ms")


def serve(sock: socket.socket, engine: str, work_s: float) -> None:
    """Be one of the workers, which works a little for each newcomer."""
    server = sockwave.create_server(engine=engine)

    @server.on("connection")
    def connected(conn: sockwave.Connection) -> None:
        conn.send(str(os.getpid()))
        end = time.perf_counter() + work_s
        while time.perf_counter() < end:
            pass

    server.listen(sock=sock)
    server.run()


async def connect(port: int) -> tuple[str, asyncio.StreamWriter]:
    """Open a WebSocket, and give the worker that serves it."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(REQUEST)
    await reader.readuntil(b"\r\n\r\n")
    _, size = await reader.readexactly(2)
    return (await reader.readexactly(size)).decode(), writer


async def count(port: int, way: str, clients: int) -> collections.Counter[str]:
    """Have the clients come, and give how many each worker has got."""
    tasks = []
    for _ in range(clients):
        tasks.append(asyncio.create_task(connect(port)))
        if way == "one by one":
            await tasks[-1]
        elif way == "one in 2 ms":
            await asyncio.sleep(0.002)
    found = await asyncio.gather(*tasks)
    for _, writer in found:
        writer.transport.abort()
    return collections.Counter(pid for pid, _ in found)


def start(sockets: Sequence[socket.socket], engine: str, work_s: float) -> list[int]:
    """Fork a worker for each socket."""
    pids = []
    for sock in sockets:
        pid = os.fork()
        if not pid:
            try:
                serve(sock, engine, work_s)
            finally:
                os._exit(1)
        pids.append(pid)
    return pids


def measure(workers: int, clients: int, *, own: bool, engine: str, way: str, work_s: float) -> str:
    """Give how many clients each worker has got, the most first."""
    (first,) = bind_port(0, "127.0.0.1")
    sockets = [first] * workers
    if own:
        sockets = [first, *(open_sibling(first) for _ in range(workers - 1))]
    port = first.getsockname()[1]
    pids = start(sockets, engine, work_s)
    for sock in set(sockets):
        sock.close()
    time.sleep(1.0)  # until all of them accept
    try:
        counts = asyncio.run(count(port, way, clients))
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
    found = sorted((counts[str(pid)] for pid in pids), reverse=True)
    return " ".join(map(str, found))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--workers", type=int, default=4)
    parser.add_argument("--clients", type=int, default=400)
    parser.add_argument("--engine", default="epoll")
    parser.add_argument("--runs", type=int, default=3)
    chosen = parser.parse_args()
    for way in WAYS:
        for work_s in (0.0, 0.002):
            for own in (False, True):
                runs = [
                    measure(
                        chosen.workers,
                        chosen.clients,
                        own=own,
                        engine=chosen.engine,
                        way=way,
                        work_s=work_s,
                    )
                    for _ in range(chosen.runs)
                ]
                kind = "one socket each" if own else "one for all"
                print(f"{way:12} {1000 * work_s:g} ms  {kind:16} {'  |  '.join(runs)}", flush=True)


if __name__ == "__main__":
    main()

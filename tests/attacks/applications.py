"""What the servers under attack do: each function makes a server of the options given."""

import array
import asyncio
from collections.abc import Iterator
from typing import Any

import sockwave


def echo(**options: Any) -> sockwave.Server:
    """Send every message back, and answer every request with the length of its body."""
    server = sockwave.create_server(**options)

    @server.on("connection")
    def connected(conn: sockwave.Connection) -> None:
        conn.on("message", conn.send)

    @server.on("request")
    async def requested(request: sockwave.Request, response: sockwave.Response) -> None:
        body = await request.body()
        response.write_head(200, {"Content-Type": "text/plain"})
        response.end(f"{len(body)}\n")

    return server


def receive(**options: Any) -> sockwave.Server:
    """Take one message at a time, give others a turn after each, and send the short ones back."""
    server = sockwave.create_server(**options)

    @server.on("connection")
    async def connected(conn: sockwave.Connection) -> None:
        async for message in conn:
            await asyncio.sleep(0)
            if len(message) > 1:
                await conn.send(message[:100_000])

    return server


def count(**options: Any) -> sockwave.Server:
    """Send nothing back but to text: how long the messages were together since the last text."""
    server = sockwave.create_server(**options)

    @server.on("connection")
    def connected(conn: sockwave.Connection) -> None:
        total = 0

        @conn.on("message")
        def message(message: str | bytes) -> None:
            nonlocal total
            total += len(message)
            if isinstance(message, str):
                conn.send(str(total) if message == "count" else message)
                total = 0

    return server


def payloads() -> Iterator[tuple[Any, bytes]]:
    """Give one message of each kind that there is, and the bytes that it stands for."""
    lines = bytes(range(256)) * 16
    yield lines, lines
    yield b"", b""
    yield bytearray(lines), lines
    yield memoryview(lines), lines
    yield memoryview(lines)[5:500], lines[5:500]
    yield memoryview(lines)[::3], lines[::3]
    yield memoryview(lines)[::-1], lines[::-1]
    yield memoryview(bytearray(lines)).cast("B", (64, 64)), lines
    numbers = array.array("d", [0.5, 1e300, -3.25] * 100)
    yield numbers, numbers.tobytes()
    yield memoryview(numbers), numbers.tobytes()
    yield memoryview(numbers)[::2], numbers[::2].tobytes()
    yield array.array("H", range(1000)), array.array("H", range(1000)).tobytes()
    for text in ("", "plain", "é" * 300, "κόσμε" * 1000, "🌊" * 5000):
        yield text, text.encode()


def send_everything(**options: Any) -> sockwave.Server:
    """Send a message of each kind by each way of sending, when asked for it; echo anything else."""
    server = sockwave.create_server(**options)

    @server.on("connection")
    def connected(conn: sockwave.Connection) -> None:
        @conn.on("message")
        def message(message: str | bytes) -> None:
            if message == "send":
                for payload, _ in payloads():
                    conn.send(payload)
            elif message == "broadcast":
                for payload, _ in payloads():
                    server.broadcast(payload)
            elif message == "ping":
                for payload, wanted in payloads():
                    if len(wanted) <= 125:
                        conn.ping(payload)
            elif message == "close":
                conn.close(4321, "é" * 60)
            else:
                conn.send(message)

    return server


# What an attacker wants to know, one letter after the other, by the lengths of the answers.
SECRET = "token=Wk3xR9"


def reflect_beside_secret(**options: Any) -> sockwave.Server:
    """Answer text with itself beside a secret: compressed, or after "plain " as it is."""
    server = sockwave.create_server(**options)

    @server.on("connection")
    def connected(conn: sockwave.Connection) -> None:
        @conn.on("message")
        def message(message: str) -> None:
            if message.startswith("bystander"):
                conn.send(message)
            else:
                compress = not message.startswith("plain ")
                conn.send(f"{message.removeprefix('plain ')} {SECRET}", compress=compress)

    return server

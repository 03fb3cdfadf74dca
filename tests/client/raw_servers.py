"""Servers on raw sockets, which answer a client as a test says: rightly, wrongly, or not at all."""

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import reference
from reference import CLOSE, TEXT, Frame
from wire import PATIENCE_S

Answering = Callable[["RawPeer"], Awaitable[None]]


class RawPeer:
    """The server's end of one connection: it reads with the reference codec, and sends any bytes.

    Frames that a client may not send fail the test.
    """

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer
        self.request = b""
        #: The masks of the frames that were read.
        self.masks: list[bytes] = []

    async def receive_head(self) -> bytes:
        """Read the client's request."""
        async with asyncio.timeout(PATIENCE_S):
            self.request = await self.reader.readuntil(b"\r\n\r\n")
        return self.request

    def header(self, name: str) -> str | None:
        """Give a header field of the request."""
        found = re.search(rf"(?im)^{name}:[ \t]*(.*?)\r$", self.request.decode("latin-1"))
        return found and found[1]

    def headers_101(self) -> dict[str, str]:
        """Give the header fields of the right answer."""
        return {
            "Upgrade": "websocket",
            "Connection": "Upgrade",
            "Sec-WebSocket-Accept": reference.accept_value(self.header("Sec-WebSocket-Key") or ""),
        }

    async def open(self, behind: bytes = b"", **added: str) -> None:
        """Read the request and give the right answer; `behind` leaves in one segment with it."""
        await self.receive_head()
        fields = self.headers_101() | {name.replace("_", "-"): one for name, one in added.items()}
        self.write(answer("101 Switching Protocols", fields) + behind)

    def write(self, data: bytes) -> None:
        self.writer.write(data)

    def write_frame(self, opcode: int, payload: bytes = b"", **options: Any) -> None:
        """Send one frame, which has no mask."""
        self.write(reference.serialize(Frame(opcode, payload, **options), None))

    async def receive_frame(self, allowed_rsv: int = 0) -> Frame:
        """Read one frame of the client, holding it to section 5: masked, shortest length."""
        async with asyncio.timeout(PATIENCE_S):
            data = await self.reader.readexactly(2)
            while (
                found := reference.parse_header(data, from_client=True, allowed_rsv=allowed_rsv)
            ) is None:
                data += await self.reader.readexactly(1)
            frame, length, mask, _ = found
            payload = await self.reader.readexactly(length)
        self.masks.append(mask)
        return Frame(frame.opcode, reference.apply_mask(payload, mask), frame.fin, frame.rsv)

    async def receive_text(self) -> str:
        """Read one text message, which must be the next frame."""
        frame = await self.receive_frame()
        assert frame.opcode == TEXT, frame
        return frame.payload.decode()

    async def receive_close(self) -> tuple[int, str]:
        """Read a close frame, which must be the next."""
        frame = await self.receive_frame()
        assert frame.opcode == CLOSE, frame
        _, code, reason = reference.parse_close(frame.payload)
        return code, reason

    async def receive_end(self) -> bytes:
        """Read to the client's end."""
        async with asyncio.timeout(PATIENCE_S):
            return await self.reader.read()


def answer(status: str, fields: dict[str, str] | None = None, body: bytes = b"") -> bytes:
    """Give the bytes of an answer."""
    lines = [f"HTTP/1.1 {status}", *(f"{name}: {value}" for name, value in (fields or {}).items())]
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + body


@contextlib.asynccontextmanager
async def raw_server(answering: Answering) -> AsyncIterator[str]:
    """Serve each connection by a function, one after the other; give the URI.

    What the function raises fails the test, and its connection is closed when it returns.
    """
    errors: list[BaseException] = []
    tasks: set[asyncio.Task[Any]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        try:
            await answering(RawPeer(reader, writer))
        except Exception as error:
            errors.append(error)
        finally:
            writer.close()
            tasks.discard(task)

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
    finally:
        server.close()
        if tasks:
            await asyncio.wait(tasks, timeout=PATIENCE_S)
    if errors:
        raise errors[0]

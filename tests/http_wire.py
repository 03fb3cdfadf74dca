"""What the HTTP tests read: responses, framed as RFC 9112, section 6.3, has it for a client."""

import asyncio
from dataclasses import dataclass

from wire import PATIENCE_S, Head, Wire


@dataclass
class Answer:
    """One response: its head and the content of its body."""

    head: Head
    body: bytes

    @property
    def status(self) -> int:
        return self.head.status

    @property
    def headers(self) -> dict[str, str]:
        return self.head.headers


async def receive_answer(wire: Wire, *, method: str = "GET") -> Answer:
    """Read one response to a request of `method`; its body must be framed without a doubt."""
    head = await wire.receive_head()
    headers = head.headers
    names = [line.partition(b":")[0].lower() for line in head.raw.split(b"\r\n")[1:-2]]
    for name in (b"content-length", b"transfer-encoding", b"connection", b"date"):
        assert names.count(name) <= 1, head.raw
    if method == "HEAD" or head.status < 200 or head.status in (204, 304):
        return Answer(head, b"")
    if "transfer-encoding" in headers:
        assert headers["transfer-encoding"] == "chunked"
        assert "content-length" not in headers
        return Answer(head, await receive_chunked(wire))
    if "content-length" in headers:
        return Answer(head, await wire.receive(int(headers["content-length"])))
    assert headers["connection"] == "close"
    return Answer(head, await wire.receive_rest())


async def receive_chunked(wire: Wire) -> bytes:
    """Read a chunked body without extensions and trailers."""
    chunks = []
    async with asyncio.timeout(PATIENCE_S):
        while True:
            line = await wire.reader.readuntil(b"\r\n")
            size = int(line, 16)
            assert line == b"%x\r\n" % size
            chunk = await wire.reader.readexactly(size + 2)
            assert chunk.endswith(b"\r\n")
            chunks.append(chunk[:-2])
            if size == 0:
                return b"".join(chunks)


async def receive_refusal(wire: Wire, status: int) -> Answer:
    """Read a response that refuses and ends the connection, with nothing behind it."""
    answer = await receive_answer(wire)
    assert answer.status == status, answer.head.raw + answer.body
    assert answer.headers["connection"] == "close"
    assert answer.headers["content-type"].startswith("text/plain")
    assert answer.body
    await wire.receive_end()
    return answer

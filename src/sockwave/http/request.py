"""A request that does not upgrade, as the application sees it: RFC 9110, section 6."""

from typing import Any, Self

from sockwave.http.stream import BodyStream
from sockwave.proxy.forwarded import Client
from sockwave.request_head import RequestHead


class Request(RequestHead):
    """A request: its head, its body, and its client.

    Read the body by `await request.body()` or by `async for chunk in request`, not by both; it has
    at most `body_size` bytes. If the client goes before the body is complete, or the body is
    refused, the task that reads it is cancelled. So is a task that begins to read when the response
    has ended, unless the whole body had arrived by then.
    """

    __slots__ = ("_content", "_stream", "is_secure", "remote_address")

    def __init__(self, head: RequestHead, stream: BodyStream, client: Client) -> None:
        super().__init__(head.raw, head._line, head._headers)
        #: `(host, port)`, or the path of a Unix socket.
        self.remote_address: Any = client.address
        #: Whether the client is connected by TLS, to this server or to a trusted proxy.
        self.is_secure = client.is_secure
        self._stream = stream
        self._content: bytes | None = None

    async def body(self) -> bytes:
        """Return the whole body; a second call returns the same body.

        Raises RuntimeError if the body is read by `async for`, too.
        """
        self._stream.check_thread("request.body")
        if self._content is None:
            self._claim()
            content = bytearray()
            while piece := await self._stream.read():
                content += piece
            self._content = bytes(content)
        return self._content

    def __aiter__(self) -> Self:
        """Iterate over the body in pieces as they arrive; the client waits while none is read."""
        self._stream.check_thread("request.body")
        self._claim()
        return self

    async def __anext__(self) -> bytes:
        piece = await self._stream.read()
        if not piece:
            raise StopAsyncIteration
        return piece

    def _claim(self) -> None:
        """Make the caller the only reader of the body."""
        if self._stream.claimed:
            raise RuntimeError("body: expected to be read once, given a second reader")
        self._stream.claimed = True

"""A request that does not upgrade, as the application sees it: RFC 9110, section 6."""

from typing import Any, Self

from sockwave.http.stream import BodyStream
from sockwave.proxy.forwarded import Client
from sockwave.request_head import RequestHead


class Request(RequestHead):
    """A request: its head, its body, and whom it is from.

    The body is read by `await request.body()` or by `async for chunk in request`, not by both, and
    either way it has at most `body_size` bytes. If the peer vanishes before it is whole, or it is
    refused, whoever waits for it is cancelled; so is who begins to read when the response has
    ended, unless it had arrived by then.
    """

    __slots__ = ("_content", "_stream", "is_secure", "remote_address")

    def __init__(self, head: RequestHead, stream: BodyStream, client: Client) -> None:
        super().__init__(head.raw, head._line, head._headers)
        #: `(host, port)`, or the path of a Unix socket.
        self.remote_address: Any = client.address
        #: Whether the client came by TLS: to us, or to a proxy that is believed.
        self.is_secure = client.is_secure
        self._stream = stream
        self._content: bytes | None = None

    async def body(self) -> bytes:
        """Return the whole body; called again, the same body again.

        Raises RuntimeError when it is being read otherwise.
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
        """Give the body in pieces as they arrive; the peer has to wait while none is taken."""
        self._stream.check_thread("request.body")
        self._claim()
        return self

    async def __anext__(self) -> bytes:
        piece = await self._stream.read()
        if not piece:
            raise StopAsyncIteration
        return piece

    def _claim(self) -> None:
        """Make the caller the one who reads the body."""
        if self._stream.claimed:
            raise RuntimeError("body: expected to be read once, given a second reader")
        self._stream.claimed = True

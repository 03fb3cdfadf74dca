"""A request that does not upgrade, as the application sees it: RFC 9110, section 6."""

from asyncio import CancelledError

from sockwave.address import NO_ADDRESS, as_pair
from sockwave.form_bodies import find_parser
from sockwave.json_codec import decode_body


async def read(Exchange exchange):
    """Return the bytes of a body that have come, waiting for some; b"" at its end. None: there is
    no body. Raises RuntimeError for a second reader."""
    if exchange is None:
        return b""
    while exchange.content is None:
        if exchange.is_dropped:
            raise CancelledError
        if exchange.is_received:
            return b""
        if exchange.waiter is not None:
            raise RuntimeError("body: expected one reader, given a second one")
        exchange.want_body()
        exchange.waiter = exchange.settings.engine.loop.create_future()
        try:
            await exchange.waiter
        finally:
            exchange.waiter = None
    return exchange.take_content()


cdef class Request(RequestHead):
    """A request: its head, its body, and its client.

    Read the body by `await request.body()` or by `async for chunk in request`, not by both; it has
    at most `body_size` bytes. If the client goes before the body is complete, or the body is
    refused, the task that reads it is cancelled. So is a task that begins to read when the response
    has ended, unless the whole body had arrived by then.
    """

    @property
    def remote_address(self):
        """The client: (host, port); ("", 0) on a Unix socket, and where a trusted proxy hides it.
        """
        if self.client is not None:
            return as_pair(self.client.address)
        return NO_ADDRESS if self.transport is None else as_pair(self.transport.remote_address)

    @property
    def is_secure(self):
        """Whether the client is connected by TLS, to this server or to a trusted proxy."""
        return bool(self.is_over_tls())

    cdef bint is_over_tls(self) except -1:
        if self.client is not None:
            return self.client.is_secure
        return self.transport is not None and self.transport.is_secure

    async def body(self):
        """Return the whole body; a second call returns the same body.

        Raises RuntimeError if the body is read by `async for`, too.
        """
        cdef bytes piece
        self.check_thread()
        if self.whole is None:
            self.claim()
            pieces = []
            while True:
                piece = await read(self.exchange)
                if not piece:
                    break
                pieces.append(piece)
            self.whole = pieces[0] if len(pieces) == 1 else b"".join(pieces)
        return self.whole

    async def json(self):
        """Return what the body says as JSON (RFC 8259).

        For a body that is none it raises `Refused`, which is a ValueError too: unless the listener
        catches it, the client is answered with 400. Raises what `body` raises.
        """
        return decode_body(await self.body())

    async def form(self, *, field_count=1000):
        """Return the fields of the body's form: a `Form`, a mapping like `params`.

        It takes what HTML forms send by POST: `application/x-www-form-urlencoded`, and with
        python-multipart (`pip install sockwave[forms]`) `multipart/form-data`, whose files are in
        `form.files`. The whole body is kept in memory: at most `body_size` bytes.

        Raises `Refused`, which answers the client unless the listener catches it: 415 for another
        type of content, 400 for a form that is malformed, 413 for more than `field_count` fields
        and files. Raises ImportError without python-multipart where it is needed.
        """
        parse = find_parser(self.headers_of().get("content-type", ""), field_count)
        return parse(await self.body())

    @property
    def last_event_id(self):
        """The `id` of the last server-sent event that a page had before it connected again; None:
        it has had none (HTML, section 9.2)."""
        cdef str found = self.headers_of().get("last-event-id")
        if not found:
            return None
        return found.encode("latin-1").decode(errors="replace")

    def __aiter__(self):
        """Iterate over the body in pieces as they arrive; the client waits while none is read."""
        self.check_thread()
        self.claim()
        return self

    async def __anext__(self):
        piece = await read(self.exchange)
        if not piece:
            raise StopAsyncIteration
        return piece

    cdef int check_thread(self) except -1:
        """Raise SockwaveError in a thread other than the loop's, unless the body is complete."""
        if self.exchange is not None and not self.exchange.is_received:
            self.exchange.settings.engine.thread.check("request.body")
        return 0

    cdef int claim(self) except -1:
        """Make the caller the only reader of the body."""
        if self.is_claimed:
            raise RuntimeError("body: expected to be read once, given a second reader")
        self.is_claimed = True
        if self.exchange is not None:
            self.exchange.is_claimed = True
        return 0

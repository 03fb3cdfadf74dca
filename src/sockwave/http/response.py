"""The answer to one request, written by the application: RFC 9112, sections 6 and 7.1."""

import asyncio
import contextlib
import os
from collections.abc import Awaitable
from typing import Any, BinaryIO, Protocol, Self

from sockwave.core.events.loop_thread import LoopThread
from sockwave.errors import Refused
from sockwave.http.dates import format_now
from sockwave.http.files import INLINE_SIZE, choose_part, open_file, read_pieces
from sockwave.http.request import Request
from sockwave.http.serialize import (
    BODILESS_STATUSES,
    Data,
    ResponseHeaders,
    check_reason,
    encode_data,
    expand_headers,
    serialize_head,
)
from sockwave.paths import check_path


class Sink(Protocol):
    """The exchange, as its response uses it: where bytes and tasks go."""

    loop: asyncio.AbstractEventLoop
    thread: LoopThread
    #: Whether the head of the response has been written.
    is_begun: bool

    def write(self, data: bytes) -> None:
        """Queue bytes."""

    def drained(self) -> Awaitable[None]:
        """Return what is done when the backlog is under the high-water mark."""

    def must_close(self) -> bool:
        """Tell whether the connection has to end with this response."""

    def finish(self, *, close: bool) -> None:
        """Go on, as the response is complete; `close`: its head said `Connection: close`."""

    def abort(self) -> None:
        """Drop the connection, as the response cannot be finished."""

    def track_task(self, task: asyncio.Task[Any]) -> None:
        """Keep a task, and cancel it when the connection is lost, or the exchange gives up."""

    def response_dropped(self) -> None:
        """Give up, as the application has dropped the response and cannot answer any more."""

    def give_up(self, reason: str) -> None:
        """Answer with 500 in place of the application, and cancel the tasks of its listeners."""


class Response:
    """The response to one request: `write_head`, any number of `write`, and one `end`.

    An invalid call raises at once and sends nothing. When the client has gone, what is still
    written is dropped, and a task that awaits it is cancelled.
    """

    __slots__ = (
        "__weakref__",
        "_chunked",
        "_close",
        "_ended",
        "_given_size",
        "_head_given",
        "_loop",
        "_options",
        "_pairs",
        "_promised_size",
        "_reason",
        "_request",
        "_sends_file",
        "_sink",
        "_skips_body",
        "_thread",
        "headers_sent",
        "status",
    )

    def __init__(self, request: Request, sink: Sink) -> None:
        #: The status of the head that was written, 200 until then.
        self.status = 200
        #: Whether the head has been sent, by the first `write` or by `end`.
        self.headers_sent = False
        # Whether a file is being sent, after which the response ends by itself.
        self._sends_file = False
        self._request = request
        self._sink: Sink | None = sink
        self._loop = sink.loop
        self._thread = sink.thread
        self._reason: str | None = None
        self._pairs: list[tuple[str, str]] = []
        self._options: list[str] = []
        self._head_given = False
        self._ended = False
        self._skips_body = False
        self._chunked = False
        self._close = False
        # The Content-Length that the application has given, and how many bytes of it are written.
        self._promised_size: int | None = None
        self._given_size = 0

    def __del__(self) -> None:
        """Have the request answered with 500: the application can no longer answer it."""
        if self._sink is not None:
            self._sink.response_dropped()

    def write_head(
        self, status: int, headers: ResponseHeaders | None = None, reason: str | None = None
    ) -> Self:
        """Set the head: once, before anything is written; it is sent with the first data.

        `status` is 200 to 599. Header values are str or int, or a list for repeated fields. The
        server frames the body: a body that does not match a given Content-Length raises ValueError,
        as a Transfer-Encoding does.
        """
        self._thread.check_call("response.write_head")
        if self._head_given or self.headers_sent or self._ended:
            raise RuntimeError("write_head: expected once, before write and end")
        self._set_head(status, expand_headers(headers), reason)
        self._head_given = True
        return self

    def _set_head(self, status: int, pairs: list[tuple[str, str]], reason: str | None) -> None:
        """Check and keep the status, reason and headers."""
        if not isinstance(status, int) or isinstance(status, bool):
            raise TypeError(f"status: expected int, given {type(status).__name__}")
        if not 200 <= status <= 599:
            raise ValueError(f"status: expected 200 to 599, given {int(status)}")
        if reason is not None:
            check_reason(reason)
        kept, options, length = [], [], None
        for name, value in pairs:
            match name.lower():
                case "transfer-encoding":
                    raise ValueError(
                        f"Transfer-Encoding: expected none, as it is the server's, given {value!r}"
                    )
                case "content-length":
                    if not (value.isascii() and value.isdigit()) or length is not None:
                        raise ValueError(f"Content-Length: expected one number, given {value!r}")
                    length = int(value)
                case "connection":
                    options += [option.strip() for option in value.split(",") if option.strip()]
                case _:
                    kept.append((name, value))
        self.status, self._reason = int(status), reason
        self._pairs, self._options, self._promised_size = kept, options, length

    def write(self, data: Data) -> Awaitable[None]:
        """Send a part of the body; awaiting it waits while the backlog is over the high-water mark.

        The first call sends the head; `write(b"")` sends it alone. For HEAD, and for 204 and 304,
        the data are dropped. Raises RuntimeError after `end`, ValueError for more data than the
        Content-Length.
        """
        self._thread.check_call("response.write")
        payload = encode_data(data)
        self._check_open("write")
        if self._sink is None:
            return self._cancelled()
        self._count(len(payload))
        head = b"" if self.headers_sent else self._start(None)
        framed = self._frame(payload)
        if head or framed:
            self._sink.write(head + framed)
        return self._sink.drained()

    def end(self, data: Data = b"") -> Awaitable[None]:
        """Send the last part of the body, and finish the response.

        Without a `write` before, the server adds a Content-Length. Raises RuntimeError when called
        twice, and ValueError if the body is shorter or longer than the given Content-Length: if it
        is partly sent already, the connection is dropped.
        """
        self._thread.check_call("response.end")
        payload = encode_data(data)
        self._check_open("end")
        sink = self._sink
        if sink is None:
            self._ended = True
            return self._cancelled()
        self._count(len(payload), last=True)
        head = b"" if self.headers_sent else self._start(len(payload))
        framed = self._frame(payload)
        sink.write(head + framed + (b"0\r\n\r\n" if self._chunked else b""))
        self._ended = True
        self._sink = None
        sink.finish(close=self._close)
        return sink.drained()

    def send_file(
        self, path: str | os.PathLike[str], headers: ResponseHeaders | None = None
    ) -> Awaitable[None]:
        """Send one file as the whole response; awaiting it waits until all of it is queued.

        Its type is guessed from its name; `headers`, or an earlier `write_head`, add headers and
        override those of the file. If the status is 200, conditional requests (If-Modified-Since)
        and requests for one range are answered as such. A big file is read piece by piece as the
        client receives it. Raises TypeError for anything but a path (a descriptor, an open file),
        OSError if it cannot be opened, ValueError if it is not a regular file.
        """
        self._thread.check_call("response.send_file")
        check_path("path", path)
        self._check_open("send_file")
        if self.headers_sent:
            raise RuntimeError("send_file: expected before write")
        pairs = self._pairs + expand_headers(headers)
        names = {name.lower() for name, _ in pairs}
        if self._promised_size is not None or "content-length" in names:
            raise ValueError("Content-Length: expected none, as the file has its own")
        with contextlib.ExitStack() as stack:
            file = stack.enter_context(open_file(path))
            part = choose_part(self._request, self.status, file, os.fspath(path))
            pairs += [pair for pair in part.headers if pair[0].lower() not in names]
            pairs += [("Connection", option) for option in self._options]
            self._set_head(part.status, pairs, self._reason if part.status == self.status else None)
            self._head_given = True
            if self._request.method == "HEAD" or part.size == 0:
                return self.end()
            file.seek(part.start)
            if part.size <= INLINE_SIZE:
                return self.end(file.read(part.size))
            if self._sink is None:
                return self._cancelled()
            stack.pop_all()
            task = self._loop.create_task(self._stream_file(file, part.size))
            task.add_done_callback(lambda _: self._end_file(file))
            self._sink.track_task(task)
            self._sends_file = True
            return task

    async def _stream_file(self, file: BinaryIO, size: int) -> None:
        """Send so many bytes of a file as fast as the client receives them, and end."""
        async for piece in read_pieces(file, size):
            await self.write(piece)
        self.end()

    def _end_file(self, file: BinaryIO) -> None:
        """Close a file; fail the response if the file was not sent to its end."""
        file.close()
        self._fail()

    def _fail(self, error: BaseException | None = None) -> None:
        """End the response because the application failed; do nothing if it has ended.

        Before the head is sent, the client gets 500, or the answer of a `Refused`; after that the
        connection is dropped, as the client would take a part of the body for all of it.
        """
        sink = self._sink
        if sink is None:
            return
        if self.headers_sent:
            self._detach()
            sink.abort()
            return
        body = b"internal server error\n"
        headers: list[tuple[str, str]] = []
        status = 500
        if isinstance(error, Refused):
            status, body, headers = error.status, error.body, list(error.headers)
        if body and not any(name.lower() == "content-type" for name, _ in headers):
            headers.append(("Content-Type", "text/plain; charset=utf-8"))
        self._set_head(status, headers, None)
        self._close = True
        self.end(body)

    def _give_up(self, reason: str) -> None:
        """Have the request answered with 500, as no listener does, and the reason reported.

        If the response has begun, the connection is dropped instead; nothing happens if it has
        ended.
        """
        if self._sink is not None:
            self._ended = True
            self._sink.give_up(reason)

    def _track_task(self, task: asyncio.Task[Any]) -> None:
        """Keep a task that works on this response, and cancel it when the connection is lost."""
        if self._sink is None:
            task.cancel()
        else:
            self._sink.track_task(task)

    def _detach(self) -> None:
        """Detach from the connection: what is written from now on is dropped."""
        self._sink = None

    def _check_open(self, verb: str) -> None:
        if self._ended:
            raise RuntimeError(f"{verb}: expected before the end of the response")

    def _cancelled(self) -> Awaitable[None]:
        """Return a cancelled future: it cancels a task that awaits it, and else logs nothing."""
        future: asyncio.Future[None] = self._loop.create_future()
        future.cancel()
        return future

    def _count(self, size: int, *, last: bool = False) -> None:
        """Raise ValueError if the body does not match the Content-Length of the application."""
        if self._promised_size is None or not self._has_body():
            return
        size += self._given_size
        if size > self._promised_size or (last and size < self._promised_size):
            if last and self.headers_sent:
                self._fail()
            raise ValueError(f"Content-Length: expected {self._promised_size} bytes, given {size}")
        self._given_size = size

    def _has_body(self) -> bool:
        return self._request.method != "HEAD" and self.status not in BODILESS_STATUSES

    def _start(self, length: int | None) -> bytes:
        """Choose the framing, and return the head; `length` is the body's, None if unknown."""
        assert self._sink is not None
        pairs, options = self._pairs, self._options
        names = {name.lower() for name, _ in pairs}
        if "date" not in names:
            pairs.append(("Date", format_now()))
        keeps_alive = self._frame_body(length)
        lowered = [option.lower() for option in options]
        if "upgrade" in names and "upgrade" not in lowered:
            # RFC 9110, 7.8: "A sender of Upgrade MUST also send an "Upgrade" connection option".
            options.append("Upgrade")
        if not keeps_alive or "close" in lowered or self._sink.must_close():
            self._close = True
        if self._close and "close" not in lowered:
            options[:] = [option for option in options if option.lower() != "keep-alive"]
            options.append("close")
        elif (
            not self._close and self._request.http_version == "1.0" and "keep-alive" not in lowered
        ):
            options.append("keep-alive")
        if options:
            pairs.append(("Connection", ", ".join(options)))
        self.headers_sent = self._sink.is_begun = True
        return serialize_head(self.status, self._reason, pairs)

    def _frame_body(self, length: int | None) -> bool:
        """Add the header that frames the body; False if the connection has to close at its end."""
        self._skips_body = not self._has_body()
        if self.status == 204:
            return True  # RFC 9110, 8.6: "A server MUST NOT send a Content-Length" with it.
        if self._promised_size is not None:
            self._pairs.append(("Content-Length", str(self._promised_size)))
        elif self.status == 304:
            pass
        elif length is not None:
            self._pairs.append(("Content-Length", str(length)))
        elif self._request.http_version == "1.1":
            self._pairs.append(("Transfer-Encoding", "chunked"))
            self._chunked = not self._skips_body
        else:
            return self._skips_body
        return True

    def _frame(self, payload: bytes) -> bytes:
        """Return a part of the body as it goes on the wire."""
        if self._skips_body or not payload:
            return b""
        # RFC 9112, 7.1: a chunk of no bytes would be the last one.
        return b"%x\r\n%b\r\n" % (len(payload), payload) if self._chunked else payload

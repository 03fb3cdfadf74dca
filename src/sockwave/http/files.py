"""One file as a response, or a range of it: RFC 9110, sections 8.8, 13 and 14."""

import asyncio
import contextlib
import mimetypes
import os
import stat
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import PurePath
from typing import BinaryIO

from sockwave.core.http.request_head import RequestHead
from sockwave.core.http.response import Response
from sockwave.core.http.response_head import HeaderFields
from sockwave.http.dates import format_date, parse_date

# A file up to this size is read as a whole: a backlog may hold more than that anyway.
INLINE_SIZE = 64 * 1024

# The size of one read of a bigger file: large enough to keep the disk busy, small enough for many
# responses at once.
_PIECE_SIZE = 256 * 1024

# Opening a FIFO would block until a process writes to it; with O_NONBLOCK it opens, and is refused.
_NONBLOCK = getattr(os, "O_NONBLOCK", 0)

# The table of the standard library, without the system's own files of types, and with types that
# older versions of the library lack.
_TYPES = mimetypes.MimeTypes()
for _suffix, _type in {
    ".avif": "image/avif",
    ".js": "text/javascript",
    ".md": "text/markdown",
    ".mjs": "text/javascript",
    ".wasm": "application/wasm",
    ".webmanifest": "application/manifest+json",
    ".webp": "image/webp",
    ".woff": "font/woff",
    ".woff2": "font/woff2",
}.items():
    _TYPES.add_type(_type, _suffix)


@dataclass(frozen=True, slots=True)
class FilePart:
    """The part of a file that answers a request: `size` bytes from `start` on."""

    status: int
    headers: list[tuple[str, str]]
    start: int
    size: int


def guess_type(name: str) -> str:
    """Return the media type for a file name; with a charset for text."""
    # `guess_type` of the standard library takes a URL: "file/" makes sure that it sees a path.
    kind, encoding = _TYPES.guess_type("file/" + PurePath(name).name)
    if encoding is not None:
        return {"gzip": "application/gzip"}.get(encoding, "application/octet-stream")
    if kind is None:
        return "application/octet-stream"
    return f"{kind}; charset=utf-8" if kind.startswith("text/") else kind


def open_file(path: str | os.PathLike[str]) -> BinaryIO:
    """Open a regular file; raises OSError if that fails, ValueError if it is no regular file."""
    file = open(  # noqa: SIM115 - the caller's to close
        path, "rb", opener=lambda name, flags: os.open(name, flags | _NONBLOCK)
    )
    if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        file.close()
        raise ValueError(f"path: expected a regular file, given {os.fspath(path)!r}")
    return file


def choose_part(request: RequestHead, status: int, file: BinaryIO, name: str) -> FilePart:
    """Decide what part of the file to send: all, a range, or nothing (304 or 416).

    Conditions and ranges are considered only if `status` is 200.
    """
    found = os.fstat(file.fileno())
    size, modified = found.st_size, format_date(found.st_mtime)
    headers = [("Content-Type", guess_type(name)), ("Last-Modified", modified)]
    if status != 200 or request.method not in ("GET", "HEAD"):
        return _part(status, headers, 0, size)
    if _is_known(request, int(found.st_mtime)):
        return FilePart(304, headers[1:], 0, 0)
    headers.append(("Accept-Ranges", "bytes"))
    # RFC 9110, 14.2: "A server MUST ignore a Range header field received with a request method that
    # is unrecognized or for which range handling is not defined", which is all but GET.
    wanted = request.headers.get("range")
    if wanted is None or request.method != "GET":
        return _part(200, headers, 0, size)
    # RFC 9110, 13.1.5: without an exact match the condition is false, and the whole file is sent.
    if request.headers.get("if-range", modified) != modified:
        return _part(200, headers, 0, size)
    chosen = parse_range(wanted, size)
    if chosen is None:
        return _part(200, headers, 0, size)
    start, end = chosen
    if start >= end:
        return _part(416, [("Content-Range", f"bytes */{size}")], 0, 0)
    headers.append(("Content-Range", f"bytes {start}-{end - 1}/{size}"))
    return _part(206, headers, start, end - start)


def _part(status: int, headers: list[tuple[str, str]], start: int, size: int) -> FilePart:
    """Return a part with a Content-Length."""
    return FilePart(status, [*headers, ("Content-Length", str(size))], start, size)


def _is_known(request: RequestHead, modified: int) -> bool:
    """Tell whether the client already has this version of the file."""
    # RFC 9110, 13.1.3: "A recipient MUST ignore If-Modified-Since if the request contains an
    # If-None-Match header field"; we send no tags, so that never matches.
    headers = request.headers
    since = headers.get("if-modified-since")
    if since is None or "if-none-match" in headers:
        return False
    date = parse_date(since)
    return date is not None and modified <= date


def parse_range(text: str, size: int) -> tuple[int, int] | None:
    """Return start and end of the one range requested, None to send the whole file.

    An empty range cannot be satisfied. Several ranges, other units and malformed fields are ignored
    (RFC 9110, 14.2).
    """
    unit, separator, value = text.partition("=")
    first, dash, last = (part.strip(" \t") for part in value.partition("-"))
    if unit.strip(" \t").lower() != "bytes" or not separator or not dash:
        return None
    for digits in (first, last):
        # No file's size has more digits; longer numbers cost time to parse.
        if digits and not (digits.isascii() and digits.isdigit() and len(digits) <= 20):
            return None
    if first:
        start, end = int(first), int(last) + 1 if last else size
        return None if last and end <= start else (start, min(end, size))
    if last:
        return max(size - int(last), 0), size
    return None


async def read_pieces(
    read: Callable[[int], bytes], size: int | None = None
) -> AsyncIterator[bytes]:
    """Yield `size` bytes of a file, None: all up to its end, in pieces that are read in threads.

    `read` reads at most so many bytes from the file's position on. Raises OSError if there are
    fewer bytes than `size`.
    """
    loop = asyncio.get_running_loop()
    while size is None or size > 0:
        most = _PIECE_SIZE if size is None else min(size, _PIECE_SIZE)
        piece = await loop.run_in_executor(None, read, most)
        if not piece:
            if size is not None:
                raise OSError(f"the file is {size} bytes shorter than what was to be sent of it")
            return
        if size is not None:
            size -= len(piece)
        yield piece


def send_file(
    response: Response, request: RequestHead, path: str | os.PathLike[str], fields: HeaderFields
) -> Awaitable[None]:
    """Answer a request with a file, or with what it asks for of it: see `Response.send_file`.

    `fields` are the headers that the application has given.
    """
    with contextlib.ExitStack() as stack:
        file = stack.enter_context(open_file(path))
        part = choose_part(request, response.status, file, os.fspath(path))
        response._set_file_head(part.status, fields, part.headers)
        if request.method == "HEAD" or part.size == 0:
            return response.end()
        file.seek(part.start)
        if part.size <= INLINE_SIZE:
            return response.end(file.read(part.size))
        stack.pop_all()
    return response._stream_file(_stream(response, file, part.size), file)


async def _stream(response: Response, file: BinaryIO, size: int) -> None:
    """Send so many bytes of a file as fast as the client receives them, and end."""
    async for piece in read_pieces(file.read, size):
        await response.write(piece)
    response.end()

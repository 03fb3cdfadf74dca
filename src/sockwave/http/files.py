"""One file as a response, or a part of it: RFC 9110, sections 8, 13 and 14."""

import asyncio
import contextlib
import errno
import functools
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
from sockwave.errors import Refused
from sockwave.http.conditional import Validators, allows_range, evaluate
from sockwave.http.ranges import find_range

# A file up to this size is read as a whole: a backlog may hold more than that anyway.
INLINE_SIZE = 64 * 1024

# The size of one read of a bigger file: large enough to keep the disk busy, small enough for many
# responses at once.
_PIECE_SIZE = 256 * 1024

# Opening a FIFO would block until a process writes to it; with O_NONBLOCK it opens, and is refused.
_NONBLOCK = getattr(os, "O_NONBLOCK", 0)

# Types that older versions of the standard library lack.
_NEWER_TYPES = {
    ".avif": "image/avif",
    ".flac": "audio/flac",
    ".js": "text/javascript",
    ".m4a": "audio/mp4",
    ".map": "application/json",
    ".md": "text/markdown",
    ".mjs": "text/javascript",
    ".opus": "audio/opus",
    ".otf": "font/otf",
    ".ttf": "font/ttf",
    ".wasm": "application/wasm",
    ".webmanifest": "application/manifest+json",
    ".webp": "image/webp",
    ".woff": "font/woff",
    ".woff2": "font/woff2",
    ".yaml": "application/yaml",
    ".yml": "application/yaml",
}

# What opening a path fails with where no file can be: for a client, it does not exist.
_MISSING = frozenset({errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.ENAMETOOLONG})


class FileMissing(Refused, FileNotFoundError):  # noqa: N818  (an answer, not a failure)
    """Raised where there is no such file; a 404 where nothing catches it."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        super().__init__(404, "there is no such file\n")
        self.errno = errno.ENOENT
        self.strerror = os.strerror(errno.ENOENT)
        self.filename = os.fspath(path)

    def __str__(self) -> str:
        return f"[Errno {self.errno}] {self.strerror}: {self.filename!r}"


@dataclass(frozen=True, slots=True)
class FilePart:
    """The part of a file that answers a request: `size` bytes from `start` on."""

    status: int
    headers: list[tuple[str, str]]
    start: int
    size: int


@dataclass(frozen=True, slots=True)
class Representation:
    """An open file as it answers a request: the file, and what is said of it."""

    file: BinaryIO
    #: Its media type and its content coding, "" for none.
    media_type: str
    coding: str = ""
    #: Further fields that go with the file, and with a 304 in its place.
    headers: tuple[tuple[str, str], ...] = ()


@functools.cache
def _make_types() -> mimetypes.MimeTypes:
    """Return the table of the standard library, without the system's own files of types.

    Made when it is needed: the library reads those all the same, which takes longer than to import
    anything of ours.
    """
    types = mimetypes.MimeTypes()
    for suffix, kind in _NEWER_TYPES.items():
        types.add_type(kind, suffix)
    return types


def guess_type(name: str) -> str:
    """Return the media type for a file name; with a charset for text."""
    # `guess_type` of the standard library takes a URL: "file/" makes sure that it sees a path.
    kind, encoding = _make_types().guess_type("file/" + PurePath(name).name)
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


def choose_part(request: RequestHead, status: int, found: Representation) -> FilePart:
    """Decide what part of the file to send: all, a range, or nothing (304, 412 or 416).

    Conditions and ranges are considered only if `status` is 200.
    """
    state = os.fstat(found.file.fileno())
    size = state.st_size
    described = [("Content-Type", found.media_type), *found.headers]
    if found.coding:
        described.append(("Content-Encoding", found.coding))
    if request.method not in ("GET", "HEAD"):
        # RFC 9110, 8.8: validators would be those of what the request has made.
        return _part(status, described, 0, size)
    validators = Validators.of(state, found.coding)
    described += validators.fields()
    # RFC 9110, 13.2.1: "A server MUST ignore all received preconditions if its response to the same
    # request without those conditions [...] would have been a status code other than a 2xx".
    if status != 200:
        return _part(status, described, 0, size)
    outcome = evaluate(request.headers, validators)
    if outcome == 304:
        return FilePart(304, [*found.headers, *validators.fields()], 0, 0)
    if outcome != 200:
        return _part(outcome, [], 0, 0)
    return _choose_range(request, validators, [*described, ("Accept-Ranges", "bytes")], size)


def _choose_range(
    request: RequestHead, validators: Validators, headers: list[tuple[str, str]], size: int
) -> FilePart:
    """Decide whether to send all of a file or the range that the request asks for."""
    # RFC 9110, 14.2: "A server MUST ignore a Range header field received with a request method that
    # is unrecognized or for which range handling is not defined", which is all but GET.
    chosen = None
    if request.method == "GET" and allows_range(request.headers, validators):
        chosen = find_range(request.headers, size)
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
    name = os.fspath(path)
    try:
        if "\0" in name:
            raise FileMissing(path)
        file = open_file(name)
    except OSError as error:
        if error.errno in _MISSING:
            raise FileMissing(path) from None
        raise
    return send_open_file(response, request, Representation(file, guess_type(name)), fields)


def send_open_file(
    response: Response, request: RequestHead, found: Representation, fields: HeaderFields
) -> Awaitable[None]:
    """Answer a request with an open file, as `send_file` does, and close the file."""
    with contextlib.ExitStack() as stack:
        file = stack.enter_context(found.file)
        part = choose_part(request, response.status, found)
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

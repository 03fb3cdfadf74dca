"""Decoders that find the end and the content of a request body: RFC 9112, sections 6 and 7."""

import re
from collections.abc import Callable
from typing import Protocol

from httptools import HttpParserError, HttpRequestParser

from sockwave.errors import Refused
from sockwave.http.check import refuse_block
from sockwave.limits import Limits, OverLimit
from sockwave.request_head import RequestHead

# 16 digits are enough for any size; only chunk extensions could make the line longer, and no client
# is known to use them.
_SIZE_LINE_SIZE = 256

# Chunks are counted, as tiny ones cost far more than their bytes: so many are free, and one more
# for each 16 bytes. A body of text lines passes at any length, one of single bytes up to about
# 4,000.
_FREE_CHUNKS = 4096
_CHUNK_SIZE_EXPECTED = 16

# RFC 9112, 7.1 and 7.1.1: chunk-size [ chunk-ext ] CRLF, chunk-ext = *( BWS ";" BWS chunk-ext-name
# [ BWS "=" BWS chunk-ext-val ] ). What an extension says is not looked at, but it has no control
# characters: some readers take them for the end of the line.
_SIZE_LINE = re.compile(rb"([0-9A-Fa-f]++)(?:[ \t]*+;[\t\x20-\x7E\x80-\xFF]*+)?\r\n")

# The head that a parser has to read before it reads chunks.
_CHUNKED_HEAD = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"


class Decoder(Protocol):
    """Takes the bytes of one body from the front of the connection's input."""

    done: bool

    def feed(self, data: bytearray) -> bytes:
        """Remove what belongs to the body from the front of `data`, and return its content.

        Raises Refused when the body is malformed or over a limit.
        """


def create_decoder(head: RequestHead, limits: Limits) -> Decoder | None:
    """Return the decoder of a request's body, None if it has none; raises Refused if too big."""
    # RFC 9112, 6.3: "If this is a request message and none of the above are true, then the message
    # body length is zero".
    headers = head.headers
    if "transfer-encoding" in headers:
        return ChunkedDecoder(limits)
    length = int(headers.get("content-length", "0"))
    if length == 0:
        return None
    if limits.body_size is not None and length > limits.body_size:
        raise refuse_body(limits.body_size)
    return LengthDecoder(length)


def refuse_body(body_size: int) -> OverLimit:
    """Return the refusal of a body of more than `body_size` bytes."""
    return OverLimit("body_size", 413, f"a body of more than {body_size} bytes\n")


def _take(data: bytearray, size: int) -> bytes:
    """Remove up to `size` bytes from the front of `data`, and return them."""
    with memoryview(data) as view:
        taken = bytes(view[:size])
    del data[:size]
    return taken


class LengthDecoder:
    """A body whose length is known from its Content-Length."""

    __slots__ = ("_left_size", "done")

    def __init__(self, length: int) -> None:
        self._left_size = length
        self.done = length == 0

    def feed(self, data: bytearray) -> bytes:
        """Remove what belongs to the body from the front of `data`, and return it."""
        taken = _take(data, self._left_size)
        self._left_size -= len(taken)
        self.done = self._left_size == 0
        return taken


class _Outcome:
    """Collects what the parser has read."""

    __slots__ = ("ended", "pieces")

    def __init__(self) -> None:
        self.pieces: list[bytes] = []
        self.ended = False

    def on_body(self, piece: bytes) -> None:
        """Take content from the parser."""
        self.pieces.append(piece)

    def on_message_complete(self) -> None:
        """Note that the parser has seen the end of the body."""
        self.ended = True


class ChunkedDecoder:
    """A body in chunks.

    This class finds the lines and chunks, so that it knows at which byte the body ends, and llhttp
    parses them; if the two disagree about the end, the body is refused.
    """

    __slots__ = (
        "_chunk_count",
        "_content_size",
        "_left_size",
        "_limits",
        "_outcome",
        "_parser",
        "_scanned_size",
        "_step",
        "_trailer_count",
        "_trailer_size",
        "done",
    )

    def __init__(self, limits: Limits) -> None:
        self.done = False
        self._limits = limits
        self._step: Callable[[ChunkedDecoder, bytearray], bool] = ChunkedDecoder._read_size_line
        self._left_size = 0
        self._scanned_size = 0
        self._chunk_count = 0
        self._content_size = 0
        self._trailer_count = 0
        self._trailer_size = 0
        self._outcome = _Outcome()
        self._parser = HttpRequestParser(self._outcome)
        self._parser.feed_data(_CHUNKED_HEAD)

    def feed(self, data: bytearray) -> bytes:
        """Remove what belongs to the body from the front of `data`, and return its content.

        Raises Refused when the body is malformed or over a limit; trailers are read and dropped.
        """
        try:
            while not self.done and self._step(self, data):
                pass
        except HttpParserError as error:
            raise Refused(400, f"malformed chunked body: {error}\n") from None
        if self._outcome.ended != self.done:
            raise Refused(400, "malformed chunked body: its end is ambiguous\n")
        content = b"".join(self._outcome.pieces)
        self._outcome.pieces.clear()
        return content

    def _take_line(self, data: bytearray, limit: int) -> bytes | None:
        """Remove one line from the front of `data`, and return it; None while it is incomplete."""
        # A lone line feed ends the line as well: the parser then refuses it at once, where a search
        # for CRLF would go on waiting.
        end = data.find(b"\n", self._scanned_size)
        size = end + 1 if end >= 0 else len(data)
        if size > limit:
            raise self._refuse_line(limit)
        if end < 0:
            self._scanned_size = size
            return None
        self._scanned_size = 0
        return _take(data, size)

    def _refuse_line(self, limit: int) -> Refused:
        """Return the refusal of a line of more than `limit` bytes."""
        if self._step is ChunkedDecoder._read_trailer:
            return refuse_block(self._limits)
        return Refused(400, f"malformed chunked body: a line of more than {limit} bytes\n")

    def _read_size_line(self, data: bytearray) -> bool:
        """Read the size line of a chunk; False when more input is needed."""
        line = self._take_line(data, _SIZE_LINE_SIZE)
        if line is None:
            return False
        found = _SIZE_LINE.fullmatch(line)
        if found is None:
            raise Refused(400, "malformed chunked body: expected the size of a chunk\n")
        # RFC 9112, 7.1.1: "A recipient MUST ignore unrecognized chunk extensions." The parser would
        # refuse white space in them.
        self._parser.feed_data(found[1] + b"\r\n")
        self._left_size = int(found[1], 16)
        if self._left_size == 0:
            self._step = ChunkedDecoder._read_trailer
            return True
        self._content_size += self._left_size
        body_size = self._limits.body_size
        if body_size is not None and self._content_size > body_size:
            raise refuse_body(body_size)
        self._chunk_count += 1
        if self._chunk_count > _FREE_CHUNKS + self._content_size // _CHUNK_SIZE_EXPECTED:
            raise Refused(400, f"too many chunks for {self._content_size} bytes\n")
        self._step = ChunkedDecoder._read_content
        return True

    def _read_content(self, data: bytearray) -> bool:
        """Read the content of a chunk; False when more input is needed."""
        piece = _take(data, self._left_size)
        self._left_size -= len(piece)
        self._parser.feed_data(piece)
        if self._left_size:
            return False
        self._left_size = 2
        self._step = ChunkedDecoder._read_content_end
        return True

    def _read_content_end(self, data: bytearray) -> bool:
        """Read the CRLF behind a chunk; False when more input is needed."""
        piece = _take(data, self._left_size)
        self._left_size -= len(piece)
        self._parser.feed_data(piece)
        if self._left_size:
            return False
        self._step = ChunkedDecoder._read_size_line
        return True

    def _read_trailer(self, data: bytearray) -> bool:
        """Read one line behind the last chunk; False when more input is needed."""
        # RFC 9112, 7.1.2: "A recipient that removes the chunked coding from a message MAY
        # selectively retain or discard the received trailer fields." Merged into the header they
        # could be mistaken for fields that were checked, so all are discarded.
        left_size = self._limits.header_block_size - self._trailer_size
        line = self._take_line(data, left_size)
        if line is None:
            return False
        self._parser.feed_data(line)
        self._trailer_size += len(line)
        if line == b"\r\n":
            self.done = True
            return True
        self._trailer_count += 1
        if self._trailer_count > self._limits.header_count:
            count = self._limits.header_count
            raise OverLimit("header_count", 431, f"more than {count} trailer fields\n")
        return True

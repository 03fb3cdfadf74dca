"""Cutting request heads out of a stream of bytes: RFC 9112, sections 2.1 and 2.2."""

from sockwave.errors import Refused
from sockwave.fields import TOKEN_BYTES
from sockwave.http.check import refuse_block, refuse_line
from sockwave.limits import Limits

# RFC 9112, 2.2: "a server that is expecting to receive and parse a request-line SHOULD ignore at
# least one empty line (CRLF) received prior to the request-line." A few are tolerated.
_EMPTY_LINES = 4

# RFC 9110, 9.1: method = token.
_METHOD_BYTES = frozenset(TOKEN_BYTES)


def has_method_head(received: bytes | bytearray) -> bool:
    """Tell whether a request begins with the method HEAD: no answer to it has content."""
    return received.startswith(b"HEAD ")


class HeadScanner:
    """Finds the end of one head after another; reads each byte once, in whatever pieces it comes.

    Errors are refused before the head is complete: a first byte that begins no method, a line end
    that is not CRLF, a line or a block over its limit.
    """

    __slots__ = ("_empty_count", "_limits", "_line_size", "_scanned_size", "has_method_head")

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        #: Whether the last head, which may not be whole yet, has the method HEAD.
        self.has_method_head = False
        self._reset()

    def _reset(self) -> None:
        self._empty_count = 0
        self._scanned_size = 0
        self._line_size = -1

    def cut(self, data: bytearray) -> bytes | None:
        """Remove a head from the front of `data`, and return it; None while it is incomplete.

        Between two calls `data` may only grow. Raises Refused.
        """
        self.has_method_head = False
        if self._scanned_size == 0 and not self._check_start(data):
            return None
        self.has_method_head = has_method_head(data)
        end = data.find(b"\r\n\r\n", max(0, self._scanned_size - 3))
        if end < 0:
            self._check_part(data)
            return None
        with memoryview(data) as view:
            head = bytes(view[: end + 4])
        del data[: end + 4]
        self._reset()
        return head

    def _check_start(self, data: bytearray) -> bool:
        """Drop empty lines before a head; False if there is nothing behind them yet."""
        while data.startswith(b"\r\n"):
            self._empty_count += 1
            if self._empty_count > _EMPTY_LINES:
                raise Refused(400, "malformed request: expected a request line\n")
            del data[:2]
        if not data or data == b"\r":
            return False
        if data[0] not in _METHOD_BYTES:
            raise Refused(400, "malformed request line: expected a method\n")
        return True

    def _check_part(self, data: bytearray) -> None:
        """Check the part of an incomplete head that has arrived, and remember how far."""
        start = self._scanned_size
        # A CR at the end may be followed by LF in the next piece: it is checked then.
        size = len(data) - data.endswith(b"\r")
        line_ends = data.count(b"\r\n", start, size)
        if not line_ends == data.count(b"\n", start, size) == data.count(b"\r", start, size):
            # RFC 9112, 2.2 lets a server take a lone LF for a line end; but a proxy and a server
            # that differ in this let requests be smuggled.
            raise Refused(400, "malformed request: expected CRLF at the end of each line\n")
        if self._line_size < 0 and line_ends:
            self._line_size = data.find(b"\r\n", start)
        self._scanned_size = size
        if (size if self._line_size < 0 else self._line_size) > self._limits.request_line_size:
            raise refuse_line(self._limits)
        if self._line_size >= 0 and len(data) - self._line_size - 2 > (
            self._limits.header_block_size
        ):
            raise refuse_block(self._limits)

"""What one side of a connection has sent, in words: for the message of a test that hangs."""

import struct
import zlib
from collections import deque

# What a message shows of each side, and of each frame's payload.
_SHOWN_COUNT = 20
_SHOWN_SIZE = 60
# The most of it that is looked at.
_KEPT_SIZE = 256
# So much of a compressed one is inflated at a time.
_SLICE_SIZE = 64 * 1024

# RFC 6455, 5.2.
_NAMES = {0: "continuation", 1: "text", 2: "binary", 8: "close", 9: "ping", 10: "pong"}

# RFC 7692, 7.2.2: what was taken from the end of a message.
_TAIL = b"\x00\x00\xff\xff"


class Transcript:
    """What one side has sent, read as it is written: a head of HTTP, then frames (RFC 6455)."""

    def __init__(self, *, is_client: bool) -> None:
        self.size = 0
        self.lines: deque[str] = deque(maxlen=_SHOWN_COUNT)
        self.count = 0
        self._is_client = is_client
        self._rest = bytearray()
        self._needed_size = 0  # of what has come in part, before it is looked at again
        self._has_head = False
        self._has_frames = False
        self._opaque_size = 0
        self._is_message_compressed = False
        self._inflater = zlib.decompressobj(-15)
        self._ping_count = 0  # of pings and pongs, since something else was sent

    def add(self, data: bytes) -> None:
        """Read what is sent next."""
        self.size += len(data)
        self._rest += data
        if not self._has_head:
            self._read_head()
        if self._has_head and not self._has_frames:
            self._opaque_size += len(self._rest)
            self._rest.clear()
        while self._has_frames and len(self._rest) >= self._needed_size and self._read_frame():
            pass

    def note(self, line: str) -> None:
        """Add a line of its own."""
        self._ping_count = 0
        self.lines.append(line)
        self.count += 1

    def _note_ping(self, line: str) -> None:
        """Add a ping or a pong; several that follow each other have one line."""
        count = self._ping_count + 1
        if count == 1:
            self.note(line)
        else:
            self.lines[-1] = f"{count} pings and pongs"
        self._ping_count = count

    def list_lines(self) -> list[str]:
        """List what was sent, oldest first."""
        lines = list(self.lines)
        if self.count > len(lines):
            lines.insert(0, f"{self.count - len(lines)} more before")
        if self._opaque_size:
            lines.append(f"{self._opaque_size} bytes of something else")
        if self._rest:
            lines.append(f"a part, {len(self._rest)} bytes: {_shorten(bytes(self._rest))}")
        return lines

    def _read_head(self) -> None:
        """Read a head of HTTP, behind which frames come if it upgrades."""
        if self._rest[:1].isalpha() and b"\r\n\r\n" not in self._rest:
            return
        self._has_head = True
        if not self._rest[:1].isalpha():
            return  # TLS, say
        head, _, self._rest = self._rest.partition(b"\r\n\r\n")
        text = head.decode("latin-1")
        self.note(text.partition("\r\n")[0])
        fields = text.lower()
        is_upgrade = "\r\nupgrade: websocket" in fields
        if self._is_client:
            self._has_frames = is_upgrade and "\r\nsec-websocket-version:" in fields
        else:
            self._has_frames = " 101 " in text.partition("\r\n")[0] and (
                "\r\nsec-websocket-accept:" in fields
            )

    def _read_frame(self) -> bool:
        """Read a frame, if it is whole."""
        data = self._rest
        self._needed_size = 2
        if len(data) < 2:
            return False
        size, start = data[1] & 0x7F, 2
        if size >= 126:
            width, form = (2, "!H") if size == 126 else (8, "!Q")
            if len(data) < 2 + width:
                return False
            size, start = struct.unpack_from(form, data, 2)[0], 2 + width
        mask = b""
        if data[1] & 0x80:
            mask, start = bytes(data[start : start + 4]), start + 4
        if len(data) < start + size:
            self._needed_size = start + size
            return False
        # What is compressed may refer to all that came before; of the rest, little is shown.
        # RFC 7692, 6.1: only the first frame of a message has the bit that says so.
        if (opcode := data[0] & 0x0F) in (1, 2):
            self._is_message_compressed = bool(data[0] & 0x40)
        is_compressed = opcode in (0, 1, 2) and self._is_message_compressed
        kept = bytes(data[start : start + (size if is_compressed else min(size, _KEPT_SIZE))])
        if mask:
            kept = _unmask(kept, mask)
        line = self._describe(data[0], kept, size, is_masked=bool(mask))
        del data[: start + size]
        (self._note_ping if line.startswith(("ping", "pong")) else self.note)(line)
        return True

    def _describe(self, first: int, payload: bytes, size: int, *, is_masked: bool) -> str:
        """Return a frame in words; `payload` is the beginning of it, `size` that of all of it."""
        opcode = first & 0x0F
        name = _NAMES.get(opcode, f"opcode {opcode}")
        notes = [] if first & 0x80 else ["more follows"]
        if opcode in (0, 1, 2) and self._is_message_compressed:
            payload, size, note = self._inflate(payload, is_last=bool(first & 0x80))
            notes.append(note)
        elif first & 0x70:
            notes.append(f"reserved bits {(first >> 4) & 7}")
        if is_masked is not self._is_client:
            notes.append("masked" if is_masked else "unmasked")
        if opcode == 8 and len(payload) >= 2:
            name = f"close {int.from_bytes(payload[:2])}"
            payload, size = payload[2:], size - 2
        shown = f" {_shorten(payload, size, is_text=opcode != 2)}" if payload else ""
        return name + (f" ({', '.join(notes)})" if notes else "") + shown

    def _inflate(self, payload: bytes, *, is_last: bool) -> tuple[bytes, int, str]:
        """Inflate a frame of permessage-deflate: its beginning, its size, and a note.

        It is inflated to its end, as later ones may refer to it, but never as a whole; `is_last`
        tells whether the message ends with it.
        """
        first, size, rest, piece = b"", 0, payload + (_TAIL if is_last else b""), b""
        try:
            while rest or len(piece) == _SLICE_SIZE:
                piece = self._inflater.decompress(rest, _SLICE_SIZE)
                rest = self._inflater.unconsumed_tail
                first += piece[: _KEPT_SIZE - len(first)]
                size += len(piece)
        except zlib.error:
            return payload, len(payload), "compressed, and not to be inflated"
        return first, size, "compressed"


def describe_both(client: Transcript, server: Transcript) -> str:
    """Return what both sides have sent, in lines."""
    lines = []
    for name, one in (("client", client), ("server", server)):
        sent = one.list_lines()
        lines.append(f"  the {name} has sent{':' if sent else ' nothing'}")
        lines += [f"    {line}" for line in sent]
    return "\n".join(lines)


def _unmask(payload: bytes, mask: bytes) -> bytes:
    size = len(payload)
    key = (mask * (size // 4 + 1))[:size]
    return (int.from_bytes(payload) ^ int.from_bytes(key)).to_bytes(size)


def _shorten(data: bytes, size: int | None = None, *, is_text: bool = False) -> str:
    """Return the first bytes of some data in one line; `size` is that of all of it."""
    size = len(data) if size is None else size
    more = "" if size <= _SHOWN_SIZE else f"... ({size} bytes)"
    first = data[:_SHOWN_SIZE]
    return (repr(first.decode("utf-8", "replace")) if is_text else repr(first)) + more

"""A slow, naive codec: the oracle that the compiled one is held against (RFC 6455, 5 to 8).

Everything works on whole byte strings from their beginning, again and again; nothing is kept
between calls, so that nothing can go stale. `None` stands for "not all of it is here yet".
"""

import base64
import hashlib
import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0x0, 0x1, 0x2, 0x8, 0x9, 0xA

RSV1, RSV2, RSV3 = 4, 2, 1

# 1.3: "concatenated with the string "258EAFA5-E914-47DA-95CA-C5AB0DC85B11""
GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"

NORMAL, PROTOCOL_ERROR, NO_STATUS, ABNORMAL = 1000, 1002, 1005, 1006
INVALID_DATA, POLICY, TOO_BIG, INTERNAL_ERROR = 1007, 1008, 1009, 1011

MASK = b"\x37\xfa\x21\x3d"

# What an application sees of a stream, and what a pong answers: ("message", str or bytes),
# ("ping", bytes), ("pong", bytes), and last ("close", code, reason) if the peer closed.
Event = tuple[str, object] | tuple[str, int, str]


class Violation(Exception):  # noqa: N818 - the word of DESIGN.md; it never leaves this module
    """The peer broke a rule; `code` is the close code that tells it so."""

    def __init__(self, code: int, rule: str) -> None:
        super().__init__(rule)
        self.code = code


@dataclass(frozen=True)
class Frame:
    """One frame of section 5.2, its payload unmasked."""

    opcode: int
    payload: bytes = b""
    fin: bool = True
    rsv: int = 0


@dataclass
class Outcome:
    """What a stream of bytes amounts to: events in order, then perhaps a failure."""

    events: list[Event] = field(default_factory=list)
    failure: int | None = None

    @property
    def messages(self) -> list[object]:
        """The messages alone."""
        return [event[1] for event in self.events if event[0] == "message"]


def accept_value(key: str) -> str:
    """Compute Sec-WebSocket-Accept for a key (section 4.2.2, point 5, sub-point 4)."""
    return base64.b64encode(hashlib.sha1(key.encode() + GUID).digest()).decode()


def apply_mask(data: bytes, key: bytes) -> bytes:
    """Mask or unmask.

    5.3: "Octet i of the transformed data is the XOR of octet i of the original data with octet at
    index i modulo 4 of the masking key".
    """
    repeated = (key * (len(data) // 4 + 1))[: len(data)]
    mixed = int.from_bytes(data, "big") ^ int.from_bytes(repeated, "big")
    return mixed.to_bytes(len(data), "big")


def serialize_length(length: int, form: int | None = None) -> tuple[int, bytes]:
    """Give the 7 bits of a length and the bytes that extend it; `form` forces 7, 16 or 64 bits."""
    if form is None:
        # 5.2: "the minimal number of bytes MUST be used to encode the length"
        form = 7 if length <= 125 else 16 if length <= 0xFFFF else 64
    if form == 7:
        return length, b""
    return (126, length.to_bytes(2, "big")) if form == 16 else (127, length.to_bytes(8, "big"))


def serialize_header(
    frame: Frame, length: int, mask: bytes | None = MASK, form: int | None = None
) -> bytes:
    """Give a frame's header, announcing a payload of `length` bytes whatever it holds."""
    seven, extension = serialize_length(length, form)
    first = (0x80 if frame.fin else 0) | (frame.rsv << 4) | frame.opcode
    masked = 0 if mask is None else 0x80
    return bytes([first, masked | seven]) + extension + (mask or b"")


def serialize(frame: Frame, mask: bytes | None = MASK, form: int | None = None) -> bytes:
    """Give a frame's bytes: masked as a client must, or with `mask=None` as a server must."""
    payload = frame.payload if mask is None else apply_mask(frame.payload, mask)
    return serialize_header(frame, len(frame.payload), mask, form) + payload


def close_payload(code: int, reason: str | bytes = b"") -> bytes:
    """Give the body of a close frame (section 5.5.1)."""
    return code.to_bytes(2, "big") + (reason.encode() if isinstance(reason, str) else reason)


def parse_header(
    data: bytes, *, from_client: bool, allowed_rsv: int = 0, in_message: bool | None = None
) -> tuple[Frame, int, bytes, int] | None:
    """Read a header: the frame without payload, the payload's length, the mask, bytes used.

    `in_message` says whether a fragmented message is under way, None that it is not asked about.
    """
    if len(data) < 2:
        return None
    frame = Frame(data[0] & 0x0F, b"", bool(data[0] & 0x80), (data[0] >> 4) & 0x07)
    masked, length = bool(data[1] & 0x80), data[1] & 0x7F
    # "MUST be 0 unless an extension is negotiated that defines meanings for non-zero values."
    if frame.rsv & ~allowed_rsv:
        raise Violation(PROTOCOL_ERROR, "a reserved bit is set")
    # "If an unknown opcode is received, the receiving endpoint MUST _Fail the Connection_."
    if frame.opcode not in (CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG):
        raise Violation(PROTOCOL_ERROR, "unknown opcode")
    # 5.5: "All control frames MUST have a payload length of 125 bytes or less and MUST NOT be
    # fragmented."
    if frame.opcode >= CLOSE and (length > 125 or not frame.fin):
        raise Violation(PROTOCOL_ERROR, "a control frame is long or fragmented")
    # 5.1: "a client MUST mask all frames that it sends to the server"; "A server MUST NOT mask
    # any frames that it sends to the client."
    if masked != from_client:
        raise Violation(PROTOCOL_ERROR, "masked by the wrong side, or not by the right one")
    # 5.4: "an unfragmented message consists of a single frame with the FIN bit set and an opcode
    # other than 0"; a fragmented one of a frame with "an opcode other than 0, followed by zero or
    # more frames with [...] the opcode set to 0".
    if frame.opcode < CLOSE and in_message not in (None, frame.opcode == CONTINUATION):
        raise Violation(PROTOCOL_ERROR, "fragments out of order")
    width = {126: 2, 127: 8}.get(length, 0)
    used = 2 + width + (4 if masked else 0)
    # What the first two bytes show is judged at once, the rest when it is all there.
    if len(data) < used:
        return None
    if width:
        shortest = 126 if width == 2 else 1 << 16
        length = int.from_bytes(data[2 : 2 + width], "big")
        # "the most significant bit MUST be 0"
        if length >> 63:
            raise Violation(PROTOCOL_ERROR, "the top bit of a 64-bit length is set")
        # "the minimal number of bytes MUST be used to encode the length"
        if length < shortest:
            raise Violation(PROTOCOL_ERROR, "a length is not in its shortest form")
    mask = data[used - 4 : used] if masked else b"\0\0\0\0"
    return frame, length, mask, used


def parse(data: bytes, *, from_client: bool) -> tuple[Frame, int] | None:
    """Read the frame that the data begins with: the frame and the bytes used."""
    header = parse_header(data, from_client=from_client)
    if header is None:
        return None
    frame, length, mask, used = header
    if len(data) < used + length:
        return None
    payload = apply_mask(data[used : used + length], mask)
    return Frame(frame.opcode, payload, frame.fin, frame.rsv), used + length


def parse_all(data: bytes, *, from_client: bool) -> list[Frame]:
    """Read every frame of a stream that ends with a whole frame; ValueError if it does not."""
    frames = []
    while data:
        found = parse(data, from_client=from_client)
        if found is None:
            raise ValueError(f"half a frame is left over: {data[:40]!r}")
        frames.append(found[0])
        data = data[found[1] :]
    return frames


def check_text(data: bytes, *, whole: bool) -> None:
    """Raise Violation unless the data is UTF-8, or with `whole=False` may still become it."""
    try:
        data.decode()
    except UnicodeDecodeError as error:
        tail = data[error.start :]
        # An unfinished code point is one that some continuation bytes would finish.
        if not whole and error.end == len(data) and len(tail) < 4:
            for count in (1, 2, 3):
                for filler in itertools.product((0x80, 0xBF), repeat=count):
                    try:
                        (tail + bytes(filler)).decode()
                        return
                    except UnicodeDecodeError:
                        pass
        # 8.1: "When an endpoint is to interpret a byte stream as UTF-8 but finds that the byte
        # stream is not, in fact, a valid UTF-8 stream, that endpoint MUST _Fail the WebSocket
        # Connection_."
        raise Violation(INVALID_DATA, "text is not UTF-8") from None


def parse_close(payload: bytes) -> tuple[str, int, str]:
    """Read the body of a close frame as a close event."""
    if not payload:
        return ("close", NO_STATUS, "")
    # 5.5.1: "If there is a body, the first two bytes of the body MUST be a 2-byte unsigned
    # integer [...] representing a status code".
    if len(payload) == 1:
        raise Violation(PROTOCOL_ERROR, "a close body of one byte")
    code = int.from_bytes(payload[:2], "big")
    if not is_sendable_code(code):
        raise Violation(PROTOCOL_ERROR, "a close code that must not be on the wire")
    check_text(payload[2:], whole=True)
    return ("close", code, payload[2:].decode())


def is_sendable_code(code: int) -> bool:
    """Say whether a close code may stand in a frame (section 7.4 and IANA's registry)."""
    # 1004 is reserved; 1005, 1006 and 1015 "MUST NOT be set as a status code in a Close control
    # frame"; 1012 to 1014 were registered later; 3000 to 4999 belong to others.
    return code in {1000, 1001, 1002, 1003, *range(1007, 1015)} or 3000 <= code <= 4999


def decode(data: bytes, *, max_size: int | None = 2**20) -> Outcome:
    """Decode all that a client has sent so far, as far as it goes."""
    outcome = Outcome()
    opcode: int | None = None  # of the message that is under way
    fragments: list[bytes] = []
    try:
        while data:
            header = parse_header(data, from_client=True, in_message=opcode is not None)
            if header is None:
                return outcome
            frame, length, mask, used = header
            payload = apply_mask(data[used : used + length], mask)
            complete = len(payload) == length
            if frame.opcode < CLOSE:
                if max_size is not None and length > max_size - sum(map(len, fragments)):
                    raise Violation(TOO_BIG, "a message over the limit")
                check_fragment_count(fragments)
                kind = frame.opcode if opcode is None else opcode
                text = b"".join([*fragments, payload])
                if kind == TEXT:
                    check_text(text, whole=frame.fin and complete)
            if not complete:
                return outcome
            data = data[used + length :]
            if frame.opcode == CLOSE:
                outcome.events.append(parse_close(payload))
                # 1.4: "After receiving a control frame indicating the connection should be
                # closed, a peer discards any further data received."
                return outcome
            if frame.opcode >= CLOSE:
                outcome.events.append(("ping" if frame.opcode == PING else "pong", payload))
            elif frame.fin:
                outcome.events.append(("message", text.decode() if kind == TEXT else text))
                opcode, fragments = None, []
            else:
                opcode, fragments = kind, [*fragments, payload]
    except Violation as violation:
        outcome.failure = violation.code
    return outcome


def check_fragment_count(fragments: Sequence[bytes]) -> None:
    """Raise Violation if one fragment more is one too many.

    The budget grows with what the message holds, so that a flood of tiny fragments is stopped and
    honest traffic is not.
    """
    if len(fragments) >= 1024 + sum(map(len, fragments)) // 32:
        raise Violation(POLICY, "too many fragments for so few bytes")


# ---- drafts 75 and 76 ----------------------------------------------------------------------------


def serialize_hixie(text: str | bytes) -> bytes:
    """Give a text frame of the drafts: 00, UTF-8, FF."""
    return b"\x00" + (text.encode() if isinstance(text, str) else text) + b"\xff"


def decode_hixie(data: bytes, *, max_size: int = 2**20, draft: int = 76) -> Outcome:
    """Decode all that a client of a draft has sent so far; `failure` is 1007 or 1009."""
    outcome = Outcome()
    while data:
        first, data = data[0], data[1:]
        if not first & 0x80:
            end = data.find(b"\xff")
            if first != 0x00:
                # 5.3 of draft 76: "if the frame type is not 0x00 then discard the data".
                if end < 0:
                    return outcome
                data = data[end + 1 :]
                continue
            text = data if end < 0 else data[:end]
            try:
                check_text(text[:max_size], whole=end >= 0 and len(text) <= max_size)
                if len(text) > max_size:
                    raise Violation(TOO_BIG, "a message over the limit")
            except Violation as violation:
                outcome.failure = violation.code
                return outcome
            if end < 0:
                return outcome
            outcome.events.append(("message", text.decode()))
            data = data[end + 1 :]
        else:
            # "The length is a base 128 number, the most significant group first": at most five.
            length = 0
            for used in range(1, len(data) + 1):
                octet = data[used - 1]
                length = length * 128 + (octet & 0x7F)
                if length > max_size or (used == 5 and octet & 0x80):
                    outcome.failure = TOO_BIG
                    return outcome
                if not octet & 0x80:
                    break
            else:
                return outcome
            if first == 0xFF and length == 0 and draft == 76:
                outcome.events.append(("close", NO_STATUS, ""))
                return outcome
            if len(data) < used + length:
                return outcome
            data = data[used + length :]
    return outcome


def answer_76(key1: str, key2: str, key3: bytes) -> bytes:
    """Compute the 16 bytes with which a server answers the keys of draft 76."""
    numbers = []
    for key in (key1, key2):
        digits = int("".join(character for character in key if character in "0123456789"))
        numbers.append(digits // key.count(" "))
    packed = b"".join(number.to_bytes(4, "big") for number in numbers)
    return hashlib.md5(packed + key3).digest()


def crc32c(data: bytes) -> int:
    """Compute the checksum of RFC 9260, appendix A, bit by bit."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = (crc >> 1) ^ (0x82F63B78 * (crc & 1))
    return crc ^ 0xFFFFFFFF

"""The handshake of draft-hixie-thewebsocketprotocol-76 (hybi-00), sections 1.3 and 5."""

from collections.abc import Sequence
from hashlib import md5

from sockwave.core.http.request_head import RequestHead
from sockwave.errors import Refused
from sockwave.handshake.hixie75 import check_location, write_fields

#: The bytes that follow the header block; to HTTP they are not a body.
KEY3_SIZE = 8

_HEAD = (
    "HTTP/1.1 101 WebSocket Protocol Handshake\r\n"
    "Upgrade: WebSocket\r\n"
    "Connection: Upgrade\r\n"
)  # fmt: skip

_NON_DIGITS = bytes(byte for byte in range(256) if not 0x30 <= byte <= 0x39)

# A number of more digits cannot give a 32 bit quotient, as a header block has room for fewer than
# 10^10 spaces.
_DIGIT_COUNT = 20

# A proxy that reads the request as HTTP takes the eight bytes for the start of the next request,
# which lets a client smuggle one. Proxies add these headers, so requests with them are refused.
_PROXY_HEADERS = frozenset(
    {
        "via",
        "forwarded",
        "x-real-ip",
        "true-client-ip",
        "cf-connecting-ip",
        "cdn-loop",
        "proxy-connection",
    }
)


def read_number(key: str) -> int:
    """Return the number that a key encodes; refuse a malformed key."""
    digits = key.encode("latin-1").translate(None, _NON_DIGITS)
    spaces = key.count(" ")
    if digits and spaces:
        significant = digits.lstrip(b"0")
        if len(significant) <= _DIGIT_COUNT:  # the time of int() is quadratic in the digits
            number, remainder = divmod(int(significant or b"0"), spaces)
            if not remainder and number <= 0xFFFFFFFF:
                return number
    raise Refused(400, "expected keys whose digits are a 32 bit multiple of their spaces\n")


def read_numbers(head: RequestHead) -> tuple[int, int]:
    """Return the numbers of both keys; refuse a key that is missing, repeated or malformed."""
    firsts = head.headers.get_all("sec-websocket-key1")
    seconds = head.headers.get_all("sec-websocket-key2")
    if len(firsts) != 1 or len(seconds) != 1:
        raise Refused(400, "expected exactly one Sec-WebSocket-Key1 and one Sec-WebSocket-Key2\n")
    return read_number(firsts[0]), read_number(seconds[0])


def check(head: RequestHead) -> None:
    """Refuse a request that cannot be answered; the eight bytes need not have arrived yet."""
    headers = head.headers
    if "transfer-encoding" in headers or (
        "content-length" in headers and headers.get_all("content-length") != ["8"]
    ):
        raise Refused(400, "expected no body but the eight bytes of the third key\n")
    for name in map(str.lower, headers):
        if name in _PROXY_HEADERS or name.startswith("x-forwarded-"):
            raise Refused(400, "expected no proxy: it cannot know of the third key\n")
    check_location(head)
    read_numbers(head)


def sign(number1: int, number2: int, key3: bytes) -> bytes:
    """Return the 16 bytes that prove to the client that its three keys were read."""
    challenge = number1.to_bytes(4, "big") + number2.to_bytes(4, "big") + key3
    return md5(challenge, usedforsecurity=False).digest()


def answer(
    head: RequestHead,
    subprotocol: str | None,
    extra_headers: Sequence[tuple[str, str]],
    location: str,
    key3: bytes,
) -> bytes:
    """Return the 101 response and the signature for a request that has been checked."""
    origin = head.headers.get("origin")
    fields = write_fields("Sec-", location, origin, subprotocol, extra_headers)
    return (_HEAD + fields + "\r\n").encode("latin-1") + sign(*read_numbers(head), key3)

"""Close codes and the payload of a close frame: RFC 6455, sections 5.5.1 and 7.4."""

from enum import IntEnum

from sockwave.documented import OwnNames
from sockwave.fields import has_controls

#: RFC 6455, 5.5: a control frame's payload holds 125 bytes at most; the code takes two.
MAX_REASON_SIZE = 123


class CloseCode(IntEnum, metaclass=OwnNames):
    """The codes of RFC 6455, 7.4.1, and of IANA's registry, each with its `meaning` in one line."""

    meaning: str

    def __new__(cls, code: int, meaning: str) -> "CloseCode":
        """Make the member from its row in the table below."""
        member = int.__new__(cls, code)
        member._value_ = code
        member.meaning = meaning
        return member

    NORMAL_CLOSURE = 1000, "the purpose of the connection has been fulfilled"
    GOING_AWAY = 1001, "the server is going down, or the page has been left"
    PROTOCOL_ERROR = 1002, "the peer broke the protocol"
    UNSUPPORTED_DATA = 1003, "a type of data came that cannot be accepted"
    RESERVED = 1004, "reserved, never sent"
    NO_STATUS_RECEIVED = 1005, "a close frame without a code came, never sent"
    ABNORMAL_CLOSURE = 1006, "the connection was lost without a close frame, never sent"
    INVALID_PAYLOAD = 1007, "a message does not fit its type, such as text that is not UTF-8"
    POLICY_VIOLATION = 1008, "a message violates a policy that no other code tells"
    MESSAGE_TOO_BIG = 1009, "a message is larger than can be processed"
    MANDATORY_EXTENSION = 1010, "the client needs an extension that was not negotiated"
    INTERNAL_ERROR = 1011, "something unexpected happened in the server"
    SERVICE_RESTART = 1012, "the service restarts; reconnect after a random delay"
    TRY_AGAIN_LATER = 1013, "the server is overloaded; reconnect later or elsewhere"
    BAD_GATEWAY = 1014, "a gateway got an invalid answer from the server behind it"
    TLS_HANDSHAKE = 1015, "the TLS handshake failed, never sent"
    UNAUTHORIZED = 3000, "the client must authenticate first"
    FORBIDDEN = 3003, "the client may not use this endpoint"
    TIMEOUT = 3008, "the client took too long to answer"


def is_sendable(code: int) -> bool:
    """Tell whether `code` may stand in a close frame.

    RFC 6455, 7.4.1 and 7.4.2: 1004 to 1006 and 1015 are never put on the wire, what is below 3000
    must be registered, and 3000 to 4999 belongs to libraries and applications.
    """
    return 1000 <= code <= 1003 or 1007 <= code <= 1014 or 3000 <= code <= 4999


def encode_close(code: int, reason: str) -> bytes:
    """Encode the payload of the close frame that the application asks for.

    Raises TypeError or ValueError when RFC 6455 does not allow it, or when the reason holds control
    characters: the peer may write the reason to a log.
    """
    if not isinstance(code, int) or isinstance(code, bool):
        raise TypeError(f"close code: expected int, given {type(code).__name__}")
    if not is_sendable(code):
        raise ValueError(
            f"close code: expected 1000-1003, 1007-1014 or 3000-4999, given {int(code)}"
        )
    if not isinstance(reason, str):
        raise TypeError(f"close reason: expected str, given {type(reason).__name__}")
    if not reason:
        return code.to_bytes(2, "big")
    if has_controls(reason):
        raise ValueError(f"close reason: expected no control characters, given {reason!r}")
    try:
        encoded = reason.encode()
    except UnicodeEncodeError:
        raise ValueError(f"close reason: expected no lone surrogate, given {reason!r}") from None
    if len(encoded) > MAX_REASON_SIZE:
        raise ValueError(
            f"close reason: expected at most {MAX_REASON_SIZE} bytes of UTF-8, given {len(encoded)}"
        )
    return code.to_bytes(2, "big") + encoded

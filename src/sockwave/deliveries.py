"""What is said of messages of topics: their positions, and how clients are told of them."""

from base64 import b64encode
from collections.abc import Callable
from typing import Any, Literal, NamedTuple, TypeAlias

from sockwave.documented import describe_fields
from sockwave.json_codec import encode_json
from sockwave.messages import Message

_MOST = 1 << 64


class Position(NamedTuple):
    """Where a message stands in the log of its topic. As text: "EPOCH-OFFSET", as clients get it.

    It says where, never who may: it is no secret, and nothing to trust.
    """

    #: Which log: 64 random bits, new whenever the log is.
    epoch: int
    #: From 1, without gaps.
    offset: int

    def __str__(self) -> str:
        return f"{self.epoch:x}-{self.offset}"

    @classmethod
    def parse(cls, text: object) -> "Position":
        """Return the position that a text says, or `text` itself if it is one.

        Raises TypeError or ValueError for anything else.
        """
        if isinstance(text, Position):
            return text
        if not isinstance(text, str):
            raise TypeError(f"since: expected a position, given {type(text).__name__}")
        epoch, separator, offset = text.partition("-")
        if not separator or len(text) > 40 or not (text.isascii() and offset.isdecimal()):
            raise ValueError(f"since: expected a position as 'EPOCH-OFFSET', given {text[:60]!r}")
        try:
            found = cls(int(epoch, 16), int(offset))
        except ValueError:
            raise ValueError(
                f"since: expected a position as 'EPOCH-OFFSET', given {text!r}"
            ) from None
        if not (0 <= found.epoch < _MOST and found.offset < _MOST):
            raise ValueError(f"since: expected a position of a topic, given {text!r}")
        return found


class Published(NamedTuple):
    """What became of a message that was published."""

    #: Where it stands in the topic's log; None: the topic has none.
    position: Position | None
    #: For how many connections of this process it was queued.
    local_count: int


class Subscribed(NamedTuple):
    """From where on a connection hears a topic."""

    #: The newest message at that moment; None: the topic has no positions.
    position: Position | None
    #: With `since`: whether all messages behind it have been delivered. False without.
    recovered: bool


#: "message"; "delta": what a stream has grown by; "finished", "aborted": the end of a stream;
#: "gap": no message, but that those up to the position are missing for good.
Kind: TypeAlias = Literal["message", "delta", "finished", "aborted", "gap"]


class Delivery(NamedTuple):
    """A message of a topic on its way to a client: what an envelope makes a message of."""

    topic: str
    #: None at the end of a stream, and for a gap.
    message: str | bytes | None
    position: Position | None
    kind: Kind = "message"
    #: What the publisher has called it.
    id: str | None = None


class MemberChange(NamedTuple):
    """A member of a topic with presence comes, or goes, or is told of in another way."""

    #: "join" also where only the data has changed.
    kind: Literal["join", "leave"]
    #: Who it is.
    key: str
    #: What is told of it: what JSON can say.
    data: Any
    topic: str


describe_fields(
    Position, epoch="Which log: 64 random bits.", offset="Where in it: from 1, without gaps."
)
describe_fields(
    Published,
    position="Where the message stands in the topic's log; None: the topic has none.",
    local_count="For how many connections of this process it was queued.",
)
describe_fields(
    Subscribed,
    position="The newest message at that moment; None: the topic has no positions.",
    recovered="With `since`: whether all messages behind it have been delivered. False without.",
)
describe_fields(
    Delivery,
    topic="The name of the topic.",
    message="str or bytes; None at the end of a stream, and for a gap.",
    position="Where it stands in the topic's log; None: the topic has none.",
    kind='"message", "delta", "finished", "aborted" or "gap".',
    id="What the publisher has called it; None: nothing.",
)

describe_fields(
    MemberChange,
    kind='"join", also where only the data has changed, or "leave".',
    key="Who it is.",
    data="What is told of the member: what JSON can say.",
    topic="The name of the topic.",
)

#: Makes of a delivery what the client receives; None: nothing.
Envelope: TypeAlias = Callable[[Delivery], Message | None]


def json_envelope(delivery: Delivery) -> str:
    """Return a delivery as a JSON object; docs/sockwave.1.md describes its fields."""
    topic, message, position, kind, name = delivery
    if kind == "gap":
        return encode_json({"gap": topic, "position": None if position is None else str(position)})
    fields: dict[str, Any] = {"topic": topic}
    if position is not None:
        fields["position"] = str(position)
    if message is None:
        fields["end"] = kind
    elif isinstance(message, str):
        fields["delta" if kind == "delta" else "message"] = message
    else:
        fields["base64"] = b64encode(message).decode()
    if name is not None:
        fields["id"] = name
    return encode_json(fields)


def compact_envelope(delivery: Delivery) -> str:
    """Return a delivery as `[offset,"message"]`: a few bytes more than the message.

    At the end of a stream, null stands in place of the message, and false if its producer has gone;
    true stands for a gap. The client has to know the topic, and its epoch.
    """
    message, kind = delivery.message, delivery.kind
    offset = 0 if delivery.position is None else delivery.position.offset
    if isinstance(message, str):
        return f"[{offset},{encode_json(message)}]"
    if message is not None:
        return f'[{offset},"{b64encode(message).decode()}"]'
    return f"[{offset},{ {'finished': 'null', 'aborted': 'false', 'gap': 'true'}[kind] }]"

"""What one connection was told and said, held against the slow reference codec."""

import dataclasses
from collections.abc import Iterator

import reference
from reference import BINARY, CLOSE, PONG, TEXT, Event, Frame, Outcome

from fuzz.loop import running
from fuzz.memory import MemoryServer, Peer

# RFC 6455, 7.4: what an application may be told.
EVENT_CODES = {1005, 1006, *range(1000, 1004), *range(1007, 1015), *range(3000, 5000)}

# Bytes that come one by one, where they do: enough for what is small, and soon done.
SINGLE_COUNT = 200

# What a reader may hold beside twice what it was given: its first room, and the room in which the
# rest of a large frame is read at once (`READ_ROOM_SIZE`).
ROOM_SIZE = 4096 + 262144 + 256


@dataclasses.dataclass
class Witness:
    """The events of one connection, in order."""

    peer: Peer
    echoes: bool = False
    events: list[Event] = dataclasses.field(default_factory=list)

    def __post_init__(self) -> None:
        connection = self.peer.connection
        connection.on("message", self.heard)
        connection.on("ping", lambda data: self.events.append(("ping", data)))
        connection.on("pong", lambda data: self.events.append(("pong", data)))
        connection.on("close", lambda code, reason: self.events.append(("close", code, reason)))

    def heard(self, message: str | bytes) -> None:
        self.events.append(("message", message))
        if self.echoes:
            self.peer.connection.send(message)


def cut(data: bytes, how: int) -> Iterator[bytes]:
    """Cut bytes into the pieces in which they arrive: whole, the first ones singly, or anyhow."""
    if how == 0:
        yield data
        return
    start = 0
    state = how
    while start < len(data):
        state = (state * 1103515245 + 12345) & 0x7FFFFFFF
        size = 1 + (state >> 16) % (how * 8)
        if how == 1 and start < SINGLE_COUNT:
            size = 1
        yield data[start : start + size]
        start += size


def feed(front: MemoryServer, peer: Peer, data: bytes, how: int) -> None:
    """Have bytes arrive piece by piece, and hold what is kept of them to its bound."""
    received = 0
    with running(front.loop):
        for piece in cut(data, how):
            peer.send(piece)
            while peer.deliver() or front.loop.run_ready():
                pass
            received += len(piece)
            check_held(peer, received)


def check_held(peer: Peer, received: int) -> None:
    """Raise AssertionError where more is held than was received, and some room."""
    if hasattr(peer.transport, "held_size"):
        held = peer.transport.held_size()
        assert held <= 2 * received + ROOM_SIZE, f"{held} bytes held of {received}"


def expect_events(outcome: Outcome) -> list[Event]:
    """Tell what the application hears, up to the end of the stream."""
    if outcome.failure is not None:
        return [*outcome.events, ("close", outcome.failure, "")]
    if outcome.events and outcome.events[-1][0] == "close":
        return outcome.events
    return [*outcome.events, ("close", reference.ABNORMAL, "")]


def expect_answers(outcome: Outcome, *, echoes: bool) -> list[Frame]:
    """Tell what the peer is sent, the reason of a failure left out."""
    answers = []
    for event in outcome.events:
        if event[0] == "ping":
            answers.append(Frame(PONG, event[1]))
        elif event[0] == "message" and echoes:
            is_text = isinstance(event[1], str)
            payload = event[1].encode() if is_text else event[1]
            answers.append(Frame(TEXT if is_text else BINARY, payload))
        elif event[0] == "close":
            code = event[1]
            answers.append(Frame(CLOSE, b"" if code == 1005 else code.to_bytes(2, "big")))
    if outcome.failure is not None:
        answers.append(Frame(CLOSE, outcome.failure.to_bytes(2, "big")))
    return answers


def check_frames(witness: Witness, outcome: Outcome) -> None:
    """Raise AssertionError where a conversation by RFC 6455 was not what the reference says."""
    heard = list(witness.events)
    if outcome.failure is not None and heard and heard[-1][0] == "close":
        heard[-1] = ("close", heard[-1][1], "")  # the sentence is our own
    expected = expect_events(outcome)
    assert heard == expected, f"heard {heard!r}, expected {expected!r}"
    said = reference.parse_all(bytes(witness.peer.output), from_client=False)
    if outcome.failure is not None and said and said[-1].opcode == CLOSE:
        assert said[-1].payload[2:].isascii(), "a reason that is none of ours"
        assert said[-1].payload[2:], "a failure without a reason"
        said[-1] = Frame(CLOSE, said[-1].payload[:2])
    answers = expect_answers(outcome, echoes=witness.echoes)
    assert said == answers, f"said {said!r}, expected {answers!r}"


def check_anyhow(witness: Witness, max_size: int) -> None:
    """Raise AssertionError where what holds for every conversation does not."""
    closes = [event for event in witness.events if event[0] == "close"]
    assert len(closes) == 1, f"{len(closes)} close events"
    assert witness.events[-1][0] == "close", "an event behind the close"
    assert closes[0][1] in EVENT_CODES, f"closed with {closes[0][1]}"
    for event in witness.events:
        if event[0] == "message":
            message = event[1]
            data = message.encode() if isinstance(message, str) else message
            assert len(data) <= max_size, "a message over the limit"

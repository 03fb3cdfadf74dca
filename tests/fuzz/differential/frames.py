"""RFC 6455 streams: ours, the reference codec, `websockets` and `wsproto`, all without a socket."""

import functools
import logging
import random
from collections.abc import Callable

import reference
import wsproto
import wsproto.events
from reference import CLOSE, PONG, TEXT, Outcome
from websockets.exceptions import ProtocolError
from websockets.frames import Opcode
from websockets.protocol import OPEN
from websockets.server import ServerProtocol

from fuzz.differential.accepted import explain_frames
from fuzz.differential.verdict import Tally, Verdict, cut, splits
from fuzz.loop import running
from fuzz.memory import MemoryServer

SIZES = (16, 125, 300, 70_000)

#: Inputs up to this size are split at every point, longer ones at some.
SHORT_SIZE = 80

logging.getLogger("websockets").setLevel(logging.CRITICAL)


# ---- the readers ---------------------------------------------------------------------------------


@functools.cache
def server(max_size: int) -> MemoryServer:
    """Give our server with that limit, and none on pings: nobody else has one."""
    return MemoryServer(max_size=max_size, control_rate=None)


def read_ours(pieces: list[bytes], max_size: int) -> Verdict:
    """Read a stream by a connection of ours, with all that belongs to it."""
    front = server(max_size)
    verdict = Verdict()
    received = 0
    peer = front.open()
    connection = peer.connection

    def found(*event: object) -> None:
        verdict.events.append((received, event))

    def closed(code: int, reason: str) -> None:
        said = reference.parse_all(bytes(peer.output), from_client=False)
        if said and said[-1].opcode == CLOSE and said[-1].payload[2:]:
            verdict.fail(code, reason, received)  # only a failure is given a reason
        elif code != reference.ABNORMAL:
            found("close", code, reason)

    connection.on("message", lambda message: found("message", message))
    connection.on("ping", lambda data: found("ping", data))
    connection.on("pong", lambda data: found("pong", data))
    connection.on("close", closed)
    with running(front.loop):
        for piece in pieces:
            received += len(piece)
            peer.send(piece)
            while peer.deliver() or front.loop.run_ready():
                pass
            if peer.is_finished:  # it has failed, and waits for our end
                peer.end()
                while peer.deliver() or front.loop.run_ready():
                    pass
    front.end(peer)
    check_pongs(verdict, bytes(peer.output))
    return verdict


def check_pongs(verdict: Verdict, output: bytes) -> None:
    """Raise AssertionError unless each ping was answered, in order."""
    said = reference.parse_all(output, from_client=False)
    pongs = [frame.payload for frame in said if frame.opcode == PONG]
    assert pongs == [event[1] for event in verdict.what if event[0] == "ping"]


def read_reference(pieces: list[bytes], max_size: int) -> Verdict:
    """Read a stream by the slow codec, from its beginning after each piece."""
    verdict = Verdict()
    data = b""
    for piece in pieces:
        data += piece
        outcome: Outcome = reference.decode(data, max_size=max_size)
        verdict.events += [(len(data), event) for event in outcome.events[len(verdict.events) :]]
        if outcome.failure is not None:
            verdict.fail(outcome.failure, "", len(data))
        if verdict.is_over:
            break
    return verdict


class Assembler:
    """Makes messages of frames, for a library that leaves that to its caller."""

    def __init__(self, verdict: Verdict) -> None:
        self.verdict = verdict
        self.parts: list[bytes] = []
        self.opcode = 0

    def add(self, opcode: int, payload: bytes, fin: bool, place: int) -> None:
        """Take a data frame."""
        self.opcode = opcode or self.opcode
        self.parts.append(payload)
        if not fin:
            return
        data = b"".join(self.parts)
        self.parts = []
        try:
            message = data.decode() if self.opcode == TEXT else data
        except UnicodeDecodeError:
            self.verdict.fail(reference.INVALID_DATA, "text is not UTF-8", place)
        else:
            self.verdict.events.append((place, ("message", message)))


def read_websockets(pieces: list[bytes], max_size: int) -> Verdict:
    """Read a stream by the protocol of `websockets`."""
    verdict = Verdict()
    assembler = Assembler(verdict)
    protocol = ServerProtocol(state=OPEN, max_size=max_size)
    received = 0
    for piece in pieces:
        received += len(piece)
        protocol.receive_data(piece)
        for frame in protocol.events_received():
            assert not hasattr(frame, "path")
            opcode, data = int(frame.opcode), bytes(frame.data)
            if frame.opcode is Opcode.CLOSE:
                close = protocol.close_rcvd
                assert close is not None
                verdict.events.append((received, ("close", int(close.code), close.reason)))
            elif frame.opcode in (Opcode.PING, Opcode.PONG):
                name = "ping" if frame.opcode is Opcode.PING else "pong"
                verdict.events.append((received, (name, data)))
            else:
                assembler.add(opcode, data, frame.fin, received)
            if verdict.is_over:
                return verdict
        if protocol.parser_exc is not None:
            sent = protocol.close_sent
            error = protocol.parser_exc
            code = int(sent.code) if sent is not None else 1006
            if isinstance(error, ProtocolError):
                code = reference.PROTOCOL_ERROR
            verdict.fail(code, str(error), received)
            return verdict
    return verdict


def read_wsproto(pieces: list[bytes], max_size: int) -> Verdict:
    """Read a stream by `wsproto`, which has no limits."""
    verdict = Verdict()
    connection = wsproto.Connection(wsproto.ConnectionType.SERVER)
    received = 0
    parts: list[str | bytes] = []
    for piece in pieces:
        received += len(piece)
        connection.receive_data(piece)
        for event in connection.events():
            if isinstance(event, wsproto.events.CloseConnection):
                if connection.state is wsproto.ConnectionState.REMOTE_CLOSING:
                    close = ("close", int(event.code), event.reason or "")
                    verdict.events.append((received, close))
                else:
                    verdict.fail(int(event.code), event.reason or "", received)
                return verdict
            if isinstance(event, wsproto.events.Ping | wsproto.events.Pong):
                name = "ping" if isinstance(event, wsproto.events.Ping) else "pong"
                verdict.events.append((received, (name, bytes(event.payload))))
            elif isinstance(event, wsproto.events.Message):
                is_text = isinstance(event.data, str)
                parts.append(event.data if is_text else bytes(event.data))
                if event.message_finished:
                    message = ("" if is_text else b"").join(parts)  # type: ignore[arg-type]
                    verdict.events.append((received, ("message", message)))
                    parts = []
    return verdict


OTHERS: dict[str, Callable[[list[bytes], int], Verdict]] = {
    "websockets": read_websockets,
    "wsproto": read_wsproto,
}


# ---- the comparison ------------------------------------------------------------------------------


def compare(stream: bytes, max_size: int, rng: random.Random, tally: Tally) -> None:
    """Have everybody read a stream, in every way in which it may arrive."""
    tally.inputs += 1
    single = [stream[i : i + 1] for i in range(len(stream))]
    is_short = len(stream) <= SHORT_SIZE
    truth = read_reference(single if is_short else [stream], max_size)
    for places in splits(len(stream), SHORT_SIZE) if is_short else some_splits(rng, len(stream)):
        pieces = cut(stream, places)
        verdict = read_ours(pieces, max_size)
        tally.cases += 1
        expected = truth
        if len(places) + 1 < len(stream):
            expected = at_pieces(truth, pieces) if is_short else truth
        if not is_same(verdict, expected, with_places=is_short):
            tally.unexplained.append(
                f"reference: {stream.hex()} max_size={max_size} split at {places}: "
                f"ours {verdict}, expected {expected}"
            )
            return
    pieces = single if is_short else cut(stream, places)
    ours = read_ours(pieces, max_size)
    for name, read in OTHERS.items():
        theirs = read(pieces, max_size)
        difference = explain_frames(name, ours, theirs)
        if difference == "":
            continue
        if difference is None:
            tally.unexplained.append(
                f"{name}: {stream.hex()} max_size={max_size}: ours {ours}, theirs {theirs}"
            )
        else:
            tally.listed[difference] += 1


def some_splits(rng: random.Random, size: int) -> list[tuple[int, ...]]:
    """Give a few ways to cut a long stream."""
    return [
        (),
        *(
            tuple(sorted(rng.sample(range(1, size), min(count, size - 1))))
            for count in (1, 2, 5, size // 16 + 1)
        ),
    ]


def at_pieces(verdict: Verdict, pieces: list[bytes]) -> Verdict:
    """Give a verdict with the places at which the same is found where it comes in such pieces."""
    ends = []
    total = 0
    for piece in pieces:
        total += len(piece)
        ends.append(total)

    def seen_at(place: int) -> int:
        return next(end for end in ends if end >= place)

    events = [(seen_at(place), event) for place, event in verdict.events]
    failed_at = seen_at(verdict.failed_at) if verdict.failure is not None else 0
    return Verdict(events, verdict.failure, verdict.rule, failed_at)


def is_same(ours: Verdict, truth: Verdict, *, with_places: bool) -> bool:
    """Tell whether we say what the reference says, after as many bytes."""
    if ours.failure != truth.failure:
        return False
    if not with_places:
        return ours.what == truth.what
    return ours.events == truth.events and ours.failed_at == truth.failed_at

"""Frames become messages, or the right close code (RFC 6455, sections 5 and 8.1)."""

import itertools
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace

import pytest
import reference
from conftest import StartServer
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from reference import (
    BINARY,
    CLOSE,
    CONTINUATION,
    INVALID_DATA,
    MASK,
    NO_STATUS,
    PING,
    PONG,
    PROTOCOL_ERROR,
    TEXT,
    TOO_BIG,
    Event,
    Frame,
    Outcome,
)
from wire import Wire, case, wait_until

import sockwave

MAX_SIZE = 2**20  # the default of create_server


@dataclass
class Observed:
    """A server that echoes, and what its listeners were told."""

    server: sockwave.Server
    events: list[Event] = field(default_factory=list)

    @property
    def address(self) -> tuple[str, int]:
        address: tuple[str, int] = self.server.addresses[0]
        return address

    async def connect(self) -> Wire:
        """Connect a client, and forget what was told of those before."""
        self.events.clear()
        return await Wire.connect(self.address)


@pytest.fixture
async def observed(start_server: StartServer) -> Observed:
    """A server that echoes and records every event."""
    found = Observed(await start_server())

    @found.server.on("connection")
    def connected(conn: sockwave.Connection) -> None:
        @conn.on("message")
        def message(message: str | bytes) -> None:
            found.events.append(("message", message))
            conn.send(message)

        conn.on("ping", lambda data: found.events.append(("ping", data)))
        conn.on("pong", lambda data: found.events.append(("pong", data)))
        conn.on("close", lambda code, reason: found.events.append(("close", code, reason)))

    return found


def frame(opcode: int, payload: bytes | str = b"", *, fin: bool = True, rsv: int = 0) -> bytes:
    """Give the bytes of a masked frame."""
    data = payload.encode() if isinstance(payload, str) else payload
    return reference.serialize(Frame(opcode, data, fin, rsv))


def header(opcode: int, length: int, form: int, *, fin: bool = True) -> bytes:
    """Give the header of a masked frame, with its length in 7, 16 or 64 bits."""
    return reference.serialize_header(Frame(opcode, b"", fin), length, MASK, form)


def unmasked(opcode: int, payload: bytes = b"") -> bytes:
    """Give the bytes of a frame that breaks the first rule for clients."""
    return reference.serialize(Frame(opcode, payload), None)


def close_frame(body: bytes) -> bytes:
    """Give the bytes of a close frame with any body."""
    return frame(CLOSE, body)


def said(*messages: str | bytes) -> Outcome:
    """Expect these messages and nothing else."""
    return Outcome([("message", message) for message in messages])


def fails(code: int, *messages: str | bytes) -> Outcome:
    """Expect these messages, then a failure."""
    return replace(said(*messages), failure=code)


def closes(code: int, reason: str = "", *messages: str | bytes) -> Outcome:
    """Expect these messages, then a close by the peer."""
    return Outcome([*said(*messages).events, ("close", code, reason)])


# What a client may send, and what it means.
VALID: dict[str, tuple[bytes, Outcome]] = {
    "empty text": (frame(TEXT), said("")),
    "empty binary": (frame(BINARY), said(b"")),
    "text": (frame(TEXT, "Hello"), said("Hello")),
    "text beyond the BMP": (frame(TEXT, "κόσμε 🌊"), said("κόσμε 🌊")),
    "text holding NUL": (frame(TEXT, "\0a\0"), said("\0a\0")),
    "binary": (frame(BINARY, bytes(range(256))), said(bytes(range(256)))),
    "125 bytes": (frame(BINARY, b"x" * 125), said(b"x" * 125)),
    "126 bytes": (frame(BINARY, b"x" * 126), said(b"x" * 126)),
    "fragments": (
        frame(TEXT, "a", fin=False)
        + frame(CONTINUATION, "b", fin=False)
        + frame(CONTINUATION, "c"),
        said("abc"),
    ),
    "empty fragments": (
        frame(BINARY, fin=False) + frame(CONTINUATION, fin=False) + frame(CONTINUATION),
        said(b""),
    ),
    "empty last fragment": (frame(TEXT, "ab", fin=False) + frame(CONTINUATION), said("ab")),
    "two messages": (frame(TEXT, "a") + frame(BINARY, b"b"), said("a", b"b")),
    "all-zero mask": (reference.serialize(Frame(TEXT, b"zero"), b"\0\0\0\0"), said("zero")),
    "ping": (frame(PING, b"p"), Outcome([("ping", b"p")])),
    "empty ping": (frame(PING), Outcome([("ping", b"")])),
    "longest ping": (frame(PING, b"p" * 125), Outcome([("ping", b"p" * 125)])),
    "ping that is not UTF-8": (frame(PING, b"\xff\xfe"), Outcome([("ping", b"\xff\xfe")])),
    "unsolicited pong": (frame(PONG, b"p"), Outcome([("pong", b"p")])),
    "control frames between fragments": (
        frame(TEXT, "a", fin=False)
        + frame(PING, b"1")
        + frame(PONG, b"2")
        + frame(CONTINUATION, "b"),
        Outcome([("ping", b"1"), ("pong", b"2"), ("message", "ab")]),
    ),
    "close": (close_frame(b"\x03\xe8"), closes(1000)),
    "close without a body": (close_frame(b""), closes(NO_STATUS)),
    "close with a reason": (close_frame(b"\x03\xe9" + "später".encode()), closes(1001, "später")),
    "close with the longest reason": (
        close_frame(b"\x0f\xa0" + b"r" * 123),
        closes(4000, "r" * 123),
    ),
    "close in the middle of a message": (
        frame(TEXT, "ab", fin=False) + close_frame(b"\x03\xe8"),
        closes(1000),
    ),
    "anything behind a close": (
        close_frame(b"\x03\xe8") + frame(TEXT, "late") + b"\xff\xff\xff",
        closes(1000),
    ),
    "two closes": (close_frame(b"\x03\xe8") + close_frame(b"\x03\xe9"), closes(1000)),
}

# What a client must not send, and the close code it gets. A good message goes before, so that
# each shows that what was right has been delivered.
BEFORE = frame(TEXT, "fine")
INVALID: dict[str, tuple[bytes, int]] = {
    "2^31-1 bytes announced": (header(BINARY, 2**31 - 1, 64), TOO_BIG),
    "2^31 bytes announced": (header(BINARY, 2**31, 64), TOO_BIG),
    "2^32 bytes announced": (header(BINARY, 2**32, 64), TOO_BIG),
    "2^32 + 5 bytes announced": (header(BINARY, 2**32 + 5, 64), TOO_BIG),
    "2^63-1 bytes announced": (header(BINARY, 2**63 - 1, 64), TOO_BIG),
    "2^63-14 bytes announced": (header(BINARY, 2**63 - 14, 64), TOO_BIG),
    "one byte over the limit announced": (header(TEXT, MAX_SIZE + 1, 64), TOO_BIG),
    "one byte over the limit by a fragment": (
        frame(BINARY, b"x", fin=False) + header(CONTINUATION, MAX_SIZE, 64),
        TOO_BIG,
    ),
    "a fragment of 2^63-1 bytes": (
        frame(BINARY, b"x", fin=False) + header(CONTINUATION, 2**63 - 1, 64),
        TOO_BIG,
    ),
    "2^63 bytes announced": (header(BINARY, 2**63, 64), PROTOCOL_ERROR),
    "2^64-1 bytes announced": (header(BINARY, 2**64 - 1, 64), PROTOCOL_ERROR),
    "2^64-14 bytes announced": (header(BINARY, 2**64 - 14, 64), PROTOCOL_ERROR),
    "0 in 16 bits": (header(BINARY, 0, 16), PROTOCOL_ERROR),
    "125 in 16 bits": (header(BINARY, 125, 16) + b"x" * 125, PROTOCOL_ERROR),
    "0 in 64 bits": (header(BINARY, 0, 64), PROTOCOL_ERROR),
    "125 in 64 bits": (header(BINARY, 125, 64), PROTOCOL_ERROR),
    "65535 in 64 bits": (header(BINARY, 65535, 64), PROTOCOL_ERROR),
    "unmasked text": (unmasked(TEXT, b"plain"), PROTOCOL_ERROR),
    "unmasked empty binary": (unmasked(BINARY), PROTOCOL_ERROR),
    "unmasked ping": (unmasked(PING), PROTOCOL_ERROR),
    "unmasked close": (unmasked(CLOSE, b"\x03\xe8"), PROTOCOL_ERROR),
    "ping of 126 bytes": (frame(PING, b"p" * 126), PROTOCOL_ERROR),
    "pong of 126 bytes": (frame(PONG, b"p" * 126), PROTOCOL_ERROR),
    "close of 126 bytes": (close_frame(b"\x03\xe8" + b"r" * 124), PROTOCOL_ERROR),
    "ping of 2^63-1 bytes": (header(PING, 2**63 - 1, 64), PROTOCOL_ERROR),
    "fragmented ping": (frame(PING, b"p", fin=False), PROTOCOL_ERROR),
    "fragmented pong": (frame(PONG, b"p", fin=False), PROTOCOL_ERROR),
    "fragmented close": (frame(CLOSE, b"\x03\xe8", fin=False), PROTOCOL_ERROR),
    "continuation of nothing": (frame(CONTINUATION, b"x"), PROTOCOL_ERROR),
    "unfinished continuation of nothing": (frame(CONTINUATION, b"x", fin=False), PROTOCOL_ERROR),
    "text inside a message": (frame(TEXT, "a", fin=False) + frame(TEXT, "b"), PROTOCOL_ERROR),
    "binary inside a message": (frame(TEXT, "a", fin=False) + frame(BINARY, "b"), PROTOCOL_ERROR),
    "close of one byte": (close_frame(b"\x03"), PROTOCOL_ERROR),
    "close reason that is not UTF-8": (close_frame(b"\x03\xe8\xc3\x28"), INVALID_DATA),
    "close reason cut inside a code point": (close_frame(b"\x03\xe8\xe2\x82"), INVALID_DATA),
    "close reason with a surrogate": (close_frame(b"\x03\xe8\xed\xa0\x80"), INVALID_DATA),
    **{
        f"close code {code}": (close_frame(code.to_bytes(2, "big")), PROTOCOL_ERROR)
        for code in (0, 1, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65535)
    },
    **{
        f"opcode {opcode:X}": (frame(opcode, b"x"), PROTOCOL_ERROR)
        for opcode in (0x3, 0x4, 0x5, 0x6, 0x7, 0xB, 0xC, 0xD, 0xE, 0xF)
    },
    **{
        f"RSV {rsv:03b} on opcode {opcode:X}": (frame(opcode, b"\x03\xe8", rsv=rsv), PROTOCOL_ERROR)
        for opcode in (TEXT, BINARY, CLOSE, PING, PONG)
        for rsv in (0b100, 0b010, 0b001, 0b111)
    },
    **{
        f"RSV {rsv:03b} on a continuation": (
            frame(BINARY, b"x", fin=False) + frame(CONTINUATION, b"y", rsv=rsv),
            PROTOCOL_ERROR,
        )
        for rsv in (0b100, 0b010, 0b001)
    },
}

# Bytes that are not UTF-8, each with the number of its first wrong byte: overlong forms,
# surrogates, code points past U+10FFFF, stray and missing continuation bytes (RFC 3629).
NOT_UTF8: dict[bytes, int] = {
    b"\x80": 0,
    b"\xbf": 0,
    b"\xc0\xaf": 0,
    b"\xc1\xbf": 0,
    b"\xc3\x28": 1,
    b"\xe0\x80\xaf": 1,
    b"\xe0\x9f\xbf": 1,
    b"\xe2\x28\xa1": 1,
    b"\xe2\x82\x28": 2,
    b"\xed\xa0\x80": 1,
    b"\xed\xbf\xbf": 1,
    b"\xf0\x80\x80\xaf": 1,
    b"\xf0\x8f\xbf\xbf": 1,
    b"\xf0\x90\x28\xbc": 2,
    b"\xf0\x90\x8c\x28": 3,
    b"\xf4\x90\x80\x80": 1,
    b"\xf5\x80\x80\x80": 0,
    b"\xf8\x88\x80\x80\x80": 0,
    b"\xfe": 0,
    b"\xff": 0,
}

# The first and last code points of each length, and what stands beside the surrogates.
EDGES = "\x00\x7f\x80\u07ff\u0800\ud7ff\ue000\uffff\U00010000\U0010ffff"

CASES = {name: (data, outcome) for name, (data, outcome) in VALID.items()} | {
    name: (BEFORE + data, fails(code, "fine")) for name, (data, code) in INVALID.items()
}

Feed = Callable[[Wire, bytes], Awaitable[None]]


async def feed_whole(wire: Wire, data: bytes) -> None:
    """Send everything at once."""
    wire.write(data)


async def feed_slowly(wire: Wire, data: bytes) -> None:
    """Send byte by byte."""
    await wire.write_slowly(data)


async def check(observed: Observed, wire: Wire, outcome: Outcome) -> None:
    """Compare what the server did, on the wire and towards its listeners, with what is right."""
    closes = bool(outcome.events) and outcome.events[-1][0] == "close"
    events = list(outcome.events)
    if outcome.failure is None and not closes:
        wire.send("the end")
        events.append(("message", "the end"))
        frames = [await wire.receive_frame()]
        while frames[-1] != Frame(TEXT, b"the end"):
            frames.append(await wire.receive_frame())
    else:
        *frames, last = await wire.receive_frames_until_close()
        _, code, _ = reference.parse_close(last.payload)
        assert code == (outcome.events[-1][1] if closes else outcome.failure)
        await wire.close()

    echoed = [
        answer.payload.decode() if answer.opcode == TEXT else answer.payload
        for answer in frames
        if answer.opcode in (TEXT, BINARY)
    ]
    assert echoed == [event[1] for event in events if event[0] == "message"]
    check_pongs(
        [event[1] for event in events if event[0] == "ping"],
        [answer.payload for answer in frames if answer.opcode == PONG],
        ended=closes or outcome.failure is not None,
    )

    if not closes:
        await wait_until(lambda: len(observed.events) >= len(events), "the events")
        assert observed.events[: len(events)] == events
    await wire.close()
    await wait_until(lambda: observed.events and observed.events[-1][0] == "close", "close")
    if closes:
        assert observed.events == events
    else:
        assert observed.events[:-1] == events


def check_pongs(pings: list[object], pongs: list[bytes], *, ended: bool) -> None:
    """Check that pongs answer pings in order, and that the newest was answered.

    5.5.3: "If an endpoint receives a Ping frame and has not yet sent Pong frame(s) in response to
    previous Ping frame(s), the endpoint MAY elect to send a Pong frame for only the most recently
    processed Ping frame."
    """
    waiting = iter(pings)
    assert all(pong in waiting for pong in pongs), f"{pongs} do not answer {pings} in order"
    if pings and not ended:
        assert pongs[-1:] == pings[-1:], f"{pongs} leave out the newest of {pings}"


@pytest.mark.parametrize("feed", [feed_whole, feed_slowly], ids=["whole", "byte by byte"])
async def test_frames_become_messages_or_a_failure(observed: Observed, feed: Feed) -> None:
    for name, (data, outcome) in CASES.items():
        with case(name):
            assert reference.decode(data) == outcome
            wire = await observed.connect()
            await feed(wire, data)
            await check(observed, wire, outcome)


async def test_what_follows_is_read_after_a_message_and_ignored_after_the_end(
    observed: Observed,
) -> None:
    for name, (data, expected) in CASES.items():
        outcome = expected
        if outcome.failure is None and (not outcome.events or outcome.events[-1][0] != "close"):
            outcome = replace(outcome, events=[*outcome.events, ("message", "behind")])
        with case(name):
            wire = await observed.connect()
            wire.write(data + frame(TEXT, "behind"))
            await check(observed, wire, outcome)


async def test_text_that_is_not_utf8_ends_the_connection(observed: Observed) -> None:
    for bad in NOT_UTF8:
        with case(bad):
            wire = await observed.connect()
            wire.write(frame(TEXT, b"good then " + bad + b" and more"))
            await check(observed, wire, fails(INVALID_DATA))


async def test_text_fails_at_its_first_wrong_byte_long_before_its_end(observed: Observed) -> None:
    for bad, place in NOT_UTF8.items():
        with case(bad):
            wire = await observed.connect()
            wire.write(header(TEXT, 2**19, 64, fin=False))
            data = b"0123456789" + bad[: place + 1]
            await wire.write_slowly(reference.apply_mask(data, MASK))
            await check(observed, wire, fails(INVALID_DATA))


async def test_text_is_not_failed_while_it_can_still_become_right(observed: Observed) -> None:
    wire = await Wire.connect(observed.address)
    whole = "é€🌊".encode()
    wire.write(header(TEXT, len(whole), 7))
    for octet in reference.apply_mask(whole, MASK)[:-1]:
        wire.write(bytes([octet]))
        await wire.receive_nothing()
    wire.write(reference.apply_mask(whole, MASK)[-1:])
    assert await wire.receive_message() == "é€🌊"
    await wire.close()


async def test_wrong_text_is_found_wherever_its_fragments_are_cut(observed: Observed) -> None:
    for bad in NOT_UTF8:
        whole = b"ab" + bad
        for cut in range(len(whole) + 1):
            with case((bad, cut)):
                wire = await observed.connect()
                wire.write(
                    frame(TEXT, whole[:cut], fin=False)
                    + frame(CONTINUATION, whole[cut:], fin=False)
                    + frame(CONTINUATION, b" tail")
                )
                await check(observed, wire, fails(INVALID_DATA))


async def test_code_points_may_be_cut_by_every_fragment_boundary(observed: Observed) -> None:
    wire = await Wire.connect(observed.address)
    whole = EDGES.encode()
    for cut in range(len(whole) + 1):
        wire.write(frame(TEXT, whole[:cut], fin=False) + frame(CONTINUATION, whole[cut:]))
        assert await wire.receive_message() == EDGES
    for octet in whole[:-1]:
        opcode = TEXT if octet == whole[0] else CONTINUATION
        wire.write_frame(opcode, bytes([octet]), fin=False)
    wire.write_frame(CONTINUATION, whole[-1:])
    assert await wire.receive_message() == EDGES
    await wire.close()


@pytest.mark.parametrize("cut", ["é".encode()[:1], "€".encode()[:2], "🌊".encode()[:3]])
async def test_text_that_ends_inside_a_code_point_is_not_utf8(
    observed: Observed, cut: bytes
) -> None:
    wire = await Wire.connect(observed.address)
    wire.write(frame(TEXT, b"half of ", fin=False) + frame(CONTINUATION, cut))
    await check(observed, wire, fails(INVALID_DATA))


async def test_binary_may_hold_what_is_not_utf8(observed: Observed) -> None:
    wire = await Wire.connect(observed.address)
    everything = b"".join(NOT_UTF8)
    wire.write(frame(BINARY, everything, fin=False) + frame(CONTINUATION, everything))
    await check(observed, wire, said(everything * 2))


async def test_every_size_is_unmasked_right(observed: Observed) -> None:
    mask = b"\x01\x80\xff\x5a"
    for size in (*range(70), 125, 126, 127, 65535, 65536, 65537):
        with case(size):
            wire = await observed.connect()
            data = bytes(i * 7 % 256 for i in range(size))
            # Two in a row, so that the second is read from an odd place of the buffer.
            wire.write(reference.serialize(Frame(BINARY, data), mask) * 2)
            await check(observed, wire, said(data, data))


async def test_every_frame_may_have_a_mask_of_its_own(observed: Observed) -> None:
    wire = await Wire.connect(observed.address)
    wire.write(
        reference.serialize(Frame(TEXT, b"abcde", fin=False), b"\x01\x02\x03\x04")
        + reference.serialize(Frame(PING, b"ping!"), b"\xff\xff\xff\xff")
        + reference.serialize(Frame(CONTINUATION, b"fghij"), b"\x0a\x0b\x0c\x0d")
    )
    await check(observed, wire, Outcome([("ping", b"ping!"), ("message", "abcdefghij")]))


# ---- random streams against the oracle ----------------------------------------------------------

masks = st.binary(min_size=4, max_size=4)
controls = st.builds(Frame, st.sampled_from([PING, PONG]), st.binary(max_size=125))


@st.composite
def messages(draw: st.DrawFn) -> list[Frame]:
    """Draw a message as its frames, with control frames between them."""
    if draw(st.booleans()):
        opcode, data = TEXT, draw(st.text(max_size=200)).encode()
    else:
        opcode, data = BINARY, draw(st.binary(max_size=400))
    cuts = sorted(draw(st.lists(st.integers(0, len(data)), max_size=4)))
    places = [0, *cuts, len(data)]
    frames: list[Frame] = []
    for i, (start, end) in enumerate(itertools.pairwise(places)):
        last = i == len(places) - 2
        frames.append(Frame(CONTINUATION if i else opcode, data[start:end], last))
        if not last:
            frames.extend(draw(st.lists(controls, max_size=2)))
    return frames


closings = st.builds(
    lambda code, reason: frame(CLOSE, reference.close_payload(code, reason)),
    st.sampled_from([1000, 1001, 1003, 1009, 1011, 3000, 4999]),
    st.text(max_size=30),
)
endings = st.one_of(
    st.just(b""),
    closings,
    st.sampled_from([data for data, _ in INVALID.values()]),
    st.sampled_from(list(NOT_UTF8)).map(lambda bad: frame(TEXT, b"text " + bad)),
)


@st.composite
def streams(draw: st.DrawFn) -> bytes:
    """Draw what a client may send in one connection, the last of it perhaps wrong."""
    frames = [
        piece
        for message in draw(
            st.lists(st.one_of(messages(), controls.map(lambda one: [one])), max_size=6)
        )
        for piece in message
    ]
    return b"".join(reference.serialize(f, draw(masks)) for f in frames) + draw(endings)


@settings(
    max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=streams(), cuts=st.lists(st.integers(0, 2000), max_size=12))
@pytest.mark.slow
async def test_random_streams_are_read_as_the_oracle_reads_them(
    observed: Observed, data: bytes, cuts: list[int]
) -> None:
    observed.events.clear()
    wire = await Wire.connect(observed.address)
    await wire.write_pieces(data, cuts)
    await check(observed, wire, reference.decode(data))
    await wait_until(lambda: not observed.server.connections)


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.binary(min_size=1, max_size=60), cuts=st.lists(st.integers(0, 60), max_size=4))
@pytest.mark.slow
async def test_random_bytes_never_break_the_server(
    observed: Observed, data: bytes, cuts: list[int]
) -> None:
    observed.events.clear()
    wire = await Wire.connect(observed.address)
    await wire.write_pieces(data, cuts)
    outcome = reference.decode(data)
    if outcome.failure is not None or (outcome.events and outcome.events[-1][0] == "close"):
        await check(observed, wire, outcome)
    await wire.close()
    await wait_until(lambda: not observed.server.connections)
    other = await Wire.connect(observed.address)
    other.send("still here")
    assert await other.receive_message() == "still here"
    await other.close()
    await wait_until(lambda: not observed.server.connections)

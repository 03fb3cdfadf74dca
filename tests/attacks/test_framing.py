"""Section 1A of the record: framing (RFC 6455, sections 5, 7.4 and 8.1)."""

import itertools
import zlib
from typing import Any

import pytest
import reference
from costs import Costs
from reference import (
    ABNORMAL,
    BINARY,
    CLOSE,
    CONTINUATION,
    INVALID_DATA,
    PING,
    POLICY,
    PONG,
    PROTOCOL_ERROR,
    RSV1,
    TEXT,
    TOO_BIG,
    Frame,
)
from test_compression import Client
from test_reader import BEFORE, INVALID, NOT_UTF8
from wire import Wire, build_request, upgrade_headers

from attacks import applications
from attacks.conftest import MIB, Attack
from attacks.floods import cpu_ratio, drip, pour

GOING_AWAY = 1001

# The growth of a server that does nothing out of the ordinary: pages of code, a list that grew.
NOTHING = MIB

DEFLATE = {"Sec-WebSocket-Extensions": "permessage-deflate"}


def frames(opcode: int, payload: bytes, count: int) -> bytes:
    """Give the bytes of so many equal frames."""
    return reference.serialize(Frame(opcode, payload)) * count


def fragments(payload: bytes, count: int) -> bytes:
    """Give the bytes of a binary message in so many fragments of this payload, and an empty one."""
    first = reference.serialize(Frame(BINARY, payload, fin=False))
    following = reference.serialize(Frame(CONTINUATION, payload, fin=False))
    return first + following * (count - 1) + reference.serialize(Frame(CONTINUATION))


# ---- A1, A3, A4: sizes announced, and sizes sent

# Around each place where a sum or a narrower type would overflow; a header is 14 bytes long.
LENGTHS = {
    **dict.fromkeys([MIB + 1, 2**31 - 1, 2**31, 2**32 - 14, 2**32, 2**32 + 1], TOO_BIG),
    **dict.fromkeys([2**62, 2**63 - 15, 2**63 - 14, 2**63 - 1], TOO_BIG),
    **dict.fromkeys([2**63, 2**63 + 1, 2**64 - 15, 2**64 - 14, 2**64 - 1], PROTOCOL_ERROR),
}


@pytest.mark.parametrize("begun", [b"", b"x" * 1000], ids=["first frame", "continuation"])
async def test_announced_length_is_refused_at_the_header_and_costs_no_memory(
    attack: Attack, begun: bytes
) -> None:
    async with attack() as victim:
        for length, code in LENGTHS.items():
            wire = await victim.connect()
            if begun:
                wire.write_frame(BINARY, begun, fin=False)
            opcode = CONTINUATION if begun else BINARY
            wire.write(reference.serialize_header(Frame(opcode), length, form=64))
            await wire.expect_failure(code)  # nothing of the payload has been sent
            await wire.close()
        found = await victim.closes(len(LENGTHS))
        assert sorted(code for code, _ in found) == sorted(LENGTHS.values())
        assert victim.peak_growth() < NOTHING


async def test_payload_that_was_announced_is_not_allocated_before_it_comes(attack: Attack) -> None:
    async with attack(max_size=2**40) as victim:
        for _ in range(20):
            wire = await victim.connect()
            wire.write(reference.serialize_header(Frame(BINARY), 2**40) + b"x" * 1000)
        report = await victim.report()
        assert report.opened == 20
        assert report.closes == []
        # One connection owns the memory for what is read ahead of it, and no more.
        assert victim.peak_growth() < 20 * 300_000 + NOTHING


async def test_message_that_was_announced_and_stalls_ends_with_its_idle_connection(
    attack: Attack,
) -> None:
    async with attack(ping_interval=None, idle_timeout=0.5, close_timeout=0.5) as victim:
        wires = [await victim.connect() for _ in range(20)]
        for wire in wires:
            wire.write(reference.serialize_header(Frame(BINARY), MIB) + b"x" * 1000)
        for wire in wires:
            assert (await wire.receive_close())[0] == GOING_AWAY
        report = await victim.report(closes=20)
        assert report.codes == [ABNORMAL] * 20  # nobody has answered
        assert report.limit_hits["idle_timeout"] == 20
        assert victim.peak_growth() < 20 * 300_000 + NOTHING


@pytest.mark.parametrize("piece", [8 * MIB, 64 * 1024, 1000])
async def test_message_one_byte_over_the_limit_costs_less_than_two_of_the_limit(
    attack: Attack, piece: int
) -> None:
    size = 8 * MIB
    async with attack(application=applications.count, max_size=size) as victim:
        wire = await victim.connect()
        whole = b"".join(
            reference.serialize(Frame(CONTINUATION if start else BINARY, bytes(piece), fin=False))
            for start in range(0, size - piece + 1, piece)
        )
        rest = bytes(size % piece)
        wire.write(whole + reference.serialize(Frame(CONTINUATION, rest)))
        wire.send("count")
        assert await wire.receive_message() == str(size + len("count"))
        assert victim.peak_growth() < 2 * size + NOTHING
        wire.write(whole + reference.serialize(Frame(CONTINUATION, rest + b"x")))
        await wire.expect_failure(TOO_BIG)
        assert victim.peak_growth() < 2 * size + NOTHING


# ---- A2, A8, A9, A10, A13: frames that break a rule


async def test_frame_that_breaks_a_rule_costs_its_connection_and_nothing_else(
    attack: Attack,
) -> None:
    async with attack() as victim:
        for data, code in INVALID.values():
            wire = await victim.connect()
            wire.write(BEFORE + data)
            assert await wire.receive_message() == "fine"
            await wire.expect_failure(code)
            await wire.close()
        found = await victim.closes(len(INVALID))
        assert sorted(code for code, _ in found) == sorted(code for _, code in INVALID.values())


RESERVED = {
    f"RSV {rsv:03b} on opcode {opcode:X}": reference.serialize(Frame(opcode, b"", rsv=rsv))
    for opcode, rsv in itertools.product((TEXT, BINARY, PING, PONG, CLOSE), range(1, 8))
    if rsv != RSV1 or opcode >= CLOSE
} | {
    f"RSV {rsv:03b} on a continuation of {begun:03b}": (
        reference.serialize(Frame(BINARY, b"x", fin=False, rsv=begun))
        + reference.serialize(Frame(CONTINUATION, b"y", rsv=rsv))
    )
    for begun, rsv in itertools.product((0, RSV1), range(1, 8))
}


async def test_reserved_bit_beside_the_one_of_compression_fails_where_that_was_agreed_on(
    attack: Attack,
) -> None:
    async with attack(compression=True) as victim:
        for data in RESERVED.values():
            wire = await victim.connect(headers=DEFLATE)
            wire.write(data)
            await wire.expect_failure(PROTOCOL_ERROR)
            await wire.close()
        assert {code for code, _ in await victim.closes(len(RESERVED))} == {PROTOCOL_ERROR}


async def test_flood_behind_a_close_is_dropped_unread_until_the_deadline(attack: Attack) -> None:
    async with attack(application=applications.count, close_timeout=0.5) as victim:
        wire = await victim.connect()
        wire.write_frame(BINARY, b"in the middle", fin=False)
        wire.write_close(1000)
        wire.write_close(1001)
        assert await wire.receive_close() == (1000, "")
        await pour(victim, wire, frames(TEXT, b"late" * 1000, 250), 100)
        assert await victim.closes() == [(1000, "")]
        assert victim.peak_growth() < NOTHING


# ---- A5, A6: many pieces


@pytest.mark.parametrize("payload", [b"", b"x"], ids=["empty", "one byte"])
@pytest.mark.parametrize("opcode", [TEXT, BINARY])
async def test_million_fragments_without_an_end_are_stopped_long_before(
    attack: Attack, opcode: int, payload: bytes
) -> None:
    async with attack() as victim:
        wire = await victim.connect()
        wire.write_frame(opcode, payload, fin=False)
        batch = reference.serialize(Frame(CONTINUATION, payload, fin=False)) * 10_000
        await pour(victim, wire, batch, 100)
        await wire.expect_failure(POLICY)
        await wire.close()
        report = await victim.report(closes=1)
        assert report.codes == [POLICY]
        assert report.limit_hits == {"fragment_count": 1}
        assert victim.peak_growth() < NOTHING


async def test_megabyte_in_segments_of_one_byte_is_kept_in_one_buffer(attack: Attack) -> None:
    count = 128 * 1024
    async with attack(application=applications.count) as victim:
        wire = await victim.connect()
        wire.write(reference.serialize_header(Frame(BINARY), MIB) + bytes(MIB - count))
        await drip(wire, bytes(count))
        wire.send("count")
        assert await wire.receive_message() == str(MIB + len("count"))
        # An object for each of them would be more than 4 MiB.
        assert victim.peak_growth() < 1.5 * MIB + NOTHING


async def test_million_tiny_messages_leave_memory_flat(attack: Attack) -> None:
    async with attack(application=applications.count) as victim:
        wire = await victim.connect()
        assert await pour(victim, wire, frames(BINARY, b"", 5000), 200) == 200
        await send_and_wait(wire, b"")
        assert victim.peak_growth() < NOTHING


# ---- A7: work that grows with the square of what is sent
# Nobody else is there: the time is the attack's.


async def send_and_wait(wire: Wire, data: bytes) -> None:
    """Send messages, and wait until the server has counted them."""
    wire.write(data)
    wire.send("count")
    await wire.receive_message()


async def test_twice_the_fragments_take_twice_the_time(attack: Attack) -> None:
    async with attack(application=applications.count, bystanders=0) as victim:
        wire = await victim.connect()

        async def flood(count: int) -> None:
            await send_and_wait(wire, fragments(b"x" * 32, count) * 8)

        assert await cpu_ratio(victim, flood, 16_384) < 2.5


async def test_segment_of_one_byte_costs_the_same_however_much_came_before_it(
    attack: Attack,
) -> None:
    count, size = 256, 8 * MIB
    async with attack(application=applications.count, bystanders=0, max_size=size) as victim:
        wire, other = await victim.connect(), await victim.connect()

        async def drip_and_measure() -> float:
            before = victim.cpu_s()
            for _ in range(count):
                wire.write(b"\0")
                await send_and_wait(other, b"")  # by then the byte has been read
            return victim.cpu_s() - before

        costs = Costs(2.5)
        while costs.are_in_doubt:
            wire.write(reference.serialize_header(Frame(BINARY), size))
            early = await drip_and_measure()
            wire.write(bytes(size - 2 * count))
            await wire.drain()
            costs.take(early, await drip_and_measure())
            await send_and_wait(wire, b"")
        assert costs.ratio < 2.5


async def test_twice_the_messages_for_a_slow_application_take_twice_the_time(
    attack: Attack,
) -> None:
    async with attack(application=applications.receive, bystanders=0) as victim:
        wire = await victim.connect()

        async def flood(count: int) -> None:
            wire.write(frames(BINARY, b"x", count))
            wire.send("end")
            assert await wire.receive_message() == "end"

        assert await cpu_ratio(victim, flood, 8_192) < 2.5


async def test_twice_the_header_lines_take_twice_the_time(attack: Attack) -> None:
    limits: dict[str, Any] = {"header_count": 5000, "header_block_size": MIB}
    async with attack(bystanders=0, **limits) as victim:

        async def flood(count: int) -> None:
            lines = [(f"X-{number}", "x") for number in range(count)]
            for _ in range(8):
                wire = await victim.open()
                wire.write(build_request([*upgrade_headers().items(), *lines]))
                assert (await wire.receive_head()).status == 101
                await wire.close()

        assert await cpu_ratio(victim, flood, 2048) < 2.5


async def test_twice_the_chunks_of_a_body_take_twice_the_time(attack: Attack) -> None:
    async with attack(bystanders=0, body_size=8 * MIB) as victim:
        wire = await victim.open()

        async def flood(count: int) -> None:
            head = {"Host": "example.com", "Transfer-Encoding": "chunked"}
            wire.write(build_request(head, method="POST"))
            wire.write(b"10\r\n0123456789abcdef\r\n" * count + b"0\r\n\r\n")
            assert (await wire.receive_head()).status == 200
            answer = b"%d\n" % (16 * count)
            assert await wire.receive(len(answer)) == answer

        assert await cpu_ratio(victim, flood, 32_768) < 2.5


# ---- A10, A14: control frames


@pytest.mark.parametrize("opcode", [PING, PONG])
async def test_flood_of_control_frames_is_stopped_at_its_budget(
    attack: Attack, opcode: int
) -> None:
    async with attack() as victim:
        wire = await victim.connect()
        wire.write(frames(opcode, b"x" * 125, 10_000))
        *pongs, close = await wire.receive_frames_until_close()
        assert reference.parse_close(close.payload)[1] == POLICY
        assert {pong.opcode for pong in pongs} <= {PONG}
        wire.write_close(POLICY)
        await wire.receive_end()
        await wire.close()
        report = await victim.report(closes=1)
        assert report.codes == [POLICY]
        assert report.limit_hits == {"control_rate": 1}


@pytest.mark.parametrize("payload", [b"", b"x" * 125], ids=["empty", "long"])
async def test_million_unsolicited_pongs_leave_memory_flat_where_they_are_let_in(
    attack: Attack, payload: bytes
) -> None:
    async with attack(application=applications.count, control_rate=None) as victim:
        wire = await victim.connect()
        count = 1000 if not payload else 100
        assert await pour(victim, wire, frames(PONG, payload, 1000), count) == count
        await send_and_wait(wire, b"")
        assert victim.peak_growth() < NOTHING


async def test_flood_of_pings_whose_pongs_are_not_read_leaves_memory_flat_and_is_dropped(
    attack: Attack,
) -> None:
    async with attack(control_rate=None, write_timeout=0.5) as victim:
        wire = await victim.connect(receive_buffer_size=4096)
        wire.writer.transport.pause_reading()  # type: ignore[attr-defined]
        # Whether the server goes on to read them, or waits with the pongs: it keeps the newest.
        await pour(victim, wire, frames(PING, b"p" * 125, 500), 500)
        report = await victim.report(closes=1)
        assert report.codes == [ABNORMAL]
        assert report.limit_hits["write_timeout"] == 1
        assert victim.peak_growth() < NOTHING


# ---- A11: memory of others on the wire


@pytest.mark.parametrize("compression", [None, {"threshold": 0}], ids=["plain", "compressed"])
async def test_what_is_sent_is_what_was_given_where_fresh_memory_is_filled_with_junk(
    attack: Attack, compression: dict[str, int] | None
) -> None:
    async with attack(
        application=applications.send_everything,
        bystanders=0,  # they would hear the broadcast
        # mallopt(3): what malloc gives, and what it gets back, is filled with this.
        environment={"MALLOC_PERTURB_": "85", "PYTHONMALLOC": "malloc"},
        compression=compression,
    ) as victim:
        wire = await victim.connect(headers=DEFLATE if compression else {})
        inflate = Client(wire).inflate if compression else bytes
        for way in ("send", "broadcast"):
            wire.send(way)
            for payload, wanted in applications.payloads():
                frame = await wire.receive_frame()
                assert frame.opcode == (TEXT if isinstance(payload, str) else BINARY)
                assert inflate(frame.payload) == wanted
        wire.send("ping")
        for _, wanted in applications.payloads():
            if len(wanted) <= 125:
                assert await wire.receive_ping() == wanted
        wire.send("close")
        assert await wire.receive_close() == (4321, "é" * 60)


# ---- A12: text that is not UTF-8


async def test_wrong_byte_ends_the_connection_long_before_the_message_ends(
    attack: Attack,
) -> None:
    async with attack() as victim:
        for bad, place in NOT_UTF8.items():
            wire = await victim.connect()
            wire.write(reference.serialize_header(Frame(TEXT, fin=False), MIB))
            text = b"0123456789" + bad[: place + 1]
            wire.write(reference.apply_mask(text, reference.MASK))
            await wire.expect_failure(INVALID_DATA)
            await wire.close()
        assert victim.peak_growth() < NOTHING


async def test_wrong_byte_is_found_across_fragments_in_close_reasons_and_in_compressed_text(
    attack: Attack,
) -> None:
    async with attack(compression=True) as victim:
        for bad in NOT_UTF8:
            deflated = zlib.compressobj(wbits=-15)
            payload = deflated.compress(b"fine" + bad) + deflated.flush(zlib.Z_SYNC_FLUSH)
            one_by_one = [
                Frame(CONTINUATION if i else TEXT, bad[i : i + 1], fin=i == len(bad) - 1)
                for i in range(len(bad))
            ]
            for attempt in (
                one_by_one,
                [Frame(CLOSE, reference.close_payload(1000, bad))],
                [Frame(TEXT, payload[:-4], rsv=RSV1)],
            ):
                wire = await victim.connect(headers=DEFLATE)
                for frame in attempt:
                    wire.write(reference.serialize(frame))
                await wire.expect_failure(INVALID_DATA)
                await wire.close()

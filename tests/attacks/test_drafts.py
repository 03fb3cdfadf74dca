"""Section 1F of the record: the drafts 75 and 76, hybi-07 and -08."""

import pytest
import reference
from reference import BINARY, PING, TEXT, Frame, serialize_hixie
from test_handshake_hixie76 import REFUSED_KEYS
from test_protocol_hixie import expect_dropped, receive_text
from test_reader import BEFORE, INVALID
from wire import KEY, KEY1, KEY2, KEY3, Wire, build_request, hixie_headers, upgrade_headers

from attacks import applications
from attacks.conftest import MIB, Attack
from attacks.floods import cpu_ratio, pour
from attacks.process import Victim

NOTHING = MIB  # see test_framing

DRAFTS = pytest.mark.parametrize("draft", [75, 76])

# Of the draft itself, section 1.3: "8jKS'y:G*Co,Wxa-" answers KEY1, KEY2 and KEY3.
ANSWER = b"8jKS'y:G*Co,Wxa-"


async def refuse(victim: Victim, request: bytes, *statuses: int) -> None:
    """Check that a request gets one of these answers, and that nothing else is heard behind it."""
    wire = await victim.open()
    wire.write(request)
    head = await wire.receive_head()
    assert head.status in statuses, f"{statuses} expected, got {head.status} for {request[:200]!r}"
    assert "close" in head.headers["connection"].split(", ")
    assert b"HTTP/1.1" not in await wire.receive_rest()
    await wire.close()


async def accept_76(victim: Victim, key3: bytes, behind: bytes = b"") -> Wire:
    """Shake hands with any third key, all of it in one segment."""
    wire = await victim.open()
    wire.write(build_request(hixie_headers(76)) + key3 + behind)
    assert (await wire.receive_head()).status == 101
    assert await wire.receive(16) == reference.answer_76(KEY1, KEY2, key3)
    return wire


# ---- the one option that switches them off, and proxies


async def test_one_option_switches_all_drafts_off(attack: Attack) -> None:
    async with attack(version="rfc6455") as victim:
        await refuse(victim, build_request(hixie_headers(75)), 400)
        await refuse(victim, build_request(hixie_headers(76)) + KEY3, 400)
        for number in (7, 8):
            await refuse(victim, build_request(upgrade_headers(number)), 426)


PROXY_HEADERS = ["Via", "Forwarded", "X-Forwarded-For", "X-Forwarded-Proto", "X-Real-IP"]


@pytest.mark.parametrize("name", PROXY_HEADERS)
async def test_draft_76_behind_a_proxy_is_refused_with_what_the_proxy_would_send_on(
    attack: Attack, name: str
) -> None:
    async with attack() as victim:
        head = build_request(hixie_headers(76) | {name: "1.1 proxy"})
        smuggled = b"GET /smuggled HTTP/1.1\r\nHost: example.com\r\n\r\n"
        await refuse(victim, head + smuggled, 400)


# ---- keys


async def test_vector_of_the_draft_is_answered_as_the_draft_says(attack: Attack) -> None:
    async with attack() as victim:
        wire = await victim.open()
        wire.write(build_request(hixie_headers(76)) + KEY3)
        assert (await wire.receive_head()).status == 101
        assert await wire.receive(16) == ANSWER


async def test_key_that_stands_for_no_number_is_refused(attack: Attack) -> None:
    async with attack() as victim:
        for name in ("Sec-WebSocket-Key1", "Sec-WebSocket-Key2"):
            for case in REFUSED_KEYS:
                request = build_request(hixie_headers(76) | {name: str(case.values[0])})
                await refuse(victim, request + KEY3, 400)


async def test_keys_of_no_version_of_several_or_of_one_twice_are_refused(attack: Attack) -> None:
    headers = hixie_headers(76)
    first, second = (("Sec-WebSocket-Key1", KEY1), ("Sec-WebSocket-Key2", KEY2))
    mixtures = [
        [*headers.items(), first],
        [*headers.items(), second],
        [*headers.items(), ("Sec-WebSocket-Key", KEY)],
        [*headers.items(), ("Sec-WebSocket-Version", "13")],
        [*headers.items(), ("Sec-WebSocket-Version", "0")],
        [*upgrade_headers().items(), first],
        [*upgrade_headers().items(), second],
        [*hixie_headers(75).items(), first],
        [*hixie_headers(75).items(), second],
    ]
    async with attack() as victim:
        for pairs in mixtures:
            await refuse(victim, build_request(pairs) + KEY3, 400)


@pytest.mark.parametrize("filling", ["9", "0", " ", "9 ", "x"])
async def test_key_of_twice_the_length_takes_no_more_than_twice_the_time(
    attack: Attack, filling: str
) -> None:
    async with attack(bystanders=0) as victim:

        async def flood(size: int) -> None:
            key = "7 " + (filling * size)[: size - 4] + "77"
            for _ in range(5):
                wire = await victim.open()
                wire.write(build_request(hixie_headers(76) | {"Sec-WebSocket-Key1": key}) + KEY3)
                assert (await wire.receive_head()).status in (101, 400)
                await wire.close()

        assert await cpu_ratio(victim, flood, 15_000) < 2.5


# ---- the eight bytes

THIRD_KEYS = [
    b"\r\n\r\n\r\n\r\n",
    b"GET / HT",
    b"\0" * 8,
    b"\xff" * 8,
    b"\xff\x00\xff\x00\x00\xff\x00\xff",
    b"\x00abc\xff\x00d\xff",
]


async def test_third_key_of_any_bytes_is_taken_once_and_eight_bytes_long(attack: Attack) -> None:
    async with attack() as victim:
        for key3 in THIRD_KEYS:
            behind = serialize_hixie("first") + serialize_hixie("second")
            wire = await accept_76(victim, key3, behind)
            assert [await receive_text(wire) for _ in range(2)] == ["first", "second"]
            await wire.close()
            wire = await victim.open()
            await wire.write_slowly(build_request(hixie_headers(76)) + key3 + behind)
            assert (await wire.receive_head()).status == 101
            assert await wire.receive(16) == reference.answer_76(KEY1, KEY2, key3)
            assert [await receive_text(wire) for _ in range(2)] == ["first", "second"]
            await wire.close()


async def test_third_key_that_never_comes_whole_ends_at_the_deadline_of_the_handshake(
    attack: Attack,
) -> None:
    async with attack(handshake_timeout=0.5) as victim:
        wires = []
        for size in range(8):
            wires.append(await victim.open())
            wires[-1].write(build_request(hixie_headers(76)) + KEY3[:size])
        for wire in wires:
            assert b"101" not in await wire.receive_rest()
        assert (await victim.report()).opened == 0


# ---- frames with a length (CVE-2026-54466, CVE-2026-54463)

# All of what may stand in a length: its largest value, zeros in front of it, no end.
ENDLESS = [b"\x80" * MIB, b"\xff" * MIB, b"\x80" * 4 + b"\x81" * MIB, b"\x80" * 5 + b"\x01"]


@DRAFTS
@pytest.mark.parametrize("first", [0x80, 0x81, 0xFE, 0xFF])
async def test_length_without_an_end_or_over_the_limit_is_given_up_at_the_header(
    attack: Attack, draft: int, first: int
) -> None:
    over = [b"\xc0\x80\x01", b"\xff\xff\xff\xff\x7f", b"\x80\xc0\x80\x01"]  # 2^20 + 1 and more
    async with attack() as victim:
        for length in [*ENDLESS, *over]:
            wire = await victim.connect_hixie(draft)
            wire.write(bytes([first]) + length)
            await expect_dropped(wire, draft)
        await victim.closes(len(ENDLESS) + len(over))
        assert victim.peak_growth() < NOTHING


@DRAFTS
async def test_frames_that_are_skipped_are_not_kept(attack: Attack, draft: int) -> None:
    async with attack() as victim:
        wire = await victim.connect_hixie(draft)
        with_length = b"\x80\xc0\x80\x00" + b"\xff\x00" * (MIB // 2)  # 2^20 bytes
        assert await pour(victim, wire, with_length, 16) == 16
        wire.write(b"\x42")
        assert await pour(victim, wire, b"\x00 no end " * 100_000, 16) == 16
        wire.write(b"\xff" + serialize_hixie("after"))
        assert await receive_text(wire) == "after"
        assert victim.peak_growth() < NOTHING


# ---- frames of text


@DRAFTS
async def test_text_without_an_end_is_cut_off_at_the_limit(attack: Attack, draft: int) -> None:
    size = 4 * MIB
    async with attack(max_size=size) as victim:
        wire = await victim.connect_hixie(draft)
        wire.write(b"\x00")
        await pour(victim, wire, b"x" * 65536, 2 * size // 65536)
        await expect_dropped(wire, draft)
        await victim.closes()
        assert victim.peak_growth() < 2 * size + NOTHING


@DRAFTS
async def test_text_that_is_not_utf8_ends_the_connection_at_its_first_wrong_byte(
    attack: Attack, draft: int
) -> None:
    bad = [b"\xc3\x28", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\xe2\x82\xff", b"\xc0\xaf", b"\x80"]
    async with attack() as victim:
        for data in bad:
            wire = await victim.connect_hixie(draft)
            wire.write(b"\x00fine" + data)  # no end has come
            await expect_dropped(wire, draft)
        await victim.closes(len(bad))


@DRAFTS
async def test_text_of_twice_as_many_segments_and_frames_takes_twice_the_time(
    attack: Attack, draft: int
) -> None:
    async with attack(application=applications.count, bystanders=0) as victim:
        wire = await victim.connect_hixie(draft)

        async def flood(count: int) -> None:
            # Skipped, of no type that is known, and of text that is cut at every border of a read.
            wire.write((b"\x80\x02\xff\x00" + b"\x42text\xff") * count)
            wire.write(b"\x00" + b"long " * count + b"\xff")
            await receive_text(wire)

        assert await cpu_ratio(victim, flood, 50_000) < 2.5


async def test_ff_00_closes_draft_76_wherever_it_is_cut_and_nothing_behind_it_counts(
    attack: Attack,
) -> None:
    async with attack() as victim:
        for pieces in ([b"\xff\x00"], [b"\xff", b"\x00"], [b"\x00half\xff\xff", b"\x00late"]):
            wire = await victim.connect_hixie(76)
            for piece in pieces:
                wire.write(piece)
                await wire.receive(6) if b"half" in piece else None
            wire.write(serialize_hixie("too late"))
            assert await wire.receive(2) == b"\xff\x00"
            await wire.receive_end()
            await wire.close()
        # Only just so: a length that is 0 in two bytes is one of a frame that is skipped too.
        for other in (b"\xff\x01x", b"\xfe\x00", b"\x80\x00"):
            wire = await victim.connect_hixie(76)
            wire.write(other + serialize_hixie("still here"))
            assert await receive_text(wire) == "still here"
            await wire.close()


# ---- what is echoed in the head of the answer

BREAKING = [b"\r", b"\n", b"\0", b"\x0b", b"\x1c", b"\x1b[2J", b"\x7f", b"\x85", b"\xe9"]


@DRAFTS
@pytest.mark.parametrize("place", [b"Origin: http://", b"Host: ", b"GET /"], ids=repr)
async def test_byte_that_would_break_the_answer_is_refused_where_it_would_be_echoed(
    attack: Attack, draft: int, place: bytes
) -> None:
    async with attack() as victim:
        for bad in BREAKING:
            request = build_request(hixie_headers(draft)).replace(place, place + b"x" + bad + b"y")
            await refuse(victim, request + (KEY3 if draft == 76 else b""), 400)


# ---- no framing is ever read as another


@DRAFTS
@pytest.mark.parametrize("opcode", [TEXT, BINARY, PING])
async def test_frame_of_rfc_6455_sent_to_a_draft_is_skipped_by_its_second_byte(
    attack: Attack, draft: int, opcode: int
) -> None:
    async with attack() as victim:
        for payload in (b"fake", b"\x00fake\xff", b"x" * 125):
            wire = await victim.connect_hixie(draft)
            # The bit of the mask says that the length goes on, with the first byte of the mask: 0.
            frame = reference.serialize(Frame(opcode, payload), mask=b"\0\0\0\0")
            rest = bytes(len(payload) * 128 - len(frame[3:]))
            wire.write(frame + rest + serialize_hixie("after"))
            assert await receive_text(wire) == "after"
            await wire.close()


@pytest.mark.parametrize("version", [7, 8, 13])
async def test_frames_of_a_draft_sent_to_a_later_version_fail(attack: Attack, version: int) -> None:
    async with attack() as victim:
        for data in (serialize_hixie("fake"), b"\xff\x00", b"\x80\x05Hello", b"\x42fake\xff"):
            wire = await victim.connect(version=version)
            wire.write(data)
            await wire.expect_failure(1002)
            await wire.close()


@pytest.mark.parametrize("version", [7, 8])
async def test_frame_that_breaks_a_rule_of_rfc_6455_breaks_it_in_its_drafts_too(
    attack: Attack, version: int
) -> None:
    async with attack() as victim:
        for data, code in INVALID.values():
            wire = await victim.connect(version=version)
            wire.write(BEFORE + data)
            assert await wire.receive_message() == "fine"
            await wire.expect_failure(code)
            await wire.close()

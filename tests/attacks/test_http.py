"""Section 1C of the record: the handshake and the HTTP/1.1 front (RFC 9112; RFC 6455, section 4).

What each malformed request is answered with, limit by limit, stands in tests/test_http_*.py and
tests/test_handshake_*.py; here it is what a peer can do to the process with it.
"""

import asyncio
import contextlib
import itertools
import json
import random
import urllib.parse
from collections.abc import Iterable

import pytest
from http_wire import Answer, receive_answer, receive_refusal
from wire import (
    KEY3,
    PATIENCE_S,
    Head,
    Wire,
    build_request,
    hixie_headers,
    upgrade_headers,
)

from attacks import hosts
from attacks.conftest import Attack
from attacks.floods import cpu_ratio
from attacks.process import Victim

GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
CHUNKED = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
MIB = 2**20


def headers_of(version: int) -> dict[str, str]:
    """Give the headers of an opening handshake of any version."""
    return hixie_headers(version) if version > 70 else upgrade_headers(version)


async def receive_end(wire: Wire) -> None:
    """Wait for the server's end, whatever comes before."""
    with contextlib.suppress(ConnectionError):
        await wire.receive_rest()


async def receive_head(wire: Wire) -> Head | None:
    """Read the head of an answer; None where the server has hung up without one."""
    try:
        return await wire.receive_head()
    except (ConnectionError, asyncio.IncompleteReadError):
        return None


async def ask(victim: Victim, raw: bytes) -> Answer:
    """Send one request on a connection of its own, and give the answer."""
    async with await victim.open() as wire:
        wire.write(raw)
        return await receive_answer(wire)


# ---- C1: too many headers ------------------------------------------------------------------------


@pytest.mark.parametrize("version", [75, 76, 13])
async def test_handshake_with_too_many_headers_is_refused_with_431(
    attack: Attack, version: int
) -> None:
    async with attack(header_block_size=MIB) as victim:
        for count in (100, 101, 2000, 100_000):
            pairs = list(headers_of(version).items())
            pairs += [(f"X-{number}", "") for number in range(count - len(pairs))]
            async with await victim.open() as wire:
                wire.write(build_request(pairs) + KEY3 * (version == 76))
                if count == 100:
                    assert (await wire.receive_head()).status == 101
                else:
                    await receive_refusal(wire, 431)


# ---- C2: what never ends -------------------------------------------------------------------------

# What has no end, and what stands before it.
ENDLESS = {
    "request line": (b"GET /", b"a", 414),
    "header value": (GET[:-2] + b"A: ", b"a", 431),
    "header name": (GET[:-2], b"a", 431),
    "headers": (GET[:-2], b"A: b\r\n", 431),
    "empty headers": (GET[:-2], b"A:\r\n", 431),
    "empty lines": (b"", b"\r\n", 400),
    "chunk size": (CHUNKED, b"0", 400),
    "chunk extension": (CHUNKED + b"1;", b"a", 400),
    "trailer": (CHUNKED + b"0\r\nA: ", b"a", 431),
    "trailers": (CHUNKED + b"0\r\n", b"A: b\r\n", 431),
    "tiny chunks": (CHUNKED, b"1\r\na\r\n", 400),
}
ENDLESS_THINGS = pytest.mark.parametrize(
    ("before", "endless", "status"), ENDLESS.values(), ids=ENDLESS.keys()
)
# And the time that it takes to send all of it in segments of one byte.
SMALL_LIMITS = {
    "request_line_size": 500,
    "header_block_size": 2000,
    "handshake_timeout": 60.0,
    "body_timeout": 60.0,
}


@ENDLESS_THINGS
async def test_what_never_ends_is_cut_off_and_not_kept(
    attack: Attack, before: bytes, endless: bytes, status: int
) -> None:
    async with attack() as victim:
        wires = [await victim.open() for _ in range(4)]
        for wire in wires:
            wire.write(before + endless * (4 * MIB // len(endless)))
        for wire in wires:
            assert (await receive_answer(wire)).status == status
            # The rest of 4 MiB is dropped, or never read.
            wire.reset()
        assert victim.peak_growth() < len(wires) * MIB // 2


@ENDLESS_THINGS
async def test_what_never_ends_is_cut_off_byte_by_byte_too(
    attack: Attack, before: bytes, endless: bytes, status: int
) -> None:
    async with attack(**SMALL_LIMITS) as victim, await victim.open() as wire:
        wire.write(before)
        # Tiny chunks are counted from 4096 on; all else is over its limit long before.
        await wire.write_slowly(endless * (30_000 // len(endless)))
        assert (await receive_answer(wire)).status == status


@pytest.mark.parametrize("place", ["request line", "header value", "headers", "trailers", "body"])
async def test_reading_in_pieces_takes_time_in_proportion_to_the_bytes(
    attack: Attack, place: str
) -> None:
    limits = {"request_line_size": 8 * MIB, "header_block_size": 8 * MIB, "header_count": 10**6}
    async with attack(**limits, body_size=8 * MIB) as victim, await victim.connect() as pacer:
        line = (b"A: " + b"a" * 507 + b"\r\n") * 8
        before, piece, after = {
            "request line": (b"GET /", b"a" * 4096, b" HTTP/1.1\r\nHost: a\r\n\r\n"),
            "header value": (GET[:-2] + b"A: ", b"a" * 4096, b"\r\n\r\n"),
            "headers": (GET[:-2], line, b"\r\n"),
            "trailers": (CHUNKED + b"0\r\n", line, b"\r\n"),
            "body": (CHUNKED, b"1000\r\n" + b"a" * 4096 + b"\r\n", b"0\r\n\r\n"),
        }[place]

        async def take(count: int) -> None:
            wires = [await victim.open() for _ in range(4)]
            for part in (before, *[piece] * count, after):
                for wire in wires:
                    wire.write(part)
                # When this is back, the server has been through all sockets: what it reads next
                # is the next piece, however busy the machine is.
                pacer.send("next")
                assert await pacer.receive_message() == "next"
            for wire in wires:
                assert (await receive_answer(wire)).status == 200
                await wire.close()

        assert await cpu_ratio(victim, take, 64, enough=3) < 3


# ---- C3: slowness --------------------------------------------------------------------------------


async def test_slow_openings_end_at_a_deadline_that_bytes_do_not_move(attack: Attack) -> None:
    # A machine that is too busy to serve the good ones before the deadline is given more time.
    for seconds in (2.0, 8.0, 32.0):
        if await are_others_served_meanwhile(attack, seconds):
            return
    pytest.fail("nobody was served while there were slow openings")


async def are_others_served_meanwhile(attack: Attack, seconds: float) -> bool:
    """Open 300 connections slowly until their deadline; tell whether others got through first."""
    async with attack(handshake_timeout=seconds) as victim:
        opening = build_request(upgrade_headers())[:-2] + b"Cookie: " + b"a" * 10_000
        sloths = [await victim.open() for _ in range(300)]
        ended: list[Wire] = []

        async def crawl(wire: Wire, start: int) -> None:
            for byte in opening[start:]:
                if wire.reader.has_ended:
                    break
                wire.write(bytes([byte]))
                await asyncio.sleep(0.1)
            ended.append(wire)
            await receive_end(wire)

        crawling = [
            asyncio.create_task(crawl(wire, number % 100)) for number, wire in enumerate(sloths)
        ]
        for _ in range(10):
            async with await victim.connect() as wire:
                wire.send("good")
                assert await wire.receive_message() == "good"
        are_served = len(ended) < len(sloths)
        # None of them has stopped sending, or come to the end of what it has: a deadline that
        # counted from the last byte would never come.
        async with asyncio.timeout(PATIENCE_S * 2 + seconds):
            await asyncio.gather(*crawling)
        assert (await victim.report()).opened == 10
        return are_served


async def test_openings_that_stop_anywhere_end_at_the_deadline(attack: Attack) -> None:
    async with attack(handshake_timeout=1.0) as victim:
        wires = []
        for version in (76, 13):
            opening = build_request(headers_of(version)) + KEY3 * (version == 76)
            for size in range(len(opening)):
                wires.append(await victim.open())
                wires[-1].write(opening[:size])
        for wire in wires:
            await receive_end(wire)
        assert (await victim.report()).opened == 0


# ---- C4: every byte in every place ---------------------------------------------------------------

VALUES = {
    "Origin": "http://example.com",
    "Sec-WebSocket-Protocol": "chat",
    "Sec-WebSocket-Extensions": "permessage-deflate; client_max_window_bits=10",
    "Cookie": "a=b",
    "Accept": "*/*",
}
FIELDS = [
    *((13, name) for name in ("Host", "Upgrade", "Connection", "Sec-WebSocket-Key", *VALUES)),
    (13, "Sec-WebSocket-Version"),
    (76, "Host"),
    (76, "Origin"),
    (76, "Sec-WebSocket-Protocol"),
    (76, "Sec-WebSocket-Key1"),
]
ANSWERS = {101, 200, 400, 426, 501, 505}


async def expect_answers(victim: Victim, requests: Iterable[bytes]) -> None:
    """Check that each request is answered with 101, or refused."""
    waiting = iter(requests)
    while some := list(itertools.islice(waiting, 64)):
        wires = [await victim.open() for _ in some]
        for wire, request in zip(wires, some, strict=True):
            wire.write(request)
        for wire in wires:
            head = await wire.receive_head()
            assert head.status in ANSWERS, head.raw
            assert not set(head.raw.replace(b"\r\n", b"")) & {0, 10, 13}
            wire.reset()


@pytest.mark.parametrize(("version", "name"), FIELDS)
async def test_any_byte_in_a_header_is_answered_or_refused(
    attack: Attack, version: int, name: str
) -> None:
    async with attack(application=hosts.curious, subprotocol="chat", compression=True) as victim:
        headers = headers_of(version)
        value = headers.get(name, VALUES.get(name, "x"))
        half = len(value) // 2
        await expect_answers(
            victim,
            (
                build_request(headers | {name: value[:half] + chr(byte) + value[half:]})
                + KEY3 * (version == 76)
                for byte in range(256)
            ),
        )


@pytest.mark.parametrize("place", ["method", "path", "query", "protocol", "header name"])
async def test_any_byte_elsewhere_in_a_request_is_answered_or_refused(
    attack: Attack, place: str
) -> None:
    async with attack(application=hosts.curious) as victim:
        before, after = {
            "method": (b"G", b"T / HTTP/1.1\r\n"),
            "path": (b"GET /a", b"b HTTP/1.1\r\n"),
            "query": (b"GET /?a=%", b"b HTTP/1.1\r\n"),
            "protocol": (b"GET / HTTP/1.", b"\r\n"),
            "header name": (b"GET / HTTP/1.1\r\nA", b"b: c\r\n"),
        }[place]
        for rest in (b"Host: a\r\n\r\n", build_request(upgrade_headers()).partition(b"\r\n")[2]):
            await expect_answers(
                victim, (before + bytes([byte]) + after + rest for byte in range(256))
            )


# ---- C5: long runs of one character --------------------------------------------------------------

RUNS_OF = {
    "spaces": ("b", " ", "x"),
    "tabs": ("", "\t", "x"),
    "commas": ("a", ",", "a"),
    "pairs": ("a", ",a", ""),
    "quotes": ("a; b=", '"', ""),
    "unclosed": ('a; b="', "\\", ""),
    "semicolons": ("a", ";", ""),
    "equals": ("a", "=", ""),
    "percents": ("a=", "%2", ""),
    "zeros": ("", "0", "1"),
}
LISTS = [
    "Upgrade",
    "Connection",
    "Sec-WebSocket-Key",
    "Sec-WebSocket-Version",
    "Sec-WebSocket-Protocol",
    "Sec-WebSocket-Extensions",
    "Origin",
    "Cookie",
]


@pytest.mark.parametrize("run", RUNS_OF)
async def test_long_runs_of_a_character_cost_no_more_than_their_length(
    attack: Attack, run: str
) -> None:
    first, filling, last = RUNS_OF[run]
    async with attack(
        application=hosts.curious,
        subprotocol="chat",
        compression=True,
        header_block_size=MIB,
        request_line_size=MIB,
    ) as victim:
        for name in [*LISTS, "target"]:

            async def take(size: int, name: str = name) -> None:
                text = first + filling * (size // len(filling)) + last
                headers, target = upgrade_headers(), "/"
                if name == "target":
                    target = "/?" + text.strip().replace(" ", "+").replace("\t", "+")
                else:
                    headers |= {name: text}
                async with await victim.open() as wire:
                    wire.write(build_request(headers, target=target))
                    assert (await wire.receive_head()).status in (101, 200, 400, 426)

            assert await cpu_ratio(victim, take, 32_000, enough=3) < 3, name


# ---- C6: pipelines -------------------------------------------------------------------------------


@pytest.mark.parametrize("target", ["/slow", "/page", "/"])
async def test_pipelined_requests_are_not_piled_up_for_a_peer_that_reads_nothing(
    attack: Attack, target: str
) -> None:
    async with attack(application=hosts.hesitant) as victim:
        wires = [await victim.open(receive_buffer_size=4096) for _ in range(4)]
        for wire in wires:
            wire.writer.transport.pause_reading()
            wire.write(GET.replace(b"/", target.encode(), 1) * 400_000)
        # Each of them is stuck: what the server and the kernel do not take stays at the client.
        left: list[int] = []

        def look() -> list[int]:
            left[:] = [wire.writer.transport.get_write_buffer_size() for wire in wires]
            return left.copy()

        await victim.settle(look)
        if target != "/":
            assert min(left) > MIB
        assert victim.peak_growth() < len(wires) * 2 * MIB
        for wire in wires:
            wire.reset()
        # On a paused socket the asyncio engine sees a reset when it writes.
        for switch in (b"/go", b"/stop"):
            await ask(victim, GET.replace(b"/", switch, 1))


# ---- C7: handshakes that are none ----------------------------------------------------------------

BAD_HANDSHAKES = {
    "no key": ({"Sec-WebSocket-Key": None}, 400),
    "short key": ({"Sec-WebSocket-Key": "AAAA"}, 400),
    "long key": ({"Sec-WebSocket-Key": "A" * 30_000}, 400),
    "key that is no base64": ({"Sec-WebSocket-Key": "!" * 24}, 400),
    "version 12": ({"Sec-WebSocket-Version": "12"}, 426),
    "version 14": ({"Sec-WebSocket-Version": "14"}, 426),
    "two versions": ({"Sec-WebSocket-Version": "13, 8"}, 400),
    "negative version": ({"Sec-WebSocket-Version": "-1"}, 400),
    "endless version": ({"Sec-WebSocket-Version": "1" * 30_000}, 400),
    "no Connection": ({"Connection": None}, 400),
    "other Connection": ({"Connection": "keep-alive"}, 400),
    "no Host": ({"Host": None}, 400),
    "keys of two versions": ({"Sec-WebSocket-Key1": "1 2"}, 400),
}
BAD_LINES = {
    "HTTP/1.0": (b"GET / HTTP/1.0", 400),
    "HTTP/2.0": (b"GET / HTTP/2.0", 505),
    "POST": (b"POST / HTTP/1.1", 400),
    "absolute form": (b"GET http://example.com/ HTTP/1.1", 400),
    "no slash": (b"GET chat HTTP/1.1", 400),
    "asterisk": (b"GET * HTTP/1.1", 400),
    "connect": (b"CONNECT example.com:80 HTTP/1.1", 501),
}


async def test_flood_of_wrong_handshakes_opens_nothing_and_leaves_nothing(attack: Attack) -> None:
    async with attack() as victim:
        wrong = []
        for changed, status in BAD_HANDSHAKES.values():
            headers = {k: v for k, v in (upgrade_headers() | changed).items() if v is not None}
            wrong.append((build_request(headers), status))
        request = build_request(upgrade_headers())
        for line, status in BAD_LINES.values():
            wrong.append((request.replace(b"GET / HTTP/1.1", line), status))
        for raw, status in wrong * 10:
            async with await victim.open() as wire:
                # With a frame behind it, which nobody may take for one.
                wire.write(raw + b"\x81\x82\0\0\0\0no")
                head = (await receive_answer(wire)).head
                assert head.status == status
                assert head.headers["connection"] in ("close", "Upgrade, close")
                assert head.headers.get("sec-websocket-version", "13, 8, 7") == "13, 8, 7"
                await wire.receive_end()
        assert (await victim.report()).opened == 0


# ---- C8: what the application passes on ----------------------------------------------------------

INJECTIONS = [
    "a\r\nSet-Cookie: x=y",
    "a\r\n\r\n<script>",
    "a\rb",
    "a\nb",
    *(f"a{character}b" for character in "\0\x0b\x0c\x1b\x1c\x1d\x1e\x1f\x7f\x85"),
    "a\u2028b",
    "a\ud800b",
]


def aim(place: str, text: str) -> str:
    """Give the target that has the careless application put a text in a place."""
    raw = text.encode("utf-8", "surrogateescape") if "\ud800" not in text else b"a\xed\xa0\x80b"
    return f"/?place={urllib.parse.quote(place)}&text={urllib.parse.quote_from_bytes(raw)}"


@pytest.mark.parametrize(
    "place",
    [
        "header name",
        "header value",
        "header pairs",
        "reason",
        "location",
        "connection",
        "length",
        "refused header",
        "file header",
    ],
)
async def test_line_breaks_of_the_application_put_nothing_into_a_response(
    attack: Attack, place: str
) -> None:
    async with attack(application=hosts.careless) as victim, await victim.open() as teller:
        for text in INJECTIONS:
            answer = await ask(
                victim, f"GET {aim(place, text)} HTTP/1.1\r\nHost: a\r\n\r\n".encode()
            )
            assert answer.status == 500, answer.head.raw
            assert "x-a" not in answer.headers
            assert "set-cookie" not in answer.headers
            assert b"script" not in answer.head.raw + answer.body
        teller.write(GET)
        raised = json.loads((await receive_answer(teller)).body)
        assert raised == ["ValueError"] * len(INJECTIONS)


@pytest.mark.parametrize(
    "place", ["subprotocol", "choice", "handshake name", "handshake value", "refusal"]
)
async def test_line_breaks_of_the_application_put_nothing_into_a_handshake(
    attack: Attack, place: str
) -> None:
    async with attack(application=hosts.careless) as victim, await victim.open() as teller:
        headers = upgrade_headers() | {"Sec-WebSocket-Protocol": "a, b"}
        for text in [*INJECTIONS, "c" * (place in ("subprotocol", "choice")) or "\0"]:
            async with await victim.open() as wire:
                wire.write(build_request(headers, target=aim(place, text)))
                answer = await receive_refusal(wire, 500)
                assert "set-cookie" not in answer.headers
                assert "sec-websocket-protocol" not in answer.headers
                assert b"script" not in answer.head.raw + answer.body
        teller.write(GET)
        raised = json.loads((await receive_answer(teller)).body)
        assert raised == ["ValueError"] * (len(INJECTIONS) + 1)


@pytest.mark.parametrize("place", ["close reason", "message", "ping"])
async def test_text_that_cannot_be_sent_puts_nothing_into_a_connection(
    attack: Attack, place: str
) -> None:
    async with attack(application=hosts.careless) as victim, await victim.open() as teller:
        wrong = {
            "close reason": [*INJECTIONS[:-2], INJECTIONS[-1], "a" * 124],
            "message": [INJECTIONS[-1]],
            "ping": [INJECTIONS[-1], "a" * 126],
        }[place]
        for text in wrong:
            async with await victim.connect(target=aim(place, text)) as wire:
                wire.send("go")
                # The first thing that comes is that the application has failed.
                assert await wire.receive_close() == (1011, "")
        teller.write(GET)
        raised = json.loads((await receive_answer(teller)).body)
        assert set(raised) <= {"ValueError", "UnicodeEncodeError"}
        assert len(raised) == len(wrong)


# ---- C9: whose answer ----------------------------------------------------------------------------


async def test_every_answer_is_that_of_its_own_request_whatever_is_cancelled(
    attack: Attack,
) -> None:
    chance = random.Random(9)
    crossed: list[bytes] = []
    answered = itertools.count()

    async def visit(victim: Victim, visitor: int) -> None:
        async with await victim.open() as wire:
            tags = [f"/{visitor}-{number}" for number in range(12)]
            for tag in tags:
                body = tag * chance.randrange(3)
                lines = [
                    f"POST {tag} HTTP/1.1",
                    "Host: a",
                    f"Content-Length: {len(body)}",
                    "",
                    body,
                ]
                wire.write("\r\n".join(lines).encode())
            for tag in tags[: chance.randrange(len(tags) + 1)]:
                body = (await receive_answer(wire)).body
                next(answered)
                if body.split(b" ")[0] != tag.encode() or body.replace(tag.encode(), b"").strip():
                    crossed.append(body)
            # Gone in the middle of its answers, half of them without a word.
            if chance.random() < 0.5:
                wire.reset()

    async with attack(application=hosts.tagged) as victim:
        for first in range(0, 200, 20):
            await asyncio.gather(*(visit(victim, first + number) for number in range(20)))
    assert not crossed
    assert next(answered) > 500


async def test_every_message_is_received_once_and_in_order_whatever_is_cancelled(
    attack: Attack,
) -> None:
    chance = random.Random(9)

    async def converse(victim: Victim, visitor: int) -> None:
        async with await victim.connect() as wire:
            tags = [f"{visitor}-{number}" for number in range(100)]
            for tag in tags:
                wire.send(tag)
                if chance.random() < 0.3:
                    await asyncio.sleep(0.001)
            assert [await wire.receive_message() for _ in tags] == tags

    async with attack(application=hosts.tagged) as victim:
        await asyncio.gather(*(converse(victim, visitor) for visitor in range(20)))


async def test_pong_ends_the_ping_that_it_answers_whichever_was_given_up(attack: Attack) -> None:
    async with attack(application=hosts.tagged) as victim, await victim.connect() as wire:
        for _ in range(100):
            wire.send("ping")
            assert [await wire.receive_ping(), await wire.receive_ping()] == [b"lost", b"kept"]
            wire.write_frame(0xA, b"kept")
            assert await wire.receive_message() == "pinged"

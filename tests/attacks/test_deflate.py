"""Section 1B of the record: permessage-deflate (RFC 7692)."""

import asyncio
import importlib.util
import itertools
import os
import zlib
from collections.abc import Iterator
from typing import Any

import pytest
import reference
from costly import make_nothing
from costs import Costs
from reference import (
    BINARY,
    CLOSE,
    CONTINUATION,
    INVALID_DATA,
    POLICY,
    RSV1,
    TEXT,
    TOO_BIG,
    Frame,
)
from test_compression import CORRUPT, HELLO_BLOCK, LAST_BLOCK, Client, bomb
from test_deflate import WRONG_VALUES
from test_inflation import COSTLY, FEW, Neighbour, send_all_but_the_end, send_end
from wire import Wire, build_request, upgrade_headers

from attacks import applications
from attacks.conftest import MIB, Attack, settle
from attacks.floods import cpu_ratio
from attacks.process import Victim

NOTHING = MIB  # see test_framing

# Offered by every client here: it may remember, and has the largest window.
OFFER = {"Sec-WebSocket-Extensions": "permessage-deflate; client_max_window_bits"}
WIDE = {"Sec-WebSocket-Extensions": "permessage-deflate"}

FORGETS = {"threshold": 0}
REMEMBERS = {
    "threshold": 0,
    "server_max_window_bits": 15,
    "client_max_window_bits": 15,
    "server_context_takeover": True,
    "server_history_size": 32768,
    "client_context_takeover": True,
}


@pytest.fixture(params=["zlib", "zlib_ng.zlib_ng"])
def codec(request: pytest.FixtureRequest) -> dict[str, str]:
    """What the server compresses with, as its environment has it."""
    name: str = request.param
    if importlib.util.find_spec(name.partition(".")[0]) is None:
        pytest.skip(f"{name} is not installed")
    return {"VICTIM_CODEC": name}


@pytest.fixture(params=[FORGETS, REMEMBERS], ids=["forgets", "remembers"])
def compression(request: pytest.FixtureRequest) -> dict[str, Any]:
    settings: dict[str, Any] = request.param
    return settings


def deflated(payload: bytes) -> bytes:
    """Give the frame of a compressed binary message."""
    return reference.serialize(Frame(BINARY, payload, rsv=RSV1))


def cut_up(payload: bytes, size: int) -> Iterator[bytes]:
    """Give the frames of a compressed message in fragments of so many bytes."""
    for place in range(0, len(payload), size):
        yield reference.serialize(
            Frame(
                CONTINUATION if place else BINARY,
                payload[place : place + size],
                fin=place + size >= len(payload),
                rsv=0 if place else RSV1,
            )
        )


# ---- B1, B2: bombs


async def test_bomb_of_sixteen_megabytes_costs_no_more_memory_than_the_limit(
    attack: Attack, codec: dict[str, str], compression: dict[str, Any]
) -> None:
    payload = bomb(16 * MIB)
    assert len(payload) < 17_000
    async with attack(environment=codec, compression=compression) as victim:
        for _ in range(20):
            wire = await victim.connect(headers=WIDE)
            wire.write(deflated(payload))
            await wire.expect_failure(TOO_BIG)
            await wire.close()
        assert {code for code, _ in await victim.closes(20)} == {TOO_BIG}
        assert victim.peak_growth() < 1.5 * MIB + NOTHING


async def test_bombs_of_many_clients_at_once_cost_no_more_than_one(
    attack: Attack, codec: dict[str, str]
) -> None:
    payload = deflated(bomb(16 * MIB))
    async with attack(environment=codec, compression=FORGETS) as victim:
        wires = [await victim.connect(headers=WIDE) for _ in range(100)]
        for wire in wires:
            wire.write(payload)
        for wire in wires:
            await wire.expect_failure(TOO_BIG)
        assert victim.peak_growth() < 1.5 * MIB + 100 * 20_000 + NOTHING


async def test_bomb_takes_no_more_time_than_the_largest_message_that_is_allowed(
    attack: Attack, codec: dict[str, str]
) -> None:
    allowed, forbidden = deflated(bomb(MIB)), deflated(bomb(64 * MIB))
    async with attack(
        application=applications.count, environment=codec, bystanders=0, compression=FORGETS
    ) as victim:

        async def measure(data: bytes, code: int | None) -> float:
            wires = [await victim.connect(headers=WIDE) for _ in range(10)]
            before = victim.cpu_s()
            for wire in wires:
                wire.write(data)
                if code is None:
                    wire.write_close()
                    assert await wire.receive_close() == (1000, "")
                else:
                    assert (await wire.receive_close())[0] == code
                await wire.close()
            return victim.cpu_s() - before

        costs = Costs(2.5)
        while costs.are_in_doubt:
            costs.take(await measure(allowed, None), await measure(forbidden, TOO_BIG))
        assert costs.ratio < 2.5  # 64 where the whole of it was inflated


async def test_bomb_in_fragments_of_one_byte_is_stopped_by_its_size_or_by_its_pieces(
    attack: Attack, codec: dict[str, str]
) -> None:
    async with attack(environment=codec, compression=FORGETS, max_size=100_000) as victim:
        for size, code in ((500_000, TOO_BIG), (16 * MIB, POLICY)):
            wire = await victim.connect(headers=WIDE)
            wire.write(b"".join(cut_up(bomb(size), 1)))
            await wire.expect_failure(code)
        assert victim.peak_growth() < NOTHING


async def test_bomb_behind_honest_messages_of_the_same_context_is_stopped(
    attack: Attack, codec: dict[str, str]
) -> None:
    async with attack(environment=codec, compression=REMEMBERS) as victim:
        for _ in range(5):
            client = Client(await victim.connect(headers=OFFER))
            for number in range(10):
                client.send(f"honest {number}" * 100)
                assert await client.receive() == f"honest {number}" * 100
            client.send(bytes(16 * MIB))
            await client.wire.expect_failure(TOO_BIG)
            await client.wire.close()
        assert victim.peak_growth() < 1.5 * MIB + NOTHING


async def test_small_messages_that_inflate_to_the_limit_are_held_to_the_queue_of_who_is_slow(
    attack: Attack, codec: dict[str, str]
) -> None:
    async with attack(
        application=applications.receive, environment=codec, compression=FORGETS
    ) as victim:
        wire = await victim.connect(headers=WIDE)
        wire.write(deflated(bomb(MIB)) * 100)
        client = Client(wire)
        for _ in range(100):
            assert await client.receive() == bytes(100_000)
        # The queue, one message that passed its limit, one with the application, one in the making.
        assert victim.peak_growth() < (2 + 1 + 1 + 1) * MIB + NOTHING


async def test_empty_blocks_of_many_clients_leave_everybody_else_their_turns(
    attack: Attack, codec: dict[str, str], compression: dict[str, Any]
) -> None:
    async with attack(environment=codec, compression=compression) as victim:
        neighbour = Neighbour(await victim.connect())
        clients = [Client(await victim.connect(headers=WIDE)) for _ in range(10)]
        for client in clients:
            await send_all_but_the_end(client, COSTLY)
        before = await victim.turn_count()
        for client in clients:
            send_end(client, COSTLY)
        for client in clients:
            assert await client.receive() == b""
            await client.wire.close()
        # Two for each of them where a message is inflated in one go.
        assert await victim.turn_count() - before >= 10 * FEW
        await neighbour.leave()
        assert victim.peak_growth() < 10 * 1.5 * MIB + NOTHING


async def test_many_messages_in_the_middle_of_being_inflated_hold_no_more_than_a_few(
    attack: Attack, codec: dict[str, str], compression: dict[str, Any]
) -> None:
    # All but what nothing comes of is inflated at once, and that takes a few milliseconds.
    packer = zlib.compressobj(9, zlib.DEFLATED, -9)
    begin = packer.compress(bytes(900_000)) + packer.flush(zlib.Z_SYNC_FLUSH)
    payload = begin + make_nothing("flat", 20_000)
    assert len(begin) < 5000
    async with attack(
        application=applications.count, environment=codec, compression=compression
    ) as victim:
        clients = [Client(await victim.connect(headers=WIDE)) for _ in range(100)]
        for client in clients:
            await send_all_but_the_end(client, payload)
        for client in clients:
            send_end(client, payload)
        for client in clients:
            client.wire.send("count")
        for client in clients:
            assert await client.receive() == "900005"
            await client.wire.close()
        # In the middle, the one that is going on, its message, and what the spare ones keep.
        assert victim.peak_growth() < (1 + 3 * 1) * MIB + 100 * 4 * len(payload) + NOTHING


async def test_many_short_messages_of_empty_blocks_leave_others_their_turns(
    attack: Attack, codec: dict[str, str]
) -> None:
    async with attack(environment=codec, compression=FORGETS) as victim:
        neighbour = Neighbour(await victim.connect())
        client = Client(await victim.connect(headers=WIDE))
        frame = deflated(make_nothing("flat", 2000))
        client.wire.write(frame * 500)
        assert await client.receive() == b""
        before = await victim.turn_count()
        for _ in range(499):
            assert await client.receive() == b""
        assert await victim.turn_count() - before >= FEW
        await neighbour.leave()
        await client.wire.close()


# ---- B3, B7: streams that are not what they should be


async def test_corrupt_message_costs_its_connection_and_leaves_nothing_behind(
    attack: Attack, codec: dict[str, str], compression: dict[str, Any]
) -> None:
    async with attack(environment=codec, compression=compression) as victim:
        for payload in CORRUPT.values():
            client = Client(await victim.connect(headers=OFFER))
            client.wire.write_frame(TEXT, payload, rsv=RSV1)
            client.send("behind it")
            await client.wire.expect_failure(INVALID_DATA)
            await client.wire.close()
        found = await victim.closes(len(CORRUPT))
        assert {code for code, _ in found} == {INVALID_DATA}
        assert victim.peak_growth() < NOTHING


@pytest.mark.parametrize("size", [1, 3, 1000])
async def test_no_message_is_smuggled_in_behind_the_last_block_of_another(
    attack: Attack, codec: dict[str, str], compression: dict[str, Any], size: int
) -> None:
    async with attack(environment=codec, compression=compression) as victim:
        for hidden in (HELLO_BLOCK, LAST_BLOCK, b"JUNK", b"\0" * 500):
            client = Client(await victim.connect(headers=OFFER))
            for frame in cut_up(LAST_BLOCK, size):  # an honest one, of which it is the last block
                client.wire.write(frame)
            client.wire.write(b"".join(cut_up(HELLO_BLOCK, size)))
            client.wire.write(b"".join(cut_up(LAST_BLOCK[:-1] + hidden, size)))
            client.wire.write(b"".join(cut_up(HELLO_BLOCK, size)))
            assert await client.receive() == b"Hello"
            assert await client.receive() == b"Hello"
            await client.wire.expect_failure(INVALID_DATA)
            await client.wire.close()


async def test_hundred_thousand_empty_compressed_messages_leave_memory_flat(
    attack: Attack, codec: dict[str, str], compression: dict[str, Any]
) -> None:
    async with attack(
        application=applications.count, environment=codec, compression=compression
    ) as victim:
        client = Client(await victim.connect(headers=OFFER))
        for _ in range(100):
            client.wire.write(deflated(b"\0") * 1000)
            await client.wire.drain()
        client.send("count")
        assert await client.receive() == "5"
        assert victim.peak_growth() < NOTHING


# ---- B4: offers


HOSTILE_OFFERS = [
    *(
        f"permessage-deflate; {side}_max_window_bits={value}"
        for side, value in itertools.product(("server", "client"), WRONG_VALUES)
        if value.isascii() and value.isprintable()
    ),
    ", ".join(["permessage-deflate; server_max_window_bits=8"] * 170),
    ", ".join(["permessage-deflate; x"] * 350),
    ", ".join(f"x{number}" for number in range(1000)),
    'permessage-deflate; x="' + "y" * 8000,
    'permessage-deflate; x="' + '\\"' * 4000,
    "permessage-deflate; " + "client_no_context_takeover; " * 250,
    "permessage-deflate; " + "a=" * 4000,
]


async def test_hostile_offer_is_declined_or_refused(attack: Attack) -> None:
    async with attack(compression=True) as victim:
        for offer in HOSTILE_OFFERS:
            wire = await victim.open()
            headers = upgrade_headers() | {"Sec-WebSocket-Extensions": offer}
            wire.write(build_request(headers))
            head = await wire.receive_head()
            if head.status == 101:
                assert "sec-websocket-extensions" not in head.headers
                wire.send("as it is")
                assert await wire.receive_message() == "as it is"
            else:
                assert head.status in (400, 431)
            await wire.close()
        assert victim.peak_growth() < NOTHING


@pytest.mark.parametrize("block", ['"', '",', "\\", ";", ",", " ", "a=", "permessage-deflate;x,"])
async def test_offer_of_twice_the_length_takes_no_more_than_twice_the_time(
    attack: Attack, block: str
) -> None:
    async with attack(compression=True, bystanders=0) as victim:

        async def flood(size: int) -> None:
            offer = 'permessage-deflate; x="y"; z=' + (block * size)[:size] + "."
            headers = upgrade_headers() | {"Sec-WebSocket-Extensions": offer}
            for _ in range(5):
                wire = await victim.open()
                wire.write(build_request(headers))
                assert (await wire.receive_head()).status in (101, 400)
                await wire.close()

        assert await cpu_ratio(victim, flood, 15_000) < 2.5


# ---- B5: states that are left behind


async def come_and_go(victim: Victim, number: int) -> None:
    """Use a context of each side, and leave in one of seven ways."""
    client = Client(await victim.connect(headers=OFFER))
    message = f"visitor {number} " * 200
    client.send(message)
    assert await client.receive() == message
    way = number % 7
    if way == 0:
        await client.wire.shake_close()
    elif way == 1:
        client.wire.reset()
    elif way == 2:
        client.wire.write_eof()
    elif way == 3:
        client.wire.write_frame(TEXT, b"\xff" * 10, rsv=RSV1)
    elif way == 4:
        client.wire.write_frame(TEXT, HELLO_BLOCK[:3], fin=False, rsv=RSV1)
    elif way == 5:
        client.wire.write_frame(BINARY, bomb(2 * MIB), rsv=RSV1)
    else:
        client.wire.write_frame(CLOSE, b"\x03")
    await client.wire.close()


# How many rounds of how many visitors: what the record asks for takes half an hour.
ROUNDS = (20, 10_000) if os.environ.get("SOCKWAVE_LONG") == "1" else (6, 70)


# The memory of a large message is kept that long for the next one, and a little more.
MEMORY_KEPT_S = 0.3


async def churn(victim: Victim, rounds: int, count: int) -> list[int]:
    """Let so many connections come and go, in rounds, and give the memory after each."""
    sizes = []
    for _ in range(rounds):
        for first in range(0, count, 50):
            await asyncio.gather(
                *(come_and_go(victim, number) for number in range(first, min(first + 50, count)))
            )
            await victim.report()  # which lets it forget what it saw: that would be memory, too
        await settle(victim, 0)
        await asyncio.sleep(MEMORY_KEPT_S)
        await victim.ask("settle")
        sizes.append(victim.own_size())
    return sizes


async def test_memory_after_many_rounds_of_compressing_visitors_is_that_after_three(
    attack: Attack, codec: dict[str, str], compression: dict[str, Any]
) -> None:
    async with attack(environment=codec, compression=compression, bystanders=0) as victim:
        sizes = await churn(victim, *ROUNDS)
        assert sizes[-1] <= sizes[2] * 1.05, sizes


async def test_connection_that_remembers_costs_two_windows_and_a_compressor_at_most(
    attack: Attack, codec: dict[str, str]
) -> None:
    count = 50
    async with attack(environment=codec, compression=REMEMBERS) as victim:
        for number in range(count):
            client = Client(await victim.connect(headers=OFFER))
            message = "".join(chr(32 + (number * i * i) % 90) for i in range(60_000))
            client.send(message)
            assert await client.receive() == message
        # 2^(15 + 2) + 2^(5 + 9) of the compressor and some more of zlib-ng's, 32 KiB of the window.
        assert victim.peak_growth() < count * 320 * 1024 + NOTHING


# ---- B6: lengths that tell a secret (CRIME, BREACH)


async def answer_size(wire: Wire, message: str) -> int:
    wire.send(message)
    frame = await wire.receive_frame()
    assert bool(frame.rsv) != message.startswith("plain ")
    return len(frame.payload)


async def test_message_beside_a_secret_has_the_same_length_whatever_is_guessed(
    attack: Attack,
) -> None:
    right, wrong = applications.SECRET, "token=" + "qjzvyX"
    async with attack(
        application=applications.reflect_beside_secret, compression=FORGETS
    ) as victim:
        wire = await victim.connect(headers=WIDE)
        # That the attack works where the application lets it:
        assert await answer_size(wire, right) < await answer_size(wire, wrong)
        # ... and what is left of it with `compress=False`:
        guesses = [right, wrong, right[:8] + wrong[8:]]
        sizes = [await answer_size(wire, f"plain {guess}") for guess in guesses]
        assert len(set(sizes)) == 1

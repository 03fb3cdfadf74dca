"""Section 1E of the record: peers that are slow, that stall, and that vanish at the worst moment.

The rules one by one stand in tests/test_slow.py, test_flow_control.py, test_close_handshake.py and
test_listener_endings.py.
"""

import ast
import asyncio
import contextlib
import io
import itertools
import json
import re
import resource
import tokenize
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from costs import LEAST_COUNT, MOST_COUNT
from http_wire import receive_answer
from reference import BINARY, CLOSE, PING, PONG, TEXT, Frame, close_payload, serialize
from wire import PATIENCE_S, Wire, build_request, hixie_headers, upgrade_headers

import sockwave
from attacks import hosts
from attacks.conftest import Attack
from attacks.process import Victim

MIB = 2**20
GONE = (ConnectionError, asyncio.IncompleteReadError)


async def get(victim: Victim, target: str) -> bytes:
    """Ask the application for something, and give the body of its answer."""
    async with await victim.open() as wire:
        wire.write(f"GET {target} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
        return (await receive_answer(wire)).body


async def spend(victim: Victim, action: Awaitable[object]) -> float:
    """Give the CPU time, in seconds, that the server uses until `action` is done."""
    before = victim.cpu_s()
    await action
    return victim.cpu_s() - before


async def spend_at_rest(victim: Victim, allowed_s: float) -> float:
    """Give the least CPU time that the server uses in a second; of several, while that is more than
    it may be: who spins does so in each, and what a neighbour costs is not ours."""
    least = await spend(victim, asyncio.sleep(1.0))
    for _ in range(4):
        if least < allowed_s:
            break
        least = min(least, await spend(victim, asyncio.sleep(1.0)))
    return least


async def wait_for_departures(victim: Victim, left: int) -> None:
    """Wait until the server has so many connections, and no descriptor but theirs."""
    async with asyncio.timeout(PATIENCE_S * 2):
        while True:
            descriptors = victim.descriptor_count() - victim.idle_descriptors
            if descriptors == left == (await victim.ask("settle")).connections:
                return
            await asyncio.sleep(0.02)


async def stuff(victim: Victim, wires: list[Wire]) -> None:
    """Wait until the server takes no more of what these have been given to send."""
    await victim.settle(lambda: [wire.writer.transport.get_write_buffer_size() for wire in wires])


# ---- E1, E3: one side is faster ------------------------------------------------------------------


@pytest.mark.parametrize("slow", ["close", "drop_new", "drop_old"])
async def test_who_never_reads_costs_its_backlog_and_no_more(attack: Attack, slow: str) -> None:
    async with attack(
        application=hosts.flooding, slow=slow, max_backlog=MIB // 2, close_timeout=0.5
    ) as victim:
        sleepers = []
        for _ in range(8):
            sleepers.append(await victim.connect(target="/reader", receive_buffer_size=4096))
            sleepers[-1].writer.transport.pause_reading()
        async with await victim.connect(target="/flood") as flood:
            # 16 MB for each of them.
            flood.send("250")
            assert int(await flood.receive_message()) <= MIB // 2
            if slow == "close":
                codes = [code for code, _ in await victim.closes(len(sleepers))]
                assert codes == [1013] * len(sleepers)
        assert victim.peak_growth() < len(sleepers) * MIB // 2 + 3 * MIB


async def test_who_is_faster_than_the_application_waits_in_the_kernel_and_loses_nothing(
    attack: Attack,
) -> None:
    async with attack(application=hosts.hesitant, queue_size=MIB // 2) as victim:
        wires = [await victim.connect(target="/hesitant") for _ in range(2)]
        count = 1_000
        frames = [
            serialize(Frame(BINARY, number.to_bytes(4, "big") * 4000)) for number in range(count)
        ]
        for wire in wires:
            wire.write(b"".join(frames))
            wire.write_frame(TEXT, "end")
        await stuff(victim, wires)
        # The window is closed: most of the 16 MB has not left the sender.
        for wire in wires:
            assert wire.writer.transport.get_write_buffer_size() > MIB
        assert victim.peak_growth() < len(wires) * MIB + 3 * MIB
        assert await get(victim, "/go") == b"ok\n"
        for wire in wires:
            assert await wire.receive_message() == f"{count}"
        await get(victim, "/stop")


# ---- E4: ends that do not end --------------------------------------------------------------------


async def ignore(wire: Wire) -> None:
    """Let the server's close stand unanswered."""


async def answer_only(wire: Wire) -> None:
    """Answer the close, and keep the socket."""
    wire.write_close(1000)


async def begin(wire: Wire) -> None:
    """Close first, and keep the socket."""
    wire.write_close(1000)
    assert (await wire.receive_close())[0] == 1000


async def drip(wire: Wire) -> None:
    """Talk on, a byte at a time, for as long as the server stands it."""
    frame = serialize(Frame(TEXT, b"and another thing"))
    while not wire.reader.has_ended:
        for byte in frame:
            wire.write(bytes([byte]))
            await asyncio.sleep(0.01)


async def ping_on(wire: Wire) -> None:
    """Ask for signs of life from who has said goodbye."""
    while not wire.reader.has_ended:
        wire.write_frame(PING, b"still there?")
        await asyncio.sleep(0.01)


async def test_close_that_the_peer_does_not_finish_ends_in_time(attack: Attack) -> None:
    async with attack(application=hosts.hesitant, close_timeout=0.5, bystanders=2) as victim:
        behaving = []
        for behave in (ignore, answer_only, begin, drip, ping_on):
            for _ in range(10):
                wire = await victim.connect(target="/" if behave is begin else "/closed")
                if behave is not begin:
                    assert (await wire.receive_close())[0] == 1000
                behaving.append(asyncio.create_task(behave(wire)))
        # The sockets of this side are all open yet, and the server's are gone.
        await wait_for_departures(victim, 2)
        for task in behaving:
            task.cancel()
        outcomes = await asyncio.gather(*behaving, return_exceptions=True)
        assert {type(outcome) for outcome in outcomes} <= {
            type(None),
            asyncio.CancelledError,
            ConnectionResetError,
            BrokenPipeError,
        }


# ---- E5: vanishing, in every state ---------------------------------------------------------------

OPENING = build_request(upgrade_headers())
MESSAGE = serialize(Frame(BINARY, b"x" * 70_000))


async def open_with(victim: Victim, data: bytes) -> Wire:
    wire = await victim.open()
    wire.write(data)
    return wire


async def open_stuck(victim: Victim, opening: bytes) -> Wire:
    """Ask for far more than is read."""
    wire = await victim.open(receive_buffer_size=4096)
    wire.writer.transport.pause_reading()
    wire.write(opening)
    return wire


async def connect_with(victim: Victim, data: bytes, target: str = "/") -> Wire:
    wire = await victim.connect(target=target)
    wire.write(data)
    return wire


def request(target: str, *fields: str) -> bytes:
    lines = [f"POST {target} HTTP/1.1", "Host: a", *fields]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


STATES: dict[str, Callable[[Victim], Awaitable[Wire]]] = {
    "nothing sent": lambda victim: victim.open(),
    "half a request line": lambda victim: open_with(victim, OPENING[:7]),
    "half a head": lambda victim: open_with(victim, OPENING[:60]),
    "draft 76 without its last bytes": lambda victim: open_with(
        victim, build_request(hixie_headers(76)) + b"123"
    ),
    "an undecided handshake": lambda victim: open_with(
        victim, build_request(upgrade_headers(), target="/undecided")
    ),
    "an unanswered request": lambda victim: open_with(victim, request("/slow")),
    "half a body": lambda victim: open_with(
        victim, request("/body", "Content-Length: 9") + b"half"
    ),
    "half a chunk": lambda victim: open_with(
        victim, request("/body", "Transfer-Encoding: chunked") + b"9\r\nhalf"
    ),
    "a body that waits for 100": lambda victim: open_with(
        victim, request("/slow", "Content-Length: 9", "Expect: 100-continue")
    ),
    "half an answer": lambda victim: open_stuck(victim, request("/large")),
    "answers that wait": lambda victim: open_stuck(victim, request("/page") * 100),
    "connected": lambda victim: connect_with(victim, b""),
    "half a frame header": lambda victim: connect_with(victim, MESSAGE[:3]),
    "half a payload": lambda victim: connect_with(victim, MESSAGE[:30_000]),
    "half a message": lambda victim: connect_with(
        victim, serialize(Frame(TEXT, b"half", fin=False))
    ),
    "a backlog": lambda victim: open_stuck(
        victim, build_request(upgrade_headers(), target="/large")
    ),
    "paused reading": lambda victim: connect_with(victim, MESSAGE * 100, "/paused"),
    "close received": lambda victim: connect_with(
        victim, serialize(Frame(CLOSE, close_payload(1000)))
    ),
    "close sent": lambda victim: connect_with(victim, b"", "/closed"),
    "failed": lambda victim: connect_with(victim, b"\xff\xff"),
}


async def reset(wire: Wire) -> None:
    wire.reset()


async def half_close(wire: Wire) -> None:
    with contextlib.suppress(OSError):
        wire.write_eof()


async def close_fully(wire: Wire) -> None:
    wire.writer.transport.abort()


async def test_vanishing_in_any_state_leaves_the_loop_at_rest(attack: Attack) -> None:
    # Without bystanders, whose messages would be counted too.
    async with attack(
        application=hosts.hesitant,
        bystanders=0,
        max_backlog=32 * MIB,
        close_timeout=2.0,
        handshake_timeout=2.0,
    ) as victim:
        # In the same wake-up as the bytes before, and later.
        for vanish, late in itertools.product((reset, half_close, close_fully), (False, True)):
            wires = [await reach(victim) for reach in STATES.values()]
            if late:
                await victim.report()
            for wire in wires:
                await vanish(wire)
        await victim.report()
        await asyncio.sleep(0.3)
        used = await spend_at_rest(victim, 0.01)
        assert used < 0.01, f"{used * 100:.1f} % of a core, with nothing to do"
        # Who waits for the application is answered, and leaves.
        await get(victim, "/go")
        await get(victim, "/stop")


# ---- E7: ends from within ------------------------------------------------------------------------


async def visit(victim: Victim, moment: str, action: str) -> None:
    """Make an event happen whose listener ends something, and follow where it leads."""
    target = f"/touch?at={moment}&do={action.replace(' ', '+')}"
    async with await victim.open() as wire:
        with contextlib.suppress(*GONE):
            wire.write(build_request(upgrade_headers(), target=target))
            await wire.receive_head()
            match moment:
                case "message" | "ping" | "pong":
                    wire.write_frame({"message": TEXT, "ping": PING, "pong": PONG}[moment], b"go")
                case "drain":
                    wire.writer.transport.pause_reading()
                    wire.send("fill")
                    await asyncio.sleep(0.01)
                    wire.writer.transport.resume_reading()
                    while (await wire.receive_frame()).payload != b"filled":
                        pass
            wire.write_close(1000)
            while (await wire.receive_frame()).opcode != CLOSE:
                pass
            await wire.receive_rest()


async def test_ending_connections_within_any_listener_hurts_nothing_else(attack: Attack) -> None:
    async with attack(application=hosts.touchy, high_water=MIB // 4, max_backlog=4 * MIB) as victim:
        combinations = list(hosts.every_combination())
        for _ in range(3):
            # One after the other, and all at once: then they end each other too, and new ones
            # get the descriptors of those that were ended in the same wake-up.
            await asyncio.gather(*(visit(victim, *one) for one in combinations))
        raised = json.loads(await get(victim, "/"))
        assert set(raised) == {"on purpose"}
        for moment, action in combinations:
            await visit(victim, moment, action)
        raised = json.loads(await get(victim, "/"))
        assert raised == ["on purpose"] * len(hosts.MOMENTS)


# ---- E8: no descriptors left ---------------------------------------------------------------------


async def test_server_without_descriptors_does_not_spin_and_recovers(attack: Attack) -> None:
    async with attack(bystanders=1) as victim:
        soft, hard = resource.prlimit(victim.pid, resource.RLIMIT_NOFILE)
        wires = []
        try:
            resource.prlimit(
                victim.pid, resource.RLIMIT_NOFILE, (victim.descriptor_count() + 5, hard)
            )
            for _ in range(50):
                wires.append(await victim.open())
                wires[-1].write(OPENING)
            await victim.report()
            used = await spend_at_rest(victim, 0.05)
            assert used < 0.05, f"{used * 100:.1f} % of a core, with nothing to accept"
        finally:
            resource.prlimit(victim.pid, resource.RLIMIT_NOFILE, (soft, hard))
        # Everybody's turn comes, also of those who have waited.
        for wire in wires:
            assert (await wire.receive_head()).status == 101
            wire.send("at last")
            assert await wire.receive_message() == "at last"
        await victim.report()
        said = victim.take_log()
        assert len(said) == 1, "said once, however long it lasts"
        assert "accept" in said[0]


# ---- E9, E10: secrets, and those who guess them --------------------------------------------------

SOURCES = Path(sockwave.__file__).parent
SECRETS = re.compile(r"secret|passw|token_hex|credential|digest|signature|hmac|api_key", re.I)


def compared_names(source: str) -> list[str]:
    """Give what stands in comparisons by == and != in a module of Python."""
    return [
        ast.unparse(node)
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Compare)
        and any(isinstance(one, ast.Eq | ast.NotEq) for one in node.ops)
    ]


def test_no_secret_is_compared_but_in_constant_time() -> None:
    # Python's == stops at the first byte that differs, which can be measured from outside.
    for path in SOURCES.rglob("*.py"):
        for comparison in compared_names(path.read_text("utf-8")):
            assert not SECRETS.search(comparison), f"{path}: {comparison}: hmac.compare_digest"
    for path in SOURCES.rglob("*.pyx"):
        tokens = tokenize.generate_tokens(io.StringIO(path.read_text("utf-8")).readline)
        lines = {token.line for token in tokens if token.string in ("==", "!=")}
        for line in lines:
            assert not SECRETS.search(line), f"{path}: {line}: hmac.compare_digest"


# A refusal is about a tenth cheaper, and by so much two clocks of the same work may differ.
NOISE = 1.2


async def knock(victim: Victim, count: int, target: str, source: str) -> None:
    """Try to connect so often, each time until the server ends it."""
    for _ in range(count):
        reader, writer = await asyncio.open_connection(*victim.address, local_addr=(source, 0))
        writer.write(build_request(upgrade_headers(), target=target))
        with contextlib.suppress(ConnectionError):
            if (await reader.read(1000)).startswith(b"HTTP/1.1 101 "):
                writer.write(serialize(Frame(CLOSE, close_payload(1000))))
            await reader.read()
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


async def test_refusing_who_tries_too_often_costs_no_more_than_letting_in(attack: Attack) -> None:
    async with attack(application=hosts.refusing, bystanders=1) as victim:
        costs: dict[str, float] = {}
        for rounds in range(1, MOST_COUNT + 1):
            for name, target, source in (
                ("let in", "/", "127.0.0.1"),
                ("refused with 429", "/refused", "127.0.0.1"),
                ("not even read", "/", "127.0.0.2"),
            ):
                used = await spend(victim, knock(victim, 50, target, source))
                costs[name] = min(used, costs.get(name, used))
            not_read, refused, let_in = (
                costs[name] for name in ("not even read", "refused with 429", "let in")
            )
            if rounds >= LEAST_COUNT and not_read < refused < let_in * NOISE:
                break
        print({name: f"{cost / 50 * 1e6:.0f} us each" for name, cost in costs.items()})
        assert not_read < refused
        assert refused < let_in * NOISE
        assert (await victim.report()).opened == 50 * rounds


async def test_guesser_is_told_429_and_when_to_come_back(attack: Attack) -> None:
    async with attack(application=hosts.refusing) as victim:
        for _ in range(100):
            async with await victim.open() as wire:
                wire.write(build_request(upgrade_headers(), target="/refused"))
                head = (await receive_answer(wire)).head
                assert (head.status, head.headers["retry-after"]) == (429, "60")
                await wire.receive_end()
        assert (await victim.report()).opened == 0

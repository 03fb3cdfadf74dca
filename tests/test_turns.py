"""What takes long for each of many who come together is done bit by bit: others have their turn."""

import asyncio
import gc
import itertools
import socket
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from conftest import StartServer, echo
from wire import Wire, build_request, each_turn, upgrade_headers, wait_until

import sockwave

COUNT = 40
#: So many take longer than a turn has for them, without any work of the application's.
CROWD_COUNT = 400
#: What the application takes for each: longer than all of them together have in a turn.
WORK_S = 0.002
#: Who may have been served before somebody else has had an answer; of one after the other, 2 or 3.
FEW = 10


class Judge:
    """Judges origins, and takes its time; turns all of them away but those of friends."""

    def __init__(self) -> None:
        self.judged: list[str] = []

    def __call__(self, origin: str | None) -> bool:
        if origin is None:
            return True
        time.sleep(WORK_S)
        self.judged.append(origin)
        return origin == "http://friend"


def ask_from(origin: str) -> bytes:
    """Give a request to connect from there."""
    return build_request({**upgrade_headers(), "Origin": origin})


@contextmanager
def collections() -> Iterator[list[int]]:
    """Collect no garbage but what is asked for, and note of which generation that is."""
    generations: list[int] = []

    def note(phase: str, info: dict[str, int]) -> None:
        if phase == "start":
            generations.append(info["generation"])

    threshold, *more = gc.get_threshold()
    gc.set_threshold(1_000_000, *more)
    gc.callbacks.append(note)
    try:
        yield generations
    finally:
        gc.callbacks.remove(note)
        gc.set_threshold(threshold, *more)


async def come(server: sockwave.Server, count: int) -> list[Wire]:
    """Connect so many times, and ask for nothing yet."""
    crowd = [await Wire.open(server.addresses[0]) for _ in range(count)]
    await wait_until(lambda: len(server._host.not_upgraded()) == count)
    return crowd


async def test_newcomers_who_come_together_let_others_have_their_turn(
    start_server: StartServer,
) -> None:
    judge = Judge()
    server = await start_server(origin=judge)
    echo(server)
    other = await Wire.connect(server.addresses[0])
    crowd = await come(server, COUNT)
    origins = [f"http://stranger{number}" for number in range(COUNT)]
    for wire, origin in zip(crowd, origins, strict=True):
        wire.write(ask_from(origin))
    other.send("hello")
    assert await other.receive_message() == "hello"
    assert len(judge.judged) < FEW
    for wire in crowd:
        assert (await wire.receive_head()).status == 403
    assert sorted(judge.judged) == sorted(origins)
    await Wire.close_all()


async def test_request_that_waits_for_its_turn_may_come_in_pieces(
    start_server: StartServer,
) -> None:
    server = await start_server(origin=Judge())
    echo(server)
    crowd = await come(server, COUNT)
    # Behind an empty line (RFC 9112, 2.2): nothing that would be kept until it is whole.
    raw = b"\r\n" + ask_from("http://friend")
    await asyncio.gather(
        *(wire.write_pieces(raw, [5 + number, 60]) for number, wire in enumerate(crowd))
    )
    for wire in crowd:
        assert (await wire.receive_head()).status == 101
        wire.send("hello")
        assert await wire.receive_message() == "hello"
    await Wire.close_all()


def send_fin(wire: Wire) -> None:
    """End our side in order."""
    wire.write_eof()


def send_rst(wire: Wire) -> None:
    """End at once."""
    wire.writer.transport.abort()


@pytest.mark.parametrize("leave", [send_fin, send_rst])
async def test_who_leaves_while_waiting_for_a_turn_leaves_nothing_behind(
    leave: Callable[[Wire], None], start_server: StartServer
) -> None:
    server = await start_server(origin=Judge())
    crowd = await come(server, COUNT)
    for wire in crowd:
        wire.write(ask_from("http://stranger"))
        leave(wire)
    await wait_until(lambda: not server._host.engine.transport_count)
    assert not server._host.not_upgraded()
    assert not server._host.openings.under_way


async def test_who_waits_for_a_turn_may_have_to_make_room(start_server: StartServer) -> None:
    decided = asyncio.Event()
    # Who has been judged waits for the application, and still counts.
    server = await start_server(
        origin=Judge(), authorize=lambda _: decided.wait(), max_handshakes=COUNT
    )
    crowd = await come(server, COUNT)
    for wire in crowd:
        wire.write(ask_from("http://friend"))
    # All in the same turn of the loop.
    late = [socket.create_connection(server.addresses[0]) for _ in range(COUNT // 2)]
    admission = server._host.admission
    await wait_until(
        lambda: len(admission.awaiting_application) + server.limit_hits["max_handshakes"] >= COUNT
    )
    decided.set()
    statuses = Counter([(await wire.receive_head()).status for wire in crowd])
    assert set(statuses) == {101, 503}
    assert statuses.total() == COUNT
    for one in late:
        one.close()
    await Wire.close_all()


@pytest.mark.slow
async def test_who_waits_for_a_turn_is_answered_when_the_server_closes(
    start_server: StartServer,
) -> None:
    judge = Judge()
    server = await start_server(origin=judge)
    crowd = await come(server, COUNT)
    for wire in crowd:
        wire.write(ask_from("http://stranger"))
    await wait_until(lambda: judge.judged)
    ended = server.close()
    for wire in crowd:
        assert (await wire.receive_head()).status == 403
    await Wire.close_all()
    await ended


@pytest.mark.slow
async def test_deadlines_that_pass_together_let_others_have_their_turn(
    start_server: StartServer,
) -> None:
    server = await start_server(handshake_timeout=5.0)  # in which all have come
    crowd = await come(server, CROWD_COUNT)
    for wire in crowd:
        wire.write(ask_from("http://stranger")[:-2])
    counts = [CROWD_COUNT]
    with each_turn(server.loop, lambda: counts.append(len(server._host.not_upgraded()))):
        await wait_until(lambda: not counts[-1])
    for wire in crowd:
        assert (await wire.receive_head()).status == 408
    # All have come within two ticks, so that half of them would end in one turn; a turn has time
    # for a tenth of them on a fast machine.
    assert max(before - after for before, after in itertools.pairwise(counts)) < CROWD_COUNT // 4
    await Wire.close_all()


@pytest.mark.slow
async def test_garbage_is_collected_for_few_newcomers_at_a_time_where_each_makes_much(
    start_server: StartServer, engine: str
) -> None:
    server = await start_server()
    with collections() as generations:
        await come(server, CROWD_COUNT)
    assert generations == [0] * (CROWD_COUNT // 32 if engine == "asyncio" else 0)
    await Wire.close_all()


@pytest.mark.slow
async def test_who_has_switched_the_collector_of_garbage_off_has_it_off(
    start_server: StartServer,
) -> None:
    server = await start_server()
    gc.disable()
    try:
        with collections() as generations:
            await come(server, CROWD_COUNT)
    finally:
        gc.enable()
    assert generations == []
    await Wire.close_all()

"""What other designs fall into, and the test that catches each.

| trap | caught by |
|---|---|
| replay and subscribe in two steps: a hole between them | `test_sequencer_model.py` (a mistake of its), `test_a_long_replay_goes_as_fast_as_the_client_takes_it`, T3 |
| a last message that is dropped is never missed | `test_a_worker_that_was_stopped_hears_of_all_that_it_has_missed` here, `test_a_slow_link_loses_messages_and_is_told_of_which_topics`, the model |
| late records of a replay reach the next subscription | `test_a_client_that_leaves_during_a_replay_gets_no_more`, the model |
| an epoch is used again | `test_of_a_new_log_all_that_is_kept_comes_behind_the_gap`, `test_a_new_sequencer_has_new_epochs`, the model; a log that is not lost goes on: here, and T25 |
| a gap swallows a LEAVE | `test_a_worker_that_was_stopped_hears_of_all_that_it_has_missed` here, `test_a_difference_that_a_slow_link_misses_is_a_gap`, the model |
| a worker that dies before its JOIN sends no LEAVE | `test_a_worker_that_dies_at_once_leaves_no_member` here |
| a publish that succeeded is lost | T3, T25 and T28: a ledger, in which published means acknowledged |
| a slow worker stalls all | `test_a_link_that_does_not_read_holds_up_nobody`, T26 |
| a stopped worker stays present | `test_a_link_that_is_silent_for_twenty_seconds_is_failed`, `test_the_end_of_a_link_is_the_leave_of_its_members` |
| a partial write cuts a record | `test_no_record_is_torn_while_the_sequencer_is_stopped`, and the other way `test_what_waits_for_a_stopped_sequencer_comes_whole` here |
| what is sent again is delivered again | `test_a_worker_that_sends_again_over_a_new_link_is_not_heard_twice`, the model, T3; T25 counts it |
| a forked child keeps a dead link open | `test_a_child_of_a_worker_does_not_keep_its_link` here |
| local and sequenced publishing on one topic | `test_all_workers_agree_on_the_order_of_a_history`, the model, T3 |
| patterns blow up | `test_matching_costs_in_proportion_to_the_patterns` here |

T3 and T25 to T28 are runs of `make faults`, in short in `tests/faults/`.
"""  # noqa: E501 - a table

import itertools
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from clients import Client
from commands import freeze
from costs import Costs
from services import FORKING, Service, needs_workers, started_service
from test_across_workers import APPLICATION, ask, clients_of

from sockwave.core.topics.wildcards import Patterns

FORK = """
        elif command == "fork":
            answer = os.fork()
            if not answer:
                signal.pause()
        elif command == "count":"""
# A client of a worker that catches up is sent more at once than it may leave unread.
PROGRAM = APPLICATION.replace("create_server(", "create_server(max_backlog=1 << 26, ")
PROGRAM = "import signal\n" + PROGRAM.replace('\n        elif command == "count":', FORK) + FORKING
SEQUENCER = r"the sequencer is started \(pid (\d+)\)"


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    """Two workers that are ready."""
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    with started_service(tmp_path, str(program), "2") as service:
        service.wait_ready(2)
        yield service


async def hear_until(client: Client, *names: str) -> dict[str, Any]:
    """Hear until something comes that has one of these fields."""
    while not (said := await client.hear()).keys() & set(names):
        pass
    return said


@pytest.mark.slow
@needs_workers
async def test_a_worker_that_was_stopped_hears_of_all_that_it_has_missed(
    service: Service,
) -> None:
    """The sequencer drops what is over 8 MiB, then nothing is published any more."""
    async with clients_of(service) as ((one,), (two,)):
        for client in (one, two):
            for topic in ("kept/1", "people/pids"):
                client.say(subscribe=topic)
                await hear_until(client, "members" if topic == "people/pids" else "subscribed")
        pid, stopped = await ask(one, "pid"), await ask(two, "pid")
        while f"pid-{stopped}" not in await ask(one, "members people/pids"):
            pass
        freeze(stopped)
        try:
            for number in range(200):
                one.say(publish="kept/1", message=f"{number} " + "." * 65536, id=f"a:{number}")
                await hear_until(one, "acknowledged")
            await one.ask(unsubscribe="people/pids")
            while f"pid-{pid}" in await ask(one, "members people/pids"):
                pass
        finally:
            os.kill(stopped, signal.SIGCONT)
        heard, left = [], False
        while len(heard) < 200 or not left:
            said = await two.hear()
            assert "gap" not in said
            left |= f"pid-{pid}" in said.get("leave", ())
            if "message" in said:
                heard.append(int(said["message"].partition(" ")[0]))
        assert heard == list(range(200))


@needs_workers
async def test_positions_go_on_in_the_log_that_outlives_its_sequencer(service: Service) -> None:
    async with clients_of(service) as ((one,), (two,)):
        positions = []
        for number in range(8):
            if number == 5:
                os.kill(int(service.wait_for(SEQUENCER)[1]), signal.SIGKILL)
                service.wait_for(SEQUENCER, 2)
            one.say(publish="kept/1", message=str(number))
            positions.append((await hear_until(one, "acknowledged"))["position"])
        epoch = positions[0].partition("-")[0]
        assert positions == [f"{epoch}-{number}" for number in range(1, 9)]
        for number, position in enumerate(positions, 1):
            two.say(subscribe="kept/1", since=position)
            missed = [(await two.hear())["message"] for _ in range(number, 8)]
            assert missed == [str(one) for one in range(number, 8)]
            said = await two.hear()
            assert said == {"subscribed": "kept/1", "position": positions[-1], "recovered": True}
            await two.ask(unsubscribe="kept/1")


@pytest.mark.slow
@needs_workers
async def test_a_worker_that_dies_at_once_leaves_no_member(service: Service) -> None:
    for number in range(2):
        async with clients_of(service) as ((one,), (two,)):
            pids = [await ask(client, "pid") for client in (one, two)]
            one.say(subscribe="people/pids")
            await one.wire.drain()
            os.kill(pids[0], signal.SIGKILL)
            # Another one has its place, with a link: the old one's end has been seen.
            service.wait_ready(3 + number)
            assert f"pid-{pids[0]}" not in await ask(two, "members people/pids")


@pytest.mark.slow
@needs_workers
async def test_a_child_of_a_worker_does_not_keep_its_link(service: Service) -> None:
    async with clients_of(service) as ((one,), (two,)):
        for client in (one, two):
            client.say(subscribe="people/pids")
            await hear_until(client, "members")
        pid = await ask(one, "pid")
        child = await ask(one, "fork")
        try:
            while f"pid-{pid}" not in await ask(two, "members people/pids"):
                pass
            os.kill(pid, signal.SIGKILL)
            while f"pid-{pid}" not in (await hear_until(two, "leave"))["leave"]:
                pass
            os.kill(child, 0)  # it is still there
        finally:
            os.kill(child, signal.SIGKILL)


@pytest.mark.slow
@needs_workers
async def test_what_waits_for_a_stopped_sequencer_comes_whole(service: Service) -> None:
    async with clients_of(service) as ((one,), (two,)):
        for client in (one, two):
            assert "subscribed" in await client.ask(subscribe="kept/1")
        sequencer = int(service.wait_for(SEQUENCER)[1])
        texts = [f"{number} " + "." * 65536 for number in range(80)]
        heard: dict[Client, list[str]] = {one: [], two: []}

        async def listen(client: Client, field: str, count: int) -> None:
            """Keep the messages that come until so many, or something else, have."""
            while len(heard[client]) < count:
                said = await client.hear()
                if "message" in said:
                    heard[client].append(said["message"])
                if field in said:
                    return

        for first in (0, 40):
            freeze(sequencer)
            try:
                for number in range(first, first + 40):
                    one.say(publish="kept/1", message=texts[number], id=f"a:{number}")
                # All of it has come to the worker, which can send a part of it only. What has come
                # back of the first half before it was stopped again comes first.
                one.say(send="pid")
                await listen(one, "answer", 81)
            finally:
                os.kill(sequencer, signal.SIGCONT)
        for client in (one, two):
            await listen(client, "nothing", 80)
            assert heard[client] == texts


@pytest.mark.alone
def test_matching_costs_in_proportion_to_the_patterns() -> None:
    """Each level of a name may go two ways: the nodes that are visited are the patterns'."""

    def measure(level_count: int) -> float:
        patterns: Patterns[int] = Patterns()
        for levels in itertools.product("a*", repeat=level_count):
            patterns.add("/".join(levels), 1)
        name = "/".join("a" * level_count)
        assert len(patterns.match(name)) == 2**level_count
        began = time.perf_counter()
        for _ in range(100):
            patterns.match(name)
        return time.perf_counter() - began

    costs = Costs(factor=3.0)
    while costs.are_in_doubt:
        costs.take(measure(7), measure(8))
    assert costs.ratio < 3.0

"""The protocol holds, whatever dies and whenever; workers that do it wrong are found out."""

import itertools
import random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sequencer_model import MISTAKES, Action, World, draw_run

numbers = st.integers(0, 1)
keys = st.sampled_from(["a", "b"])

actions = st.one_of(
    st.tuples(st.sampled_from(["publish", "burst"]), numbers),
    st.tuples(st.just("send"), numbers, st.integers(1, 10) | st.just(100)),
    st.tuples(st.just("deliver"), numbers, st.integers(1, 400) | st.just(-1)),
    st.tuples(st.just("subscribe"), numbers),
    st.tuples(st.sampled_from(["join", "part"]), numbers, keys),
    st.tuples(st.sampled_from(["kill_worker", "cut_link"]), numbers),
    st.tuples(st.sampled_from(["leave", "kill_sequencer", "wait"])),
)

#: What a short run is made of, for the exhaustive search.
STEPS: tuple[tuple[Action, ...], ...] = (
    (("publish", 0), ("send", 0, 100)),
    (("publish", 1),),
    (("burst", 0),),
    (("send", 1, 100),),
    (("deliver", 1, -1),),
    (("deliver", 1, 100),),
    (("subscribe", 1),),
    (("leave",),),
    (("kill_worker", 1),),
    (("cut_link", 1),),
    (("kill_sequencer",),),
    (("join", 0, "a"), ("send", 0, 100), ("wait",)),
)


@pytest.mark.slow
@settings(
    deadline=None,
    database=None,
    derandomize=True,
    max_examples=150,
    suppress_health_check=[HealthCheck.too_slow],
)
@given(st.lists(actions, max_size=40))
def test_no_client_misses_a_message_without_hearing_of_it(run: list[Action]) -> None:
    World().run(run)


@pytest.mark.parametrize("count", [200, pytest.param(3000, marks=pytest.mark.slow)])
def test_no_client_misses_a_message_in_many_runs(count: int) -> None:
    for seed in range(count):
        drawn = random.Random(seed)
        World().run(draw_run(drawn, drawn.randrange(120)))


@pytest.mark.parametrize("length", [1, 2, pytest.param(3, marks=pytest.mark.slow)])
def test_every_short_run_ends_well(length: int) -> None:
    begin: list[Action] = [("subscribe", 1), ("send", 1, 100), ("deliver", 1, -1)]
    for steps in itertools.product(STEPS, repeat=length):
        World().run([*begin, *itertools.chain.from_iterable(steps)])


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_found_out(mistake: str) -> None:
    def try_runs() -> None:
        for seed in range(2000):
            World(mistake).run(draw_run(random.Random(seed), 120))

    with pytest.raises(AssertionError):
        try_runs()

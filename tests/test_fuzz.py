"""Inputs that fuzzing has found, and others worth keeping, read on an ordinary build."""

import gc
import sys

import pytest
from fuzz import replay
from fuzz.differential.__main__ import KINDS, run
from fuzz.differential.accepted import REASONS
from fuzz.targets import NAMES, load


@pytest.mark.parametrize("target", NAMES)
def test_kept_inputs_are_read_as_they_must_be(target: str) -> None:
    assert replay.replay(target) > 5


@pytest.mark.slow
@pytest.mark.parametrize("target", NAMES)
@pytest.mark.measures
def test_kept_inputs_leave_nothing_behind(target: str) -> None:
    feed = load(target)
    inputs = [path.read_bytes() for path in replay.inputs(target)]

    def count_blocks(rounds: int) -> int:
        for _ in range(rounds):
            for data in inputs:
                feed(data)
        gc.collect()
        return sys.getallocatedblocks()

    before = count_blocks(3)
    # A connection that is left behind is more than twenty blocks. Caches of Python's grow a little.
    assert count_blocks(10) - before < 5 * len(inputs)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.slow
def test_others_read_the_same_or_the_difference_is_listed(kind: str) -> None:
    limit_counters = run(kind, seed=20, cases=4_000, seconds=40)
    assert not limit_counters.unexplained
    assert set(limit_counters.listed) <= set(REASONS)
    assert limit_counters.cases > 1_000

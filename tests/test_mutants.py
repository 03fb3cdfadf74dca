"""The guards that `make mutants` removes: that takes long, and is to find all of them."""

from pathlib import Path

import pytest
from mutants.guards import GUARDS, Guard

PROJECT = Path(__file__).resolve().parents[1]


@pytest.mark.parametrize("guard", GUARDS, ids=lambda guard: guard.name)
def test_guard_stands_where_the_mutants_look_for_it(guard: Guard) -> None:
    assert (PROJECT / guard.path).read_text().count(guard.text) == 1
    assert guard.without != guard.text
    assert all((PROJECT / test).is_file() for test in guard.tests)

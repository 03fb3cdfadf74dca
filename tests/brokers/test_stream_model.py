"""Shared streams end with their workers, whatever dies and whenever; a host that does it wrong is
found out.
"""

import pytest
from stream_model import MISTAKES, try_seeds


@pytest.mark.parametrize("count", [150, pytest.param(400, marks=pytest.mark.slow)])
def test_streams_end_with_their_workers_and_every_delta_is_answered(count: int) -> None:
    try_seeds(0, count)


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_of_a_host_or_its_broker_is_found_out(mistake: str) -> None:
    with pytest.raises(AssertionError, match="seed"):
        try_seeds(0, 200, mistake)

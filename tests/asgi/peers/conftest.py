"""What the tests of applications share: servers of an application, one of each kind."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from servers import Peers


@pytest.fixture
def peers(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Peers]:
    """An application, whose name the test is parametrized with, on each server."""
    found = Peers(request.param, tmp_path)
    yield found
    found.kill()

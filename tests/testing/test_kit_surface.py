"""What `sockwave.testing` shows is what its page says, and nothing else."""

import inspect
import re
from pathlib import Path

import pytest

from sockwave import testing

PAGE = (Path(__file__).parents[2] / "docs" / "testing.md").read_text("utf-8")

SURFACE = {
    testing.Lane: "stall resume inject is_stalled",
    testing.Link: "vanish reset transcript",
    testing.Network: "vanish transcript",
}


def test_every_name_is_on_the_page() -> None:
    for name in testing.__all__:
        assert re.search(rf"`(testing\.)?{name}\b", PAGE) or f"testing.{name}" in PAGE, name
        assert name in str(testing.__doc__)


@pytest.mark.parametrize("public", SURFACE, ids=lambda public: public.__name__)
def test_a_class_shows_what_is_documented_and_nothing_else(public: type) -> None:
    assert [name for name in dir(public) if name[0] != "_"] == sorted(SURFACE[public].split())


def test_an_object_shows_its_numbers_and_links() -> None:
    assert set(vars(testing.Network())) == {"latency", "bytes_per_second", "links"}


def test_all_else_of_the_module_is_modules() -> None:
    others = set(vars(testing)) - set(testing.__all__)
    assert all(name.startswith("_") or inspect.ismodule(getattr(testing, name)) for name in others)

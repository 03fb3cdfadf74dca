"""What `help` shows: a page that can be read, and nothing that is not for applications."""

import inspect
import pydoc
import re
from typing import Any

import pytest

import sockwave

CLASSES = [value for name in sockwave.__all__ if inspect.isclass(value := getattr(sockwave, name))]
# Python's own, of which we can say nothing.
OF_PYTHON = {"args", "with_traceback", "add_note", "count", "index", "name", "value"}
# The fields of these are options: the pages docs/options.md and docs/messages.md describe them.
OPTIONS = (sockwave.Limits, sockwave.Deflate)


def show(what: object) -> list[str]:
    """Give the lines that `help` shows."""
    return pydoc.plain(pydoc.render_doc(what)).splitlines()


def members(cls: type) -> list[tuple[str, Any]]:
    """Give the names of a class for applications, with what stands behind each."""
    shown = [name for name in dir(cls) if not name.startswith("_") and name not in OF_PYTHON]
    return [(name, inspect.getattr_static(cls, name)) for name in shown]


def test_help_of_the_package_fits_on_a_few_screens_and_names_all() -> None:
    lines = show(sockwave)
    text = "\n".join(lines)
    assert len(lines) < 180  # with the names of the modules, which `help` always lists
    assert "CLASSES" not in text
    assert "builtins" not in text
    described = set(re.findall(r"^    {4,8}(\w+) {2,}\w", text, re.MULTILINE))
    assert described >= set(sockwave.__all__) - {"createServer", "__version__"}
    assert "createServer" in text


def test_public_names_are_public_to_everybody_but_help() -> None:
    assert "Server" in sockwave.__all__
    assert isinstance(sockwave.__all__, list)
    names: dict[str, object] = {}
    exec("from sockwave import *", names)
    assert {name for name in names if name != "__builtins__"} == set(sockwave.__all__)


@pytest.mark.parametrize("cls", CLASSES, ids=lambda cls: cls.__name__)
def test_help_of_a_class_shows_nothing_of_int_and_nothing_private(cls: type) -> None:
    text = "\n".join(show(cls))
    assert "inherited from builtins.int" not in text
    assert not re.findall(r"^ \|  (_(?!_|asdict|make|replace|field)\w+)", text, re.MULTILINE)


@pytest.mark.parametrize("cls", CLASSES, ids=lambda cls: cls.__name__)
def test_each_property_and_method_has_a_docstring(cls: type) -> None:
    for name, member in members(cls):
        if inspect.isdatadescriptor(member) or callable(getattr(cls, name)):
            has_page = cls in OPTIONS and inspect.ismemberdescriptor(member)
            assert inspect.getdoc(member) or has_page, name
            assert not (inspect.getdoc(member) or "").startswith("Alias for field"), name


def test_members_of_an_enum_are_ints_all_the_same() -> None:
    assert sockwave.ReadyState.CONNECTED == 4
    assert sockwave.CloseCode.GOING_AWAY + 1 == 1002
    assert sockwave.CloseCode(1007).meaning.startswith("a message does not fit its type")
    assert set(sockwave.ReadyState.__members__) <= set(dir(sockwave.ReadyState))

"""What the pages say: their programs run, their links lead somewhere, their tables are complete."""

import dataclasses
import inspect
import re
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from certificates import LOCALHOST, write_pem
from commands import running

import sockwave
from sockwave.options import OPTION_NAMES, Options

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
PAGES = [README, *sorted(ROOT.glob("docs/*.md"))]
LINKING_PAGES = [*sorted(ROOT.glob("*.md")), *PAGES[1:]]
UNITS = {"KiB": 2**10, "MiB": 2**20}


def programs() -> Iterator[object]:
    """Give the programs in the pages."""
    for page in PAGES:
        text = page.read_text("utf-8")
        for number, program in enumerate(re.findall(r"```python\n(.+?)```", text, re.DOTALL)):
            yield pytest.param(program, id=f"{page.stem}-{number}")


def anchors(page: Path) -> set[str]:
    """Give what a link can name in a page: its headings, as they are spelt in addresses."""
    headings = re.findall(r"^#+ (.+)$", page.read_text("utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading).lower().replace(" ", "-") for heading in headings}


def rows(heading: str) -> Iterator[list[str]]:
    """Give the cells of a table in the page of the options."""
    text = (ROOT / "docs/options.md").read_text("utf-8")
    table = text.split(f"| {heading} | default |")[1].split("\n\n")[0]
    for line in table.splitlines()[2:]:
        yield line.strip("| ").split(" | ")


def parse_default(words: str) -> object:
    """Give the value that a cell of a table stands for."""
    number, _, unit = words.strip("`").partition(" ")
    number = re.sub(r"(?<=\d),(?=\d)", "", number)
    if not re.fullmatch(r"[\d.]+", number):
        return {"None": None, "()": (), "False": False, "True": True}.get(number, number.strip('"'))
    return float(number) * UNITS.get(unit, 1)


def said_defaults(heading: str) -> dict[str, object]:
    """Give the names in a table, with their defaults; a cell can have several of both."""
    said: dict[str, object] = {}
    for names, defaults, *_ in rows(heading):
        values = re.sub(r",? or `None`", "", defaults).split(", ")
        found = re.findall(r"`(\w+)`", names)
        said |= zip(found, map(parse_default, values * len(found)), strict=False)
    return said


def test_readme_opens_with_the_two_commands() -> None:
    opening = README.read_text("utf-8").split("```")[1]
    assert re.findall(r"\$ (make \w+)", opening) == ["make chat", "make test"]


def test_readme_shows_the_first_example() -> None:
    def statements(program: str) -> list[str]:
        return [" ".join(line.split()) for line in program.splitlines() if line.strip()]

    example = (ROOT / "examples/first.py").read_text("utf-8")
    shown = README.read_text("utf-8").split("```python\n")[1].split("```")[0]
    assert statements(shown) == statements(example)[1:]


@pytest.mark.parametrize("program", list(programs()))
def test_program_in_a_page_serves_until_ctrl_c(program: str, tmp_path: Path) -> None:
    cert, key = write_pem(LOCALHOST, tmp_path, "cert")
    program = program.replace("cert.pem", cert).replace("key.pem", key)
    # Before `serve_forever`, or without it, Ctrl-C is a KeyboardInterrupt of asyncio's.
    with running(program, status=(0, -signal.SIGINT) if "asyncio.run(" in program else (0,)):
        pass


@pytest.mark.parametrize("page", LINKING_PAGES, ids=lambda page: page.stem)
def test_links_of_a_page_lead_somewhere(page: Path) -> None:
    targets = re.findall(r"\]\(([^)#:]*)(?:#([^)]*))?\)", page.read_text("utf-8"))
    for name, anchor in targets:
        target = page.parent / name if name else page
        assert target.exists(), name
        assert not anchor or anchor in anchors(target), f"{name}#{anchor}"


@pytest.mark.parametrize("page", LINKING_PAGES, ids=lambda page: page.stem)
def test_tests_that_a_page_names_are_there(page: Path) -> None:
    for path, name in re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", page.read_text("utf-8")):
        assert re.search(
            rf"^(async )?def {name}\(", (ROOT / path).read_text("utf-8"), re.MULTILINE
        ), name


def test_every_promise_names_its_tests() -> None:
    text = (ROOT / "docs/delivery.md").read_text("utf-8")
    promises = re.split(r"^\d\. ", text.split("## Nine sentences")[1], flags=re.MULTILINE)[1:]
    assert len(promises) == 9
    for promise in promises:
        assert re.search(r"   - `tests/[\w/]+\.py::test_\w+`", promise)


def test_tables_name_each_setting_of_a_topic_and_each_of_its_limits() -> None:
    text = (ROOT / "docs/topics.md").read_text("utf-8")

    def table(heading: str) -> dict[str, str]:
        lines = text.split(f"| {heading} | default |")[1].split("\n\n")[0]
        return dict(re.findall(r"^\| `(\w+)` \| (.+?) \|", lines, re.MULTILINE))

    assert list(table("setting")) == list(inspect.signature(sockwave.Server.topic).parameters)[2:]
    fields = {one.name: one.default for one in dataclasses.fields(sockwave.Limits)}
    limits = {name: parse_default(default) for name, default in table("limit").items()}
    assert len(limits) == 6
    assert limits.items() <= fields.items()


def test_every_page_is_linked_from_the_readme() -> None:
    text = README.read_text("utf-8")
    for page in PAGES[1:]:
        assert f"(docs/{page.name})" in text


def test_tables_name_each_option_with_its_default() -> None:
    parameters = inspect.signature(Options).parameters
    defaults = {name: one.default for name, one in parameters.items() if name in OPTION_NAMES}
    defaults |= {one.name: one.default for one in dataclasses.fields(sockwave.Limits)}
    assert said_defaults("option") | said_defaults("limit") == defaults


def test_table_names_each_setting_of_compression_with_its_default() -> None:
    text = (ROOT / "docs/messages.md").read_text("utf-8")
    said = re.findall(r"^\| `(\w+)` \| (.+?) \|", text.split("| setting |")[1], re.MULTILINE)
    parameters = inspect.signature(sockwave.Deflate).parameters
    assert {name for name, _ in said} == set(parameters)

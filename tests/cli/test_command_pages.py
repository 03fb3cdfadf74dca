"""What docs/commands.md and `--help` say of the commands: the same, and what is true."""

import argparse
import functools
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from commands import run
from prepared import EXECUTED

from sockwave.cli.commands import outline

PAGE = Path(__file__).parents[2] / "docs/commands.md"
TEXT = PAGE.read_text("utf-8")
COMMANDS = ("serve", "connect", "bench", "doctor", "publish", "chat", "echo")


#: Two tests ask for the help of each.
run_once = functools.cache(run)


def parser_of(command: str) -> argparse.ArgumentParser:
    """Give the parser of a command."""
    (action,) = (one for one in outline()._actions if isinstance(one, argparse._SubParsersAction))
    parser: argparse.ArgumentParser = action.choices[command]
    return parser


def section(command: str) -> str:
    """Give what the page says of a command."""
    return TEXT.split(f"\n## `sockwave {command}`\n")[1].split("\n## ")[0]


def table(text: str, heading: str) -> list[list[str]]:
    """Give the cells of a table."""
    rows = text.split(f"\n| {heading} |")[1].split("\n\n")[0].splitlines()[2:]
    return [[cell.strip() for cell in row.strip("|").split("|")] for row in rows]


def test_page_has_every_command_and_no_other() -> None:
    (action,) = (one for one in outline()._actions if isinstance(one, argparse._SubParsersAction))
    assert set(action.choices) == set(COMMANDS)
    assert set(re.findall(r"^## `sockwave (\w+)`$", TEXT, re.MULTILINE)) == set(COMMANDS)
    assert {row[0].strip("`") for row in table(TEXT, "command")} == set(COMMANDS)


@pytest.mark.parametrize("command", COMMANDS)
def test_help_opens_with_an_example_that_the_page_has_too(command: str) -> None:
    ended = run_once(command, "--help")
    assert (ended.returncode, ended.stderr) == (0, "")
    example = ended.stdout.splitlines()[0]
    assert example.startswith(f"  $ sockwave {command} ")
    assert f"\n{example.strip()}\n" in TEXT
    parser_of(command).parse_args(example_words(example))


def example_words(example: str) -> list[str]:
    """Give the arguments in an example, as a shell splits them."""
    return shlex.split(example)[3:]


def test_help_of_all_opens_with_an_example() -> None:
    ended = run("--help")
    assert ended.stdout.startswith("  $ sockwave serve main:app\n\nusage: sockwave ")
    assert all(f"\n    {command}" in ended.stdout for command in COMMANDS)


@pytest.mark.parametrize("command", [one for one in COMMANDS if one != "serve"])
def test_page_names_each_option_with_its_default(command: str) -> None:
    rows = table(section(command), "option | default | meaning")
    said = {flag for row in rows for flag in re.findall(r"`(-[-\w]+)`", row[0])}
    actions = [
        one for one in parser_of(command)._actions if one.option_strings and one.dest != "help"
    ]
    assert said == {flag for action in actions for flag in action.option_strings}
    for action in actions:
        (row,) = (row for row in rows if f"`{action.option_strings[-1]}`" in row[0])
        if isinstance(action.default, (int, float, str)) and not isinstance(action.default, bool):
            units = {64 << 20: "64MiB"}
            shown = units.get(action.default, f"{action.default}")  # type: ignore[arg-type]
            assert re.search(rf"(^|\W){re.escape(shown.removesuffix('.0'))}(\W|$)", row[1]), row


@pytest.mark.parametrize("command", COMMANDS)
def test_statuses_of_the_page_are_those_of_the_help(command: str) -> None:
    (row,) = (row for row in table(TEXT, "command") if row[0] == f"`{command}`")
    text = " ".join(run_once(command, "--help").stdout.split())
    said = text.split("Exit status: ")[1]
    for status, meaning in zip((0, 1, 2, 3, 4, 130), row[1:], strict=True):
        assert bool(meaning) == bool(re.search(rf"\b{status} (when|for) ", said)), status


def test_commands_of_a_terminal_are_listed() -> None:
    from sockwave.cli.connect.terminal import _HELP

    rows = table(section("connect"), "line | what it does")
    assert [row[0].strip("`").split()[0] for row in rows] == re.findall(
        r"^(/\w+)", _HELP, re.MULTILINE
    )


@pytest.mark.parametrize("imported", ["sockwave", "sockwave.cli"])
def test_import_brings_no_extra_no_load_generator_and_no_client(imported: str) -> None:
    program = (
        f"import sys, {imported}\n"
        "heavy = ('rich', 'prompt_toolkit', 'sockwave.loadgen', 'sockwave.cli.bench.program',\n"
        "    'sockwave.client', 'sockwave.sync')\n"
        "assert not any(name in sys.modules for name in heavy)\n"
        "assert set(sockwave.__all__) <= set(dir(sockwave))\n"  # what comes late is told of, too
        "if sys.argv[1:]: assert 'sockwave.cli' not in sys.modules\n"
    )
    words = [imported] if imported == "sockwave" else []
    command = [sys.executable, "-c", program, *words]
    subprocess.run(command, check=True, timeout=30, env=os.environ | EXECUTED)


@pytest.mark.parametrize("command", ["connect", "bench"])
def test_without_its_extra_a_command_says_in_one_line_how_to_get_it(
    command: str, tmp_path: Path
) -> None:
    program = (
        "import sys; sys.modules['rich'] = sys.modules['prompt_toolkit'] = None\n"
        f"from sockwave.cli import main; sys.exit(main(['{command}', 'ws://127.0.0.1:1']))\n"
    )
    ended = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"HOME": str(tmp_path)} | EXECUTED,
        timeout=30,
    )
    assert (ended.returncode, ended.stdout) == (1, "")
    assert ended.stderr == (
        f"sockwave {command}: needs prompt_toolkit and rich: pip install 'sockwave[cli]'\n"
    )

"""What a type checker finds: a misspelt option or event, a wrong type, a wrong listener."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import get_args, get_type_hints

import pytest

import sockwave
from sockwave.core.events.emitter import CONNECTION_EVENTS, SERVER_EVENTS
from sockwave.launch.flags import BY_NAME
from sockwave.launch.setting_types import RunSettings
from sockwave.limits import Limits
from sockwave.messages import SLOW_POLICIES, SlowPolicy
from sockwave.option_types import ServerOptions, VersionName
from sockwave.options import OPTION_NAMES, Options
from sockwave.server.events import ServerEvent

PROGRAMS = Path(__file__).parent / "typed"
STUB = Path(sockwave.__file__).parent / "core/session/connection.pyi"

Found = dict[str, set[int]]


def check_with_mypy(cache: Path) -> Found:
    """Give the lines in which mypy finds a mistake, by file."""
    command = [sys.executable, "-m", "mypy", "--strict", "--cache-dir", str(cache)]
    command += ["--config-file=", "--no-error-summary", str(PROGRAMS)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=cache)
    assert done.returncode in (0, 1), done.stderr + done.stdout
    found: Found = {}
    for name, line in re.findall(r"^.*?(\w+\.py):(\d+): error:", done.stdout, re.MULTILINE):
        found.setdefault(name, set()).add(int(line))
    return found


def check_with_pyright(cache: Path) -> Found:
    """Give the lines in which pyright finds a mistake, by file."""
    shutil.copytree(PROGRAMS, cache / PROGRAMS.name)  # it takes none from elsewhere
    (cache / "pyrightconfig.json").write_text(
        json.dumps({"include": [PROGRAMS.name], "typeCheckingMode": "strict"})
    )
    command = [sys.executable, "-m", "pyright", "--project", str(cache), "--outputjson"]
    command += ["--pythonpath", sys.executable]
    environment = os.environ | {"PYRIGHT_PYTHON_IGNORE_WARNINGS": "1"}  # of newer versions
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, cwd=cache, env=environment
    )
    if not done.stdout.startswith("{"):
        pytest.skip(f"pyright does not run here: {done.stderr[-200:]}")
    found: Found = {}
    for one in json.loads(done.stdout)["generalDiagnostics"]:
        if one["severity"] == "error":
            line = one["range"]["start"]["line"] + 1
            found.setdefault(Path(one["file"]).name, set()).add(line)
    return found


CHECKERS = {"mypy": check_with_mypy, "pyright": check_with_pyright}


@pytest.mark.slow
@pytest.mark.parametrize("checker", CHECKERS)
def test_checker_finds_each_mistake_and_nothing_else(checker: str, tmp_path: Path) -> None:
    lines = (PROGRAMS / "wrong.py").read_text("utf-8").splitlines()
    wrong = {number for number, line in enumerate(lines, 1) if line.endswith("# wrong")}
    assert len(wrong) > 30
    assert CHECKERS[checker](tmp_path) == {"wrong.py": wrong}


def test_each_option_has_a_type() -> None:
    assert set(ServerOptions.__annotations__) == OPTION_NAMES
    hints = get_type_hints(ServerOptions)
    for name, hint in get_type_hints(Limits).items():
        if name != "max_connections":  # which may be "auto", and no other text
            assert hints[name] == hint, name


def test_each_setting_of_run_has_a_type() -> None:
    assert set(RunSettings.__annotations__) == set(BY_NAME)


def test_each_value_of_an_option_that_has_names_has_its_type() -> None:
    assert get_args(SlowPolicy) == SLOW_POLICIES
    for name in get_args(VersionName):
        Options(version=name)
    hints = get_type_hints(ServerOptions)
    for option in ("engine", "lifespan", "forwarded_headers", "invalid_json", "slow"):
        for value in get_args(hints[option]):
            if value != "epoll" or sys.platform == "linux":
                Options(**{option: value})


def test_each_event_has_a_type() -> None:
    assert set(get_args(ServerEvent)) == set(SERVER_EVENTS)
    text = STUB.read_text("utf-8")
    literal = text.split("_ConnectionEvent: TypeAlias = Literal[")[1].split("]")[0]
    assert set(re.findall(r'"(\w+)"', literal)) == set(CONNECTION_EVENTS)
    for name in CONNECTION_EVENTS:
        assert (
            len(re.findall(rf'event: Literal\[[^\]]*"{name}"', text)) == 4
        )  # on, once: each twice

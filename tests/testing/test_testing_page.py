"""The programs of docs/testing.md, run by pytest as they stand there."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "testing.md"


@pytest.mark.slow
def test_tests_of_the_page_pass(tmp_path: Path) -> None:
    programs = re.findall(r"```py\n(.+?)```", PAGE.read_text("utf-8"), re.DOTALL)
    for number, program in enumerate(programs):
        (tmp_path / f"test_page_{number}.py").write_text(program, "utf-8")
    plugins = ["-p", "pytest_sockwave", "-p", "pytest_asyncio.plugin", "-o", "asyncio_mode=auto"]
    found = subprocess.run(
        [
            sys.executable,
            "-m",
            "pytest",
            "-v",
            "-c",
            "/dev/null",
            "-p",
            "no:cacheprovider",
            *plugins,
        ],
        cwd=tmp_path,
        env=os.environ
        | {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "PYTHONPATH": str(ROOT / "examples")},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert found.returncode == 0, found.stdout + found.stderr
    for number, program in enumerate(programs):
        for name in re.findall(r"^async def (test_\w+)", program, re.MULTILINE):
            assert f"test_page_{number}.py::{name}" in found.stdout

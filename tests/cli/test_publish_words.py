"""The arguments of `sockwave publish`, and what it does without a standard input."""

import subprocess
import sys
from pathlib import Path

import pytest
from commands import PATIENCE_S, run_here


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["--timeout", "inf"], "--timeout"),
        (["--timeout", "1e10"], "--timeout"),
        (["--timeout", "0"], "--timeout"),
        (["--to", ""], "--to: expected an address, got nothing"),
        (["--broker", ""], "--broker: expected an address, got nothing"),
        (["--to", "", "--broker", ""], "not allowed"),
        (["--to", "nowhere"], "expected 'unix:PATH'"),
    ],
)
def test_wrong_words_are_named_with_status_2(
    words: list[str], named: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SOCKWAVE_BROKER", "unix:/nowhere")  # where nothing is published by mistake
    ended = run_here("publish", "topic", "message", *words)
    assert (ended.returncode, ended.stdout) == (2, "")
    assert named in ended.stderr
    assert "Traceback" not in ended.stderr


@pytest.mark.skipif(sys.platform == "win32", reason="needs a Unix shell")
def test_closed_input_is_an_empty_message(tmp_path: Path) -> None:
    to = f"unix:{tmp_path / 'nobody'}"
    command = f"{sys.executable} -m sockwave publish topic - --to {to} --timeout 0.1 <&-"
    ended = subprocess.run(
        command, shell=True, capture_output=True, text=True, timeout=PATIENCE_S, check=False
    )
    assert ended.returncode == 1
    assert ended.stderr.startswith("sockwave publish: expected an acknowledgement within 0.1 s")

"""The gate against instructions that have become more."""

import json
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).resolve().parents[1] / "benchmarks"
if str(BENCHMARKS) not in sys.path:
    sys.path.append(str(BENCHMARKS))

if sys.platform == "linux":
    import gate
else:
    pytest.skip("the benchmarks are Linux's", allow_module_level=True)


@pytest.fixture
def recorded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file in which 1,000 instructions of a GET are recorded."""
    path = tmp_path / "instructions.json"
    monkeypatch.setattr(gate, "PATH", path)
    gate.record({"epoll": {"GET": 1000.0}})
    return path


@pytest.mark.parametrize(("now", "status"), [(900.0, 0), (1030.0, 0), (1030.1, 1)])
def test_gate_closes_above_three_percent(recorded: Path, now: float, status: int) -> None:
    assert gate.find_obstacle() is None
    assert gate.compare({"epoll": {"GET": now}}) == status


def test_gate_closes_where_something_is_no_longer_counted(
    recorded: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert gate.compare({"epoll": {}}) == 1
    assert "FAILED epoll, GET: recorded, and no longer counted" in capsys.readouterr().out


def test_gate_names_what_is_new(recorded: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert gate.compare({"epoll": {"GET": 1000.0, "echo": 1.0}}) == 0
    assert "NEW epoll, echo: not recorded" in capsys.readouterr().out


def test_gate_compares_nothing_on_another_python(recorded: Path) -> None:
    written = json.loads(recorded.read_text())
    written["build"]["python"] = "2.7"
    recorded.write_text(json.dumps(written))
    assert "was recorded on" in (gate.find_obstacle() or "")


def test_gate_asks_questions_that_there_are() -> None:
    from counted_questions import QUESTIONS

    titles = {question.title for question in QUESTIONS}
    assert all(set(asked) <= titles for asked in gate.COUNTED.values())

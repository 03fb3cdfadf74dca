"""A server that stops for a while: the open loop shows it, the closed loop hides it."""

import json
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from commands import PATIENCE_S, serving

pytestmark = [
    pytest.mark.skipif(sys.platform != "linux", reason="the load is Linux's"),
    pytest.mark.slow,
    pytest.mark.alone,  # a neighbour that takes the processor would stop the closed loop too
]

DURATION_S = 5
STOPPED_S = 0.5


def stop_in_the_middle(process: subprocess.Popen[str]) -> None:
    """Stop a process for a while, once half of the load is over."""
    never = threading.Event()
    never.wait(DURATION_S / 2)
    process.send_signal(signal.SIGSTOP)
    never.wait(STOPPED_S)
    process.send_signal(signal.SIGCONT)


def load_stopped(figures: Path, *options: str) -> dict[str, float]:
    """Load a server that stops for a while; returns the latencies."""
    with serving("echo", "--port", "0") as (process, url):
        command = [sys.executable, "-m", "sockwave", "bench", url, f"--duration={DURATION_S}"]
        command += [f"--json={figures}", *options]
        with subprocess.Popen(command, stdout=subprocess.DEVNULL) as load:
            stop_in_the_middle(process)
            assert load.wait(PATIENCE_S + DURATION_S) == 0
    latency: dict[str, float] = json.loads(figures.read_text())["latency_us"]
    # Each has waited: the closed loop for one message of each connection.
    assert latency["max"] > STOPPED_S * 0.9e6
    return latency


def test_percentile_shows_that_a_server_stood_still(tmp_path: Path) -> None:
    opened = load_stopped(tmp_path / "open.json", "--rate=2000")
    closed = load_stopped(tmp_path / "closed.json")
    # A tenth of the messages were due meanwhile, and the last percent of all for most of it.
    assert opened["p99"] > STOPPED_S * 0.5e6, opened
    # A busy machine makes the closed loop late, too, but by far not so.
    assert closed["p99"] < opened["p99"] / 4, (opened, closed)

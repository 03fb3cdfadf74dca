"""A program that is forked from a prepared interpreter runs as one that was executed does."""

import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from prepared import EXECUTED

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="nothing is prepared there")

# What a program finds: what it was given, and what the interpreter has made of it.
FACTS = """
import gc, json, os, signal, sys, threading, warnings
streams = [sys.stdin, sys.stdout, sys.stderr]
fields = "name", "mode", "encoding", "errors", "line_buffering", "write_through", "newlines"
facts = {
    "arguments": sys.argv,
    "path": sys.path,
    "flags": repr(sys.flags),
    "options": sys._xoptions,
    "directory": os.getcwd(),
    "environment": sorted(pair for pair in os.environ.items() if pair[0] != "SOCKWAVE_PREPARED"),
    "main": [__name__, globals().get("__file__"), sys.modules["__main__"].__dict__ is globals()],
    "streams": [[repr(getattr(one, name)) for name in fields] for one in streams],
    "originals": [one is sys.__dict__[f"__{name}__"]
                  for one, name in zip(streams, ("stdin", "stdout", "stderr"))],
    "descriptors": sorted(int(name) for name in os.listdir("/proc/self/fd"))[:-1],
    "handlers": [str(signal.getsignal(number)) for number in sorted(signal.valid_signals())],
    "mask": sorted(signal.pthread_sigmask(signal.SIG_BLOCK, ())),
    "filters": sorted(map(str, warnings.filters)),
    "threads": [one.name for one in threading.enumerate()],
    "main thread": threading.main_thread().native_id == os.getpid(),
    "parent": os.getppid(),
    "session": os.getsid(0) == os.getpid(),
    "collector": [gc.isenabled(), gc.get_threshold()],
    "read": sys.stdin.read(),
}
print(json.dumps(facts))
"""

Command = list[str]


def run(command: Command, environment: dict[str, str], **options: Any) -> Any:
    return subprocess.run(
        command,
        check=False,
        capture_output=True,
        text=True,
        timeout=30,
        env=os.environ | environment,
        **options,
    )


def run_both(command: Command, **options: Any) -> tuple[Any, Any]:
    """Run a program executed, and prepared: that is for what is started a second time."""
    environment = options.pop("env", {}) | {"SOCKWAVE_PREPARED": "1"}
    executed = run(command, environment | EXECUTED, **options)
    run(command, environment, **options)
    return executed, run(command, environment, **options)


@pytest.mark.parametrize("options", [[], ["-u"], ["-W", "error"], ["-X", "dev", "-B"]])
@pytest.mark.parametrize("kind", ["code", "module", "script"])
def test_program_finds_the_same(kind: str, options: list[str], tmp_path: Path) -> None:
    (tmp_path / "facts.py").write_text(FACTS, "utf-8")
    program = {
        "code": ["-c", FACTS],
        "module": ["-m", "facts"],
        "script": ["./facts.py"],
    }[kind]
    command = [sys.executable, *options, *program, "one", "--two"]
    ours, theirs = socket.socketpair()
    with ours, theirs:
        executed, prepared = run_both(
            command,
            cwd=tmp_path,
            env={"NAME": "Zoë", "PYTHONWARNINGS": "ignore"},
            input="words",
            start_new_session=True,
            pass_fds=[theirs.fileno()],
        )
    assert (executed.stderr, executed.returncode) == ("", 0)
    assert (prepared.stderr, prepared.returncode) == ("", 0)
    assert json.loads(prepared.stdout) == json.loads(executed.stdout)


@pytest.mark.parametrize(
    ("end", "status"),
    [
        ("pass", 0),
        ("sys.exit(3)", 3),
        ("sys.exit('words')", 1),
        ("1 / 0", 1),
        ("os._exit(4)", 4),
        ("os.kill(os.getpid(), signal.SIGINT)", -signal.SIGINT),
        ("os.kill(os.getpid(), signal.SIGTERM)", -signal.SIGTERM),
        ("atexit.register(os._exit, 5)", 5),
    ],
)
def test_program_ends_the_same(end: str, status: int) -> None:
    program = f"import atexit, os, signal, sys\nprint('said')\nsys.stdout.flush()\n{end}"
    executed, prepared = run_both([sys.executable, "-c", program])
    assert executed.returncode == prepared.returncode == status
    assert executed.stdout == prepared.stdout == "said\n"
    last = [ended.stderr.splitlines()[-1:] for ended in (executed, prepared)]
    assert last[0] == last[1]


def test_program_is_forked_where_it_can_be_and_executed_elsewhere() -> None:
    program = "import sys; print('sockwave' in sys.modules)"
    answers = run_both([sys.executable, "-c", program])
    assert [answer.stdout for answer in answers] == ["False\n", "True\n"]
    for command in (["-c", program, "a" * 100_000], ["-I", "-c", program]):
        answers = run_both([sys.executable, *command])
        assert [answer.stdout for answer in answers] == ["False\n", "False\n"]

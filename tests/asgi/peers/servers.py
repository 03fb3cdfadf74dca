"""An application on servers of each kind, in processes of their own."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parent
PATIENCE_S = 60

#: Where `make test-peers` has installed what the applications are made of.
PYTHON = os.environ.get("SOCKWAVE_PEERS_PYTHON", sys.executable)


class Peers:
    """An application on each server: bases of addresses, logs, and how the processes end."""

    def __init__(self, name: str, folder: Path) -> None:
        self.folder = folder
        self.process = subprocess.Popen(
            [PYTHON, str(FOLDER / "serve.py"), name, str(folder)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=FOLDER,
            start_new_session=True,  # so that all of them can be ended at once
        )
        ports = self._read_line()
        if missing := ports.get("missing"):
            pytest.skip(f"{name}: {missing} is not installed for {PYTHON}; `make test-peers` does")
        self.bases = {server: f"http://127.0.0.1:{port}" for server, port in ports.items()}

    def _read_line(self) -> dict[str, object]:
        assert self.process.stdout
        line = self.process.stdout.readline()
        assert line, "the application cannot be imported; see above"
        found: dict[str, object] = json.loads(line)
        return found

    def read_log(self, server: str) -> str:
        """Give what a server has said so far."""
        path = self.folder / f"{server}.log"
        return path.read_text() if path.exists() else ""

    def end(self) -> dict[str, object]:
        """End all servers; give the status of each process."""
        assert self.process.stdin
        self.process.stdin.close()
        statuses = self._read_line()
        self.process.wait(PATIENCE_S)
        return statuses

    def kill(self) -> None:
        """End what a test that failed has left."""
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(PATIENCE_S)
        for pipe in (self.process.stdin, self.process.stdout):
            assert pipe
            pipe.close()

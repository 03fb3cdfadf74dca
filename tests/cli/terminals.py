"""A command in a terminal: a real pseudo-terminal, and what a screen would show of it."""

import contextlib
import os
import select
import struct
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping

import pyte
import pytest
from commands import PATIENCE_S

# Systems without pseudo-terminals skip the tests that have one.
fcntl = pytest.importorskip("fcntl")
pty = pytest.importorskip("pty")
termios = pytest.importorskip("termios")

COLUMNS, ROWS = 100, 30


class Screen(pyte.Screen):
    """A screen that answers where its cursor is, as terminals do."""

    def __init__(self, descriptor: int) -> None:
        super().__init__(COLUMNS, ROWS)
        self._descriptor = descriptor

    def write_process_input(self, data: str) -> None:
        os.write(self._descriptor, data.encode())


class Terminal:
    """The user's end of a pseudo-terminal, with the process that runs in it."""

    def __init__(self, process: subprocess.Popen[bytes], descriptor: int) -> None:
        self.process = process
        self._descriptor = descriptor
        self.screen = Screen(descriptor)
        self._stream = pyte.ByteStream(self.screen)
        self.written = b""

    def type(self, text: str) -> None:
        os.write(self._descriptor, text.encode())

    @property
    def text(self) -> str:
        return "\n".join(line.rstrip() for line in self.screen.display)

    def wait_for(self, text: str, times: int = 1) -> None:
        """Read until the screen shows a text so many times."""
        end = time.monotonic() + PATIENCE_S
        while self.text.count(text) < times:
            assert self._read(end), f"expected {text!r}, the screen shows:\n{self.text}"

    def wait(self) -> int:
        """Read until the process has ended; returns its status."""
        end = time.monotonic() + PATIENCE_S
        while self._read(end):
            pass
        return self.process.wait(PATIENCE_S)

    def _read(self, end: float) -> bool:
        if not select.select([self._descriptor], [], [], max(end - time.monotonic(), 0))[0]:
            return False
        try:
            data = os.read(self._descriptor, 65536)
        except OSError:  # EIO: nobody has the other end any more
            return False
        self.written += data
        self._stream.feed(data)
        return bool(data)


@contextlib.contextmanager
def in_terminal(
    *arguments: str, environment: Mapping[str, str] | None = None
) -> Iterator[Terminal]:
    """Run a command of sockwave in a terminal."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, COLUMNS, 0, 0))
    variables = os.environ | {"TERM": "xterm-256color"} | (environment or {})
    process = subprocess.Popen(
        [sys.executable, "-m", "sockwave", *arguments],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env=variables,
        start_new_session=True,
    )
    os.close(theirs)
    try:
        yield Terminal(process, ours)
    finally:
        os.close(ours)
        process.terminate()
        process.wait(PATIENCE_S)

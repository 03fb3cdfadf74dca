"""Signals as events of the supervisor's selector, and their names."""

import signal
import socket
from collections.abc import Iterable
from types import FrameType
from typing import Any, Self


class SignalQueue:
    """Collects signals while it is entered; `fileno` is readable when there are some.

    Only the main thread can enter it.
    """

    def __init__(self, names: Iterable[str]) -> None:
        numbers = (getattr(signal, name, None) for name in names)
        self._numbers = [number for number in numbers if number is not None]
        self._signals: list[int] = []
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Self:
        self._reader, self._writer = socket.socketpair()
        self._reader.setblocking(False)
        self._writer.setblocking(False)
        self._wakeup = signal.set_wakeup_fd(self._writer.fileno(), warn_on_full_buffer=False)
        for number in self._numbers:
            self._before[number] = signal.signal(number, self._note)
        return self

    def __exit__(self, *_: object) -> None:
        self.restore()

    def _note(self, number: int, _frame: FrameType | None) -> None:
        self._signals.append(number)

    def fileno(self) -> int:
        """Return the descriptor that is readable when signals have come."""
        return self._reader.fileno()

    def take(self) -> list[int]:
        """Return the signals that have come since the last call, in their order."""
        try:
            while self._reader.recv(4096):
                pass
        except BlockingIOError:
            pass
        taken: list[int] = []
        while self._signals:  # a handler may add one at any time
            taken.append(self._signals.pop(0))
        return taken

    def restore(self) -> None:
        """Give all signals the handlers that they had before; in a forked child too."""
        signal.set_wakeup_fd(self._wakeup)
        for number, handler in self._before.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
        self._before = {}
        self._reader.close()
        self._writer.close()


def describe_end(status: int) -> str:
    """Say how a process has ended, from its status as `subprocess` gives it."""
    if status >= 0:
        return f"has ended with exit status {status}"
    try:
        name = signal.Signals(-status).name
    except ValueError:
        name = f"signal {-status}"
    return f"was killed by {name}"

"""Starting a worker's process: a fresh interpreter, or a fork of this one."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

from sockwave.workers.control import ControlChannel

#: The status of a worker that could not start, and of a service whose workers could not.
BOOT_FAILURE = 3


@dataclass(slots=True)
class Place:
    """Which worker a process is."""

    #: From 1 to `total`; a worker that is replaced has the number of the one before.
    number: int
    #: How many workers there are.
    total: int
    #: Of all processes that the supervisor has started, the how-manieth this is: no two have the
    #: same.
    serial: int
    #: The path of the sequencer's socket; None: there is none.
    sequencer: str | None = None


#: The two ends of a control channel: the supervisor's, and the worker's.
Pair: TypeAlias = tuple[socket.socket, socket.socket]


class Child(Protocol):
    """A process that was started."""

    pid: int

    def poll(self) -> int | None:
        """Return its status, as `subprocess` gives it; None while it runs."""


class Launcher(Protocol):
    """Starts the processes of workers."""

    #: Called in a process that was forked: it closes what the worker of this place does not need.
    abandon: Callable[[Place], object] | None

    def launch(self, place: Place, pair: Pair, sockets: Sequence[socket.socket]) -> Child:
        """Start a worker with its end of the control channel and its listening sockets."""

    def describe(self, place: Place, sockets: Sequence[socket.socket]) -> dict[str, Any] | None:
        """Return the fields of the message BEGIN; None: the worker needs no such message."""


class FreshLauncher:
    """Starts fresh interpreters that run a module; it gets the descriptor of its control channel.

    `title` stands behind it, for those who list processes; `settings` is what the module wants to
    know, as JSON has it.
    """

    abandon = None

    def __init__(self, module: str, title: str, settings: dict[str, Any]) -> None:
        self._module = module
        self._title = title
        self._settings = settings

    def launch(self, place: Place, pair: Pair, sockets: Sequence[socket.socket]) -> Child:
        """Start an interpreter with the flags of this one."""
        sock = pair[1]
        flags: list[str] = subprocess._args_from_interpreter_flags()  # type: ignore[attr-defined]
        command = [sys.executable, *flags, "-m", self._module, str(sock.fileno()), self._title]
        descriptors = [sock.fileno(), *(one.fileno() for one in sockets)]
        with ignoring_interrupts():
            return subprocess.Popen(command, pass_fds=descriptors)  # noqa: S603 - our own program

    def describe(self, place: Place, sockets: Sequence[socket.socket]) -> dict[str, Any]:
        """Return what the worker is to know."""
        return {
            "number": place.number,
            "total": place.total,
            "serial": place.serial,
            "sequencer": place.sequencer,
            "descriptors": [one.fileno() for one in sockets],
            "settings": self._settings,
        }


@contextmanager
def ignoring_interrupts() -> Iterator[None]:
    """Have a process that is started ignore SIGINT from its first moment on.

    Ctrl-C goes to all processes of a terminal. Here it waits meanwhile, and is not lost.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    handler = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.SIG_DFL if handler is None else handler)
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


class ForkedChild:
    """A process that was forked."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self._status: int | None = None

    def poll(self) -> int | None:
        """Return its status, as `subprocess` gives it; None while it runs."""
        if self._status is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self._status = os.waitstatus_to_exitcode(status)
        return self._status


def fork(begin: Callable[[], object], run: Callable[[], int]) -> ForkedChild:
    """Fork this process; the child calls `begin`, with all signals waiting, and then `run`.

    It ends with the status that `run` returns. Raises OSError where there are too many processes.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    try:
        pid = os.fork()
    except OSError:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        raise
    if pid:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        return ForkedChild(pid)
    status = BOOT_FAILURE
    try:
        begin()
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        status = run()
    except SystemExit as error:
        status = error.code if isinstance(error.code, int) else int(error.code is not None)
    except BaseException:
        sys.excepthook(*sys.exc_info())
        status = 1
    finally:
        # Without the end of the parent's program: its `finally`, its exit handlers.
        try:
            sys.stdout.flush()
            sys.stderr.flush()
        finally:
            os._exit(status)


class ForkLauncher:
    """Forks this process; the child calls a function, and ends with the status that it returns."""

    def __init__(
        self, run: Callable[[Place, ControlChannel, Sequence[socket.socket]], int]
    ) -> None:
        self._run = run
        self.abandon: Callable[[Place], object] | None = None

    def launch(self, place: Place, pair: Pair, sockets: Sequence[socket.socket]) -> Child:
        """Fork."""

        def begin() -> None:
            pair[0].close()
            if self.abandon is not None:
                self.abandon(place)
            ignore_signals()

        return fork(begin, lambda: self._run(place, ControlChannel(pair[1]), sockets))

    def describe(self, place: Place, sockets: Sequence[socket.socket]) -> None:
        """Return None: the worker knows all that the supervisor knows."""


def ignore_signals() -> None:
    """Have a worker ignore what a terminal sends to all: it obeys its supervisor.

    SIGTERM does what it does in any process, until the server runs.
    """
    for name in ("SIGINT", "SIGHUP", "SIGTTIN", "SIGTTOU"):
        signal.signal(getattr(signal, name), signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})

"""Programs of tests start in an eighth of the time: each is forked from a prepared interpreter.

A fresh interpreter takes a fifth of a processor's second to import sockwave, more than most of the
programs take afterwards, and the suite starts more than a thousand. So a process of tests keeps
interpreters that have imported sockwave and done nothing else (`interpreter.py`), and where
`subprocess` would fork and execute this Python, one of those forks. The program is a child of the
tests, with the arguments, environment, directory and descriptors that it was given, and it ends as
an interpreter ends. Only what it finds in `sys.modules`, and its command line as others see it,
tell the difference.

What an interpreter heeds when it starts (its options, `PYTHON...` of the environment, limits,
ignored signals ...) a prepared one has from its own start: there is one for each combination that
is met again. What cannot be had so is executed as ever: a terminal, another user, a function that
runs before the program. A test of what an import does asks for that too, with `EXECUTED` in the
program's environment; with that in the environment of pytest, all are executed.
"""

import json
import os
import platform
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

EXECUTED = {"SOCKWAVE_PREPARED": "0"}

PROGRAM = str(Path(__file__).parent / "interpreter.py")

#: The number of clone(2), where it is known; None: here nothing is prepared.
CLONE = {"x86_64": 56, "aarch64": 220}.get(platform.machine()) if sys.platform == "linux" else None

#: What the interpreter, and the libraries under it, read of the environment when they start.
PREFIXES = (b"PYTHON", b"LANG", b"LC_", b"LD_", b"TZ", b"MALLOC_", b"GLIBC_", b"OPENSSL_", b"SSL_")

#: What is sent at once, at most: half of what a socket takes (unix(7)).
MOST_BYTES = 100_000
MOST_DESCRIPTORS = 100


class Interpreter:
    """An interpreter that has imported sockwave, and forks at each request."""

    def __init__(self, options: Sequence[str], environment: Sequence[bytes]) -> None:
        self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, *options, PROGRAM, str(theirs.fileno()), str(CLONE)],
                env=dict(pair.split("=", 1) for pair in map(os.fsdecode, environment)) | EXECUTED,
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
            )

    def fork(self, request: bytes, descriptors: Sequence[int]) -> int:
        """Have it fork, and give the child's process id."""
        socket.send_fds(self._socket, [request], descriptors)
        pid, error = json.loads(self._socket.recv(1000))
        if error:
            raise OSError(error, os.strerror(error))
        return int(pid)

    def close(self) -> None:
        """End it."""
        self._socket.close()
        self._process.kill()  # where a fork of the tests has the socket too, it would wait for ever
        self._process.wait()


class Preparation:
    """The prepared interpreters of this process, and what stands in for fork and exec."""

    def __init__(self) -> None:
        self._fork_exec = subprocess._fork_exec  # type: ignore[attr-defined]
        self._use_posix_spawn = subprocess._USE_POSIX_SPAWN  # type: ignore[attr-defined]
        self._lock = threading.RLock()  # an interpreter is started under it, by `subprocess`
        self._pid = os.getpid()
        #: None: such a program was started once, and may be the only one.
        self._interpreters: dict[object, Interpreter | None] = {}

    def install(self) -> None:
        """Let `subprocess` start this Python from prepared interpreters."""
        subprocess._fork_exec = self.fork_exec  # type: ignore[attr-defined]
        # From CPython 3.13 on, posix_spawn(3) would take its place where it can.
        subprocess._USE_POSIX_SPAWN = False  # type: ignore[attr-defined]

    def remove(self) -> None:
        """Let `subprocess` execute everything again, and end the interpreters."""
        subprocess._fork_exec = self._fork_exec  # type: ignore[attr-defined]
        subprocess._USE_POSIX_SPAWN = self._use_posix_spawn  # type: ignore[attr-defined]
        for interpreter in filter(None, self._interpreters.values()):
            interpreter.close()

    def fork_exec(self, *call: Any) -> int:
        """Start a program as `_posixsubprocess.fork_exec` does, with its arguments."""
        command, paths, close_fds, kept, cwd, environment = call[:6]
        stdin, stdout, stderr, failure_pipe = call[6], call[9], call[11], call[13]
        restore_signals, new_session, process_group, *others = call[14:22]
        if environment is None:
            environment = [b"=".join(pair) for pair in os.environb.items()]
        options, program = split_command([os.fsdecode(word) for word in command])
        streams = [own if end == -1 else end for own, end in enumerate((stdin, stdout, stderr))]
        descriptors = dict(enumerate(streams)) | {one: one for one in kept if one != failure_pipe}
        if not (
            self._pid == os.getpid()
            and paths[0] == os.fsencode(sys.executable)
            and program
            and b"SOCKWAVE_PREPARED=0" not in environment
            and close_fds
            and restore_signals
            and all(one in (None, -1) for one in others)
            and len(descriptors) <= MOST_DESCRIPTORS
            and not any(map(is_terminal, streams))
        ):
            return int(self._fork_exec(*call))
        request = json.dumps(
            {
                "program": program,
                "environment": [pair.decode("latin-1") for pair in environment],
                "cwd": os.getcwd() if cwd is None else os.fsdecode(cwd),
                "descriptors": list(descriptors),
                "new_session": bool(new_session),
                "process_group": process_group,
            }
        ).encode()
        if len(request) <= MOST_BYTES:
            heeded = sorted(pair for pair in environment if pair.startswith(PREFIXES))
            with self._lock:
                if interpreter := self._find(options, heeded):
                    return interpreter.fork(request, list(descriptors.values()))
        return int(self._fork_exec(*call))

    def _find(self, options: Sequence[str], environment: Sequence[bytes]) -> Interpreter | None:
        """Give an interpreter that would have started as one does now; None the first time."""
        key = tuple(options), tuple(environment), *describe_inherited()
        if key not in self._interpreters:
            self._interpreters[key] = None
        elif self._interpreters[key] is None:
            self._interpreters[key] = Interpreter(options, environment)
        return self._interpreters[key]


def split_command(command: Sequence[str]) -> tuple[list[str], list[str]]:
    """Split a command into the interpreter's options and the program with its arguments.

    The program is empty where the command has none, or options that are not known here.
    """
    words = list(command[1:])
    options: list[str] = []
    while words:
        match words:
            case ["-c" | "-m", _, *_]:
                return options, words
            case ["-W" | "-X", _, *_]:
                options += [words.pop(0), words.pop(0)]
            case [one, *_] if one in ("-B", "-u") or one[:2] in ("-W", "-X"):
                options.append(words.pop(0))
            case [path, *_] if path.endswith(".py"):
                return options, words
            case _:
                break
    return options, []


def is_terminal(descriptor: int) -> bool:
    """Whether it is a terminal, or closed."""
    try:
        return os.isatty(descriptor) or not os.fstat(descriptor)
    except OSError:
        return True


def describe_inherited() -> Iterator[object]:
    """Give what a process has from its parent, and no request says."""
    import resource  # Windows has none

    names = [name for name in dir(resource) if name.startswith("RLIMIT_")]
    yield tuple(resource.getrlimit(getattr(resource, name)) for name in names)
    yield frozenset(os.sched_getaffinity(0))
    yield os.sched_getscheduler(0), os.getpriority(os.PRIO_PROCESS, 0)
    yield frozenset(signal.pthread_sigmask(signal.SIG_BLOCK, ()))
    with open("/proc/self/status") as status:
        yield tuple(line for line in status if line.startswith(("SigIgn", "Umask")))

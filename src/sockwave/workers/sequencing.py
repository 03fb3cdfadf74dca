"""The process of the sequencer, as its supervisor sees it.

The supervisor holds its listening socket, so that links wait, and are not refused, while another
process takes the place of one that has died; and the memory file of its log, from which the next
one goes on.
"""

import contextlib
import json
import logging
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

from sockwave.listening.binding import bind_path
from sockwave.topics.sequencer import run
from sockwave.workers.backoff import Backoff
from sockwave.workers.processes import (
    BOOT_FAILURE,
    Child,
    fork,
    ignore_signals,
    ignoring_interrupts,
)
from sockwave.workers.signals import describe_end

logger = logging.getLogger("sockwave")

# One that has lived so long has not died of its start: the next one comes at once.
_LONG_LIFE_S = 1.0

# So many that have crashed early, one after the other, have crashed for what is in the log.
_CRASH_COUNT = 2

# It ends at once when it is told to, unless it is stopped.
_END_S = 2.0


class SequencerProcess:
    """Keeps one sequencer running, from `open` to `close`."""

    def __init__(
        self,
        path: str | None = None,
        *,
        options: Mapping[str, Any] | None = None,
        may_fork: bool = True,
    ) -> None:
        """Note where it listens: without a path, in a private directory that is made for it.

        `options` are those of `Sequencer`. Without `may_fork`, it is a fresh interpreter, as it is
        beside other threads of Python.
        """
        self._given_path = path
        self._options = dict(options or {})
        self._may_fork = may_fork
        self._directory: str | None = None
        self._listener: socket.socket | None = None
        self._child: Child | None = None
        self._lifeline: socket.socket | None = None
        self._log: int | None = None
        self._crash_count = 0
        self._started = 0.0
        self._backoff = Backoff(_LONG_LIFE_S)
        #: Closes, in a process that was forked, what is the supervisor's alone.
        self.abandon_others: Callable[[], object] = lambda: None
        #: Where workers reach it.
        self.path = path or ""

    def open(self) -> None:
        """Listen, once, for the supervisor's whole life. Raises OSError if that cannot be done."""
        if self._listener is not None:
            return
        if self._given_path is None:
            self._directory = tempfile.mkdtemp(prefix="sockwave-")  # its mode is 0700
            self.path = os.path.join(self._directory, "sequencer")
        else:
            self.path = os.path.abspath(self._given_path)
        try:
            self._listener = bind_path(self.path, 0o600)
        except BaseException:
            self._remove_directory()  # a path that was given may be that of another process
            raise
        self._open_log()

    def _open_log(self) -> None:
        """Open an empty log, where the system has memory files (Linux)."""
        if self._log is not None:
            os.close(self._log)
            self._log = None
        if hasattr(os, "memfd_create"):
            with contextlib.suppress(OSError):  # without it, what is kept ends with its process
                self._log = os.memfd_create("sockwave-topics")

    # ---- running

    def start_due(self) -> None:
        """Start it, if it does not run and that is due."""
        if self._child is None and self._listener and time.monotonic() >= self._backoff.due:
            try:
                self._start(self._listener)
            except OSError as error:
                delay = self._backoff.note_death(time.monotonic(), 0.0, was_ready=False)
                logger.error(
                    "the sequencer cannot be started: %s; next attempt in %g s", error, delay
                )

    def _start(self, listener: socket.socket) -> None:
        ours, theirs = socket.socketpair()
        self._lifeline = ours
        try:
            with theirs:
                # A fork is quickest, and one with other threads may never run.
                can_fork = self._may_fork and threading.active_count() == 1
                self._child = (self._fork if can_fork else self._spawn)(listener, theirs)
        except OSError:
            ours.close()
            raise
        self._started = time.monotonic()
        logger.info("the sequencer is started (pid %d)", self._child.pid)

    def _fork(self, listener: socket.socket, lifeline: socket.socket) -> Child:
        def begin() -> None:
            assert self._lifeline is not None
            self._lifeline.close()
            self.abandon_others()
            ignore_signals()

        return fork(begin, lambda: run(listener, lifeline, self._all_options, self._removed))

    def _spawn(self, listener: socket.socket, lifeline: socket.socket) -> Child:
        flags: list[str] = subprocess._args_from_interpreter_flags()  # type: ignore[attr-defined]
        descriptors = [listener.fileno(), lifeline.fileno()]
        if self._log is not None:
            descriptors.append(self._log)
        said = json.dumps({"options": self._all_options, "remove": self._removed})
        module = ("-m", "sockwave.topics.sequencer")
        command = [sys.executable, *flags, *module, *map(str, descriptors[:2]), said]
        with ignoring_interrupts():
            return subprocess.Popen(command, pass_fds=descriptors)  # noqa: S603 - our own program

    @property
    def _all_options(self) -> dict[str, Any]:
        return self._options if self._log is None else self._options | {"log": self._log}

    @property
    def _removed(self) -> dict[str, str]:
        """What is to be removed at the end."""
        directory = {} if self._directory is None else {"directory": self._directory}
        return {"path": self.path} | directory

    def poll(self) -> None:
        """See whether it has died; say what of, and when another one is started."""
        status = None if self._child is None else self._child.poll()
        if status is None:
            return
        assert self._child is not None
        now = time.monotonic()
        was_ready = status != BOOT_FAILURE
        delay = self._backoff.note_death(now, now - self._started, was_ready=was_ready)
        when = f"in {delay:g} s" if delay else "now"
        end = describe_end(status)
        pid = self._child.pid
        logger.error("the sequencer (pid %d) %s; another is started %s", pid, end, when)
        self._forget_child()
        self._note_crash(now - self._started, status)

    def _note_crash(self, lifetime: float, status: int) -> None:
        """Give the next one an empty log if the last ones seem to have died of what is in it."""
        if lifetime >= _LONG_LIFE_S or status in (-signal.SIGKILL, -signal.SIGTERM):
            self._crash_count = 0
            return
        self._crash_count += 1
        if self._crash_count >= _CRASH_COUNT and self._log is not None:
            logger.error("the log of the sequencer is given up: what topics have kept is lost")
            self._open_log()

    def _forget_child(self) -> None:
        self._child = None
        if self._lifeline is not None:
            self._lifeline.close()
            self._lifeline = None

    def find_next_start(self) -> float | None:
        """Return when, of a monotonic clock, it is started again; None: it runs."""
        is_down = self._child is None and self._listener is not None
        return self._backoff.due if is_down else None

    # ---- ending

    def abandon(self) -> None:
        """In a forked child, which is a worker, close what is the supervisor's."""
        for sock in (self._listener, self._lifeline):
            if sock is not None:
                sock.close()
        if self._log is not None:
            os.close(self._log)

    def close(self) -> None:
        """End it, and remove its socket; the workers have ended."""
        if self._listener is not None:
            self._listener.close()
            self._listener = None
            self._remove()
        if self._log is not None:
            os.close(self._log)
            self._log = None
        if self._child is None:
            return
        with contextlib.suppress(ProcessLookupError):
            os.kill(self._child.pid, signal.SIGTERM)
        until = time.monotonic() + _END_S
        while (status := self._child.poll()) is None:
            if time.monotonic() >= until:
                logger.warning("the sequencer has not ended in time, and is killed")
                os.kill(self._child.pid, signal.SIGKILL)
                until += _END_S
            time.sleep(0.001)
        level = logging.INFO if status in (0, -signal.SIGTERM) else logging.WARNING
        logger.log(level, "the sequencer (pid %d) %s", self._child.pid, describe_end(status))
        self._forget_child()

    def _remove(self) -> None:
        """Remove the socket's name, and the directory that was made for it."""
        with contextlib.suppress(OSError):
            os.unlink(self.path)
        self._remove_directory()

    def _remove_directory(self) -> None:
        if self._directory is not None:
            shutil.rmtree(self._directory, ignore_errors=True)

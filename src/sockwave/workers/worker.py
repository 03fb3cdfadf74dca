"""A worker as its supervisor sees it."""

import contextlib
import enum
import os
import signal
import socket
import time
from collections.abc import Sequence

from sockwave.workers.control import ControlChannel, Kind
from sockwave.workers.processes import Child, Launcher, Place

#: How much longer than its drain a worker may take to end, and how long after a second signal.
GRACE_S = 5.0


class State(enum.Enum):
    """The states of a worker, in order; it never goes back."""

    STARTING = enum.auto()  #: it imports the application
    READY = enum.auto()  #: it accepts connections
    DRAINING = enum.auto()  #: it was ordered to end


class Worker:
    """One process of the supervisor's, from its start to its end."""

    def __init__(
        self, place: Place, generation: int, channel: ControlChannel, child: Child
    ) -> None:
        self.place = place
        #: How often the supervisor had been told to roll when this worker was started.
        self.generation = generation
        self.channel = channel
        self.child = child
        self.state = State.STARTING
        self.started = time.monotonic()
        #: When it is killed if it has not ended; None: never.
        self.kill_at: float | None = None
        #: Whether it has asked to be replaced.
        self.is_retiring = False
        #: What it has told about its failure to start.
        self.failure = ""

    @property
    def number(self) -> int:
        """The number of its place, from 1."""
        return self.place.number

    def __str__(self) -> str:
        return f"worker {self.number} (pid {self.child.pid})"

    def drain(self, drain_s: float | None, *, is_last: bool, cause: str = "close") -> None:
        """Order it to end within `drain_s` seconds, once; kill it some time after that.

        `is_last` says that no other worker accepts on its sockets; `cause` is the signal.
        """
        if self.state is State.DRAINING:
            return
        was_starting = self.state is State.STARTING
        self.state = State.DRAINING
        if drain_s is not None:
            self.kill_within(drain_s + GRACE_S)
        self.channel.send(Kind.DRAIN, is_last=is_last, drain_s=drain_s, cause=cause)
        if was_starting or self.channel.is_ended:
            self.kill(signal.SIGTERM)  # it does not read its channel, or not yet

    def kill_within(self, seconds: float) -> None:
        """Kill it unless it ends within so many seconds."""
        at = time.monotonic() + seconds
        self.kill_at = at if self.kill_at is None else min(self.kill_at, at)

    def kill(self, number: int) -> None:
        """Send it a signal."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.child.pid, number)


def start_worker(
    launcher: Launcher, place: Place, generation: int, sockets: Sequence[socket.socket]
) -> Worker:
    """Start the process of a worker, and tell it what it is to know.

    Raises OSError where the system has no more processes, memory or descriptors.
    """
    ours, theirs = socket.socketpair()
    try:
        with theirs:
            child = launcher.launch(place, (ours, theirs), sockets)
    except OSError:
        ours.close()
        raise
    channel = ControlChannel(ours)
    fields = launcher.describe(place, sockets)
    if fields is not None:
        channel.send(Kind.BEGIN, **fields)
    return Worker(place, generation, channel, child)

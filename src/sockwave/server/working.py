"""A server as one of several workers: how they are forked, and how one of them ends."""

import asyncio
import gc
import importlib
import logging
import os
import select
import socket
import threading
import traceback
from collections.abc import Awaitable, Callable, Sequence

from sockwave.errors import LaunchError, SockwaveError
from sockwave.limits import Limits
from sockwave.listening.listening import Listening
from sockwave.paths import check_path
from sockwave.runtime.host import Host
from sockwave.workers.control import ControlChannel
from sockwave.workers.link import Link, Order
from sockwave.workers.processes import BOOT_FAILURE, ForkLauncher, Place
from sockwave.workers.sequencing import SequencerProcess
from sockwave.workers.sockets import ServiceSockets
from sockwave.workers.supervisor import Supervisor

logger = logging.getLogger("sockwave")

# For how long a worker that ends waits for the requests of those who have just connected: they are
# on their way, unless the client only keeps a connection in store.
_NEWCOMERS_S = 1.0
_TICK_S = 0.01

# Of a server's limits, those that its sequencer applies.
_SEQUENCER_LIMITS = ("topic_count", "history_budget", "append_size")

# Whose frames lead to the application's, and tell nothing about it.
_PACKAGE = os.path.dirname(os.path.dirname(__file__)) + os.sep
_LIBRARIES = tuple(os.path.join(one.__path__[0], "") for one in (importlib, asyncio))


def check_can_fork(count: int) -> None:
    """Raise ValueError or SockwaveError unless so many workers can be forked from this process."""
    if not isinstance(count, int) or isinstance(count, bool) or count < 1:
        raise ValueError(f"workers: expected 1 or more, given {count!r}")
    if not hasattr(os, "fork"):
        raise SockwaveError("workers: expected a system that can fork; this one cannot")
    if threading.current_thread() is not threading.main_thread() or threading.active_count() > 1:
        names = ", ".join(sorted(one.name for one in threading.enumerate()))
        raise SockwaveError(
            f"workers: expected the main thread and no other, as a fork breaks them; given {names}"
        )
    for one in gc.get_objects():
        # Not `isinstance`, which a proxy object may answer by failing.
        if issubclass(type(one), asyncio.AbstractEventLoop) and not one.is_closed():
            raise SockwaveError(
                f"workers: expected no loop before the workers are forked, which would share its "
                f"descriptors; given {one!r}"
            )


def make_sequencer(path: str | os.PathLike[str] | None, limits: Limits) -> SequencerProcess:
    """Return the sequencer of a server's workers, which has its limits.

    Raises TypeError or ValueError for what can be no path.
    """
    if path is not None:
        check_path("sequencer", path)
        path = os.fspath(path)
    known = {name: getattr(limits, name, None) for name in _SEQUENCER_LIMITS}
    options = {name: value for name, value in known.items() if value is not None}
    return SequencerProcess(path, options=options)


def supervise_forks(
    listening: Listening,
    count: int,
    drain_s: float | None,
    run: Callable[[Link], None],
    sequencer: SequencerProcess,
) -> None:
    """Fork workers that `run`, and supervise them and their sequencer until the end.

    Raises SockwaveError if they could not start.
    """
    sockets = ServiceSockets(listening.waiting, own=listening.own)

    def work(place: Place, channel: ControlChannel, own: Sequence[socket.socket]) -> int:
        listening.replace_waiting(own)
        return run_worker(Link(channel, place), run)

    launcher = ForkLauncher(work)
    if Supervisor(launcher, sockets, count, drain_s=drain_s, sequencer=sequencer).run():
        raise SockwaveError("the workers could not start; what they failed of was logged")


def run_worker(link: Link, run: Callable[[Link], None]) -> int:
    """Run a worker to its end, and return the status of its process.

    What keeps it from starting is told to the supervisor, which says it once for all workers.
    """
    try:
        run(link)
    except BaseException as error:
        if link.is_ready:
            raise
        link.tell_failed(describe_failure(error))
        return BOOT_FAILURE
    return 0


def describe_failure(error: BaseException) -> str:
    """Return what has kept a service from starting: a traceback that begins in the application.

    Of a LaunchError, return the sentence.
    """
    if isinstance(error, LaunchError):
        return str(error)
    frames = error.__traceback__
    while frames is not None and _is_ours(frames.tb_frame.f_code.co_filename):
        frames = frames.tb_next
    error.__traceback__ = frames or error.__traceback__
    return "".join(traceback.format_exception(error))


def _is_ours(name: str) -> bool:
    return name.startswith((_PACKAGE, "<frozen importlib", *_LIBRARIES))


def count_requests(host: Host, most: int, when_reached: Callable[[], object]) -> None:
    """Call `when_reached` once the server has had so many requests and opening handshakes."""
    count = 0

    def served() -> None:
        nonlocal count
        count += 1
        if count == most:
            when_reached()

    host.when_served = served


class Retirement:
    """The end of a worker that another one follows: it loses no request."""

    def __init__(
        self,
        host: Host,
        close: Callable[..., Awaitable[None]],
        sockets: Sequence[socket.socket],
    ) -> None:
        self._host = host
        self._close = close
        self._sockets = sockets
        self._task: asyncio.Task[None] | None = None

    def begin(self, order: Order) -> None:
        """Stop accepting, wait for requests that are on their way, and close the server; once."""
        if self._task is not None:
            return
        if not self._host.is_running:
            self._close(order.cause, order.drain_s)
            return
        self._task = asyncio.get_running_loop().create_task(self._retire(order))

    async def _retire(self, order: Order) -> None:
        host = self._host
        if order.is_last:
            await _wait_until(self._is_queue_empty)
        host.engine.stop_listening()
        admission = host.admission
        await _wait_until(lambda: not (admission.awaiting_client or admission.awaiting_application))
        self._close(order.cause, order.drain_s)

    def _is_queue_empty(self) -> bool:
        """Tell whether no client waits to be accepted."""
        poll = select.poll()
        for sock in self._sockets:
            if sock.fileno() >= 0:
                poll.register(sock, select.POLLIN)
        return not poll.poll(0)


async def _wait_until(is_over: Callable[[], bool]) -> None:
    """Wait until something is over, but not for long."""
    loop = asyncio.get_running_loop()
    end = loop.time() + _NEWCOMERS_S
    while not is_over() and loop.time() < end:  # noqa: ASYNC110 - the kernel's queue has no event
        await asyncio.sleep(_TICK_S)

"""What a forked child does with the servers of its parent.

The child has a copy of each descriptor of a server that runs, but the sockets and the epoll behind
them are shared with the parent: what the child does to them would happen to the parent's server. So
the child closes its copies, replaces those of the event loop, and resets the signal handlers. What
the application was in the middle of goes on in the parent, and is neither gone on with nor ended in
the child: what it would clean up there is the parent's. A server that listens but does not run yet
may be run in the child.
"""

import asyncio
import contextlib
import functools
import logging
import os
import select
import selectors
import signal
import socket
import threading
import weakref
from collections.abc import Iterable
from typing import Any, Protocol

logger = logging.getLogger("sockwave")


class Forkable(Protocol):
    """An object that is called after a fork; see `watch_forks`."""

    def forked(self, *, is_child: bool) -> None:
        """Do what is needed after a fork, in the child and in the parent."""


_watchers: "weakref.WeakSet[Forkable]" = weakref.WeakSet()
_state = {"is_registered": False}
_blocked = threading.local()  # the signal masks from before the forks that are under way


def watch_forks(watcher: Forkable) -> None:
    """Call `watcher.forked` after each fork of this process, as long as `watcher` lives.

    Forks are those by `os.fork` and what calls it: `multiprocessing`, process pools. A subprocess
    runs another program, which has no copy of our descriptors.
    """
    if not _state["is_registered"] and hasattr(os, "register_at_fork"):
        _state["is_registered"] = True
        os.register_at_fork(
            before=_block_signals,
            after_in_parent=functools.partial(_end_fork, is_child=False),
            after_in_child=functools.partial(_end_fork, is_child=True),
        )
    _watchers.add(watcher)


def unwatch_forks(watcher: Forkable) -> None:
    """Stop calling `watcher`: its server has ended and has no descriptors left to share."""
    _watchers.discard(watcher)


def _block_signals() -> None:
    """Block signals until the child has reset its handlers, which would wake the parent's loop."""
    _blocked.masks = [
        *getattr(_blocked, "masks", ()),
        signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals()),
    ]


def _end_fork(*, is_child: bool) -> None:
    """Call the watchers, then restore the signal mask from before the fork."""
    try:
        _call_watchers(is_child=is_child)
    finally:
        # Forks may nest, as a watcher may fork in turn: the last mask is that of the inner fork.
        signal.pthread_sigmask(signal.SIG_SETMASK, _blocked.masks.pop())


def _call_watchers(*, is_child: bool) -> None:
    for watcher in list(_watchers):
        try:
            watcher.forked(is_child=is_child)
        except Exception:
            logger.exception("error after a fork")


def detach_loop(loop: asyncio.AbstractEventLoop) -> None:
    """Separate the child's copy of a loop from the parent's: nothing done to it reaches there."""
    _reset_signals(loop)
    _replace_descriptors(loop)


def leave_tasks(loop: asyncio.AbstractEventLoop, tasks: "Iterable[asyncio.Task[Any]]") -> None:
    """Leave tasks to the parent: what they are in the middle of is not ended in the child.

    At the end of a loop, tasks are cancelled and asynchronous generators closed. Each would run the
    `finally` of an application in the child as well, with the parent's descriptors: of a pool of
    connections to a database, say. The caller keeps the tasks for ever, as to free one closes it.
    """
    for task in tasks:
        asyncio.tasks._unregister_task(task)
    # They may hang on tasks in any place, and uvloop does not show them.
    getattr(loop, "_asyncgens", set()).clear()


def _reset_signals(loop: asyncio.AbstractEventLoop) -> None:
    """Give signals the handlers that they have in a new process.

    Those of the parent would write to the pipe of the parent's loop, and end the parent's server.
    """
    for number in signal.valid_signals():
        if callable(signal.getsignal(number)):
            with contextlib.suppress(NotImplementedError, RuntimeError, ValueError):
                loop.remove_signal_handler(number)
    handler = signal.getsignal(signal.SIGINT)
    owner = getattr(getattr(handler, "func", None), "__self__", None)
    if isinstance(owner, asyncio.Runner):  # its handler would cancel a task that does not run here
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if not hasattr(loop, "_csock"):
        # Not a loop of asyncio's, which does this itself when its last handler is removed.
        with contextlib.suppress(ValueError):
            signal.set_wakeup_fd(-1)


def _replace_descriptors(loop: asyncio.AbstractEventLoop) -> None:
    """Give the child's copy of an asyncio loop its own epoll and self-pipe, under the same numbers.

    Until then the child shares them with the parent. Closing the loop, at the exit of the program
    too, would take the pipe out of the parent's epoll, and nothing would wake the parent again.
    """
    selector = getattr(loop, "_selector", None)
    ends: list[socket.socket | None] = [getattr(loop, f"_{name}sock", None) for name in "sc"]
    own = [end.fileno() for end in ends if end is not None]
    is_epoll = isinstance(selector, getattr(selectors, "EpollSelector", ()))
    if selector is None or not is_epoll or len(own) < len(ends):
        return
    pair = socket.socketpair()
    for end, old in zip(pair, own, strict=True):
        with end:
            end.setblocking(False)
            os.dup2(end.fileno(), old, inheritable=False)
    with select.epoll() as fresh:
        fresh.register(own[0], select.EPOLLIN)
        os.dup2(fresh.fileno(), selector.fileno(), inheritable=False)

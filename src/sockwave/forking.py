"""What becomes of a server in a process that is forked from its own.

Of a server that runs, the child has copies of all descriptors, and every one of them is the
parent's: to act on it would act there. It lets go of them, of the loop's own too, and of the
signals. A server that only listens so far may be run in the child.
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
from typing import Protocol

logger = logging.getLogger("sockwave")


class Forkable(Protocol):
    """What wants to know of a fork."""

    def forked(self, *, is_child: bool) -> None:
        """Do what is to be done in the child, or in the parent, after a fork."""


_watchers: "weakref.WeakSet[Forkable]" = weakref.WeakSet()
_state = {"is_registered": False}
_held = threading.local()  # the signal masks of forks that are under way


def watch_forks(watcher: Forkable) -> None:
    """Tell `watcher`, as long as it lives, of each fork of this process.

    That is `os.fork` and what calls it: `multiprocessing`, process pools. A subprocess becomes
    another program, and has nothing of ours then.
    """
    if not _state["is_registered"] and hasattr(os, "register_at_fork"):
        _state["is_registered"] = True
        os.register_at_fork(
            before=_hold_signals,
            after_in_parent=functools.partial(_tell, is_child=False),
            after_in_child=functools.partial(_tell, is_child=True),
        )
    _watchers.add(watcher)


def watch_no_more(watcher: Forkable) -> None:
    """Tell it no more, as it has nothing any more that a child could have."""
    _watchers.discard(watcher)


def _hold_signals() -> None:
    """Let signals wait until the child has let go of what would write them to the parent's loop."""
    _held.masks = [
        *getattr(_held, "masks", ()),
        signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals()),
    ]


def _tell(*, is_child: bool) -> None:
    try:
        _tell_all(is_child=is_child)
    finally:
        # In an inner fork, of a listener of this one perhaps, the last mask is its own.
        signal.pthread_sigmask(signal.SIG_SETMASK, _held.masks.pop())


def _tell_all(*, is_child: bool) -> None:
    for watcher in list(_watchers):
        try:
            watcher.forked(is_child=is_child)
        except Exception:
            logger.exception("error after a fork")


def let_go_of(loop: asyncio.AbstractEventLoop) -> None:
    """Let nothing that a forked child does reach its parent by way of the parent's loop."""
    _release_signals(loop)
    _renew(loop)


def _release_signals(loop: asyncio.AbstractEventLoop) -> None:
    """Have signals do in the child what they do in a process that has just begun.

    They would be written to the parent's loop, which would end for them.
    """
    for number in signal.valid_signals():
        if callable(signal.getsignal(number)):
            with contextlib.suppress(NotImplementedError, RuntimeError, ValueError):
                loop.remove_signal_handler(number)
    handler = signal.getsignal(signal.SIGINT)
    owner = getattr(getattr(handler, "func", None), "__self__", None)
    if isinstance(owner, asyncio.Runner):  # which would cancel a task that does not go on here
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if not hasattr(loop, "_csock"):
        # Those of asyncio have let go of it with their last handler.
        with contextlib.suppress(ValueError):
            signal.set_wakeup_fd(-1)


def _renew(loop: asyncio.AbstractEventLoop) -> None:
    """Give a loop of asyncio's an epoll and a pipe to itself of its own.

    It would share them with the parent's: who closes the loop, or leaves the program by way of it,
    would take the pipe's end out of the parent's epoll, and nothing would wake the parent again.
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

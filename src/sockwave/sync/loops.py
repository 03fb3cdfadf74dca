"""The loops of connections without asyncio: one thread for each kind of engine, for all of them."""

import asyncio
import os
import selectors
import sys
import threading

from sockwave.client.host import ClientHost, Key, keep_host
from sockwave.client.options import ClientOptions
from sockwave.client.topics.state import TopicState
from sockwave.core.events.loop_thread import keep_for_ever
from sockwave.core.http.headers import Headers
from sockwave.core.io.transport import Transport
from sockwave.core.session.connection import Connection as CoreConnection
from sockwave.core.sync.session import ThreadSession
from sockwave.core.sync.shared_loop import SharedLoop
from sockwave.errors import SockwaveError
from sockwave.sync.topic_session import TopicSession

#: By kind of engine, those that have begun in this process.
_loops: dict[str, SharedLoop] = {}
_lock = threading.Lock()


class SharedSelector(selectors.DefaultSelector):
    """The selector of a loop of asyncio's whose lock is free while it waits."""

    shared: SharedLoop | None = None

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        """Wait as every selector does."""
        if self.shared is None:
            return super().select(timeout)
        self.shared.__exit__()
        try:
            return super().select(timeout)
        finally:
            self.shared.__enter__()


class ThreadHost(ClientHost):
    """The host of connections that threads use."""

    def __init__(self, key: Key, options: ClientOptions, shared: SharedLoop) -> None:
        super().__init__(key, options)
        self._shared = shared
        # Instead, a thread that calls holds the lock.
        self.engine.thread.release()

    def make_connection(
        self,
        transport: Transport,
        version: str,
        head: bytes,
        response_headers: Headers,
        topics: TopicState | None,
    ) -> ThreadSession:
        """Make the connection of a handshake that has succeeded."""
        if topics is None:
            session = ThreadSession(self.hub, transport, version, head, response_headers)
        else:
            session = TopicSession(self.hub, transport, version, head, response_headers, topics)
        session._share(self._shared)
        return session

    def report(self, error: BaseException, connection: CoreConnection | None) -> None:
        """Log an error of the application, once the lock is free."""
        self._shared.report_later(super().report, error, connection)

    def leave_loop(self) -> None:
        """In a forked child, leave the loop to the parent: `_after_fork` does."""


def find_loop(engine: str) -> SharedLoop:
    """Return the loop for an engine; its thread is started when it is asked for first.

    Raises SockwaveError for "epoll" if the system has none.
    """
    has_epoll = sys.platform == "linux"
    if engine == "epoll" and not has_epoll:
        raise SockwaveError("engine: expected a system and a loop with epoll, for 'epoll'")
    kind = "epoll" if has_epoll and engine != "asyncio" else "asyncio"
    with _lock:
        if kind not in _loops:
            _loops[kind] = _begin_polling() if kind == "epoll" else _begin_asyncio()
        return _loops[kind]


def check_may_wait(call: str) -> None:
    """Raise SockwaveError where the calling thread holds the lock of a loop, of either kind."""
    for shared in list(_loops.values()):
        shared.check_may_wait(call)


def find_thread_host(shared: SharedLoop, options: ClientOptions) -> ClientHost:
    """Return the host of a loop for connections with these options; the caller holds the lock."""
    key = shared.loop, options.shared
    return keep_host(key, lambda: ThreadHost(key, options, shared))


def _begin_polling() -> SharedLoop:
    from sockwave.core.sync.poller_loop import PollerLoop

    shared = PollerLoop()
    threading.Thread(target=shared.run, name="sockwave-sync", daemon=True).start()
    return shared


def _begin_asyncio() -> SharedLoop:
    selector = SharedSelector()
    loop = asyncio.SelectorEventLoop(selector)
    loop.set_debug(False)  # there it refuses calls of other threads, which hold the lock here
    shared = SharedLoop(loop)
    loop.set_exception_handler(
        lambda _, context: shared.report_later(loop.default_exception_handler, context)
    )
    # Should it be freed, in a forked child, it would be closed, with the parent's descriptors.
    keep_for_ever(loop)

    def run() -> None:
        shared.own()
        with shared:
            selector.shared = shared
            loop.run_forever()

    threading.Thread(target=run, name="sockwave-sync", daemon=True).start()
    return shared


# ---- forks: the child has none of the threads, and a lock that one of them holds stays locked


def _before_fork() -> None:
    _lock.acquire()
    for shared in _loops.values():
        shared.__enter__()


def _after_fork_in_parent() -> None:
    for shared in _loops.values():
        shared.__exit__()
    _lock.release()


def _after_fork_in_child() -> None:
    for shared in _loops.values():
        shared.abandon()
        shared.__exit__()
    _loops.clear()
    _lock.release()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=_before_fork,
        after_in_parent=_after_fork_in_parent,
        after_in_child=_after_fork_in_child,
    )

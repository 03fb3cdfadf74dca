"""A virtual clock: a loop whose time jumps to the next deadline as soon as nothing else is left.

Its connections are in memory. So nothing is waited for, whatever the seconds of a test, and all of
it happens in the same order each time.
"""

import asyncio
import functools
import inspect
import os
import random
import selectors
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import Any, ParamSpec, TypeVar

from sockwave.client.dialing import dials
from sockwave.testing.fixtures import running_plan
from sockwave.testing.jobs import Jobs
from sockwave.testing.memory import Address, Listeners, MemoryServer, MemorySocket, MemoryTransport
from sockwave.testing.watch import VIRTUAL_TIMEOUT_S, Hang, Watch, describe_deadlock

Result = TypeVar("Result")
Args = ParamSpec("Args")

# What `random` begins with, in each run.
_SEED = 6455


def _refuse(what: str) -> RuntimeError:
    return RuntimeError(
        f"under the virtual clock, the network is in memory: expected sockwave.connect, or what "
        f"uses loop.create_connection, given {what}"
    )


def _refusing(what: str) -> Any:
    """Make a method of a loop that raises RuntimeError."""

    async def refuse(*_: Any, **__: Any) -> Any:
        raise _refuse(what)

    return refuse


class _Selector(selectors.DefaultSelector):
    """Waits for nothing but threads: in place of a wait, the time passes."""

    loop: "VirtualLoop"

    def select(self, timeout: float | None = None) -> list[Any]:
        """Return what is ready; if nothing is, let the time pass."""
        loop = self.loop
        if loop._end_report is not None:
            raise Hang(loop._end_report)
        ready = super().select(0)
        if not ready and (timeout is None or timeout > 0):
            ready = loop._jobs.wait(super().select, is_all=timeout is None)
        elif ready:
            loop._jobs.be_patient()
        if ready or timeout == 0:
            return ready
        if timeout is None:
            raise Hang(describe_deadlock(loop, loop._listeners.list_networks()))
        loop._pass_time(max(timeout, 0.0))
        return []


class VirtualLoop(asyncio.SelectorEventLoop):
    """A loop of asyncio's with a virtual clock, and a network in memory.

    `time`, `call_later`, `asyncio.sleep` and `asyncio.timeout` are virtual; `time.time` and
    `time.monotonic` are not. While a thread works for the loop (`run_in_executor`,
    `asyncio.to_thread`), the clock stands still, for 10 real seconds at most; it goes on for a
    thread that waits for the loop. What would need a real socket, a pipe or a process raises
    RuntimeError. A loop in which nothing is left to wait for raises `Hang`.

    `asyncio.Runner(loop_factory=VirtualLoop)` runs in one, and so do plugins that take a factory.
    """

    def __init__(self) -> None:
        #: It begins as the clock of other loops, which a server goes by until it runs.
        self._now = time.monotonic()
        #: Why it runs no further, once a test cannot be ended otherwise.
        self._end_report: str | None = None
        #: The threads that work for the loop.
        self._jobs = Jobs()
        selector = _Selector()
        selector.loop = self
        super().__init__(selector)
        #: What listens in memory.
        self._listeners = Listeners(self)
        dials[self] = self._listeners.dial

    # ---- the clock

    def time(self) -> float:
        """Return the virtual time, in seconds."""
        return self._now

    def _pass_time(self, seconds: float) -> None:
        """Let so much time pass."""
        self._now += seconds

    def _give_up(self, report: str) -> None:
        """Raise `Hang` from now on, in place of all waits."""
        self._end_report = report

    def run_in_executor(  # type: ignore[override]  # a future, as the base class makes one
        self, executor: Any, func: Callable[..., Result], *args: Any
    ) -> "asyncio.Future[Result]":
        """Run a function in a thread; the clock stands still until it has returned."""
        future = super().run_in_executor(executor, self._jobs.prepare(executor, func), *args)
        self._jobs.begin()
        future.add_done_callback(self._jobs.end)
        return future

    def call_soon_threadsafe(  # type: ignore[override]  # what is given is the base class's
        self, *args: Any, **options: Any
    ) -> asyncio.Handle:
        """Have the loop call a function, from another thread."""
        self._jobs.note_call()
        return super().call_soon_threadsafe(*args, **options)

    async def shutdown_default_executor(self, *args: Any) -> None:
        """Wait for the threads of the executor."""
        self._jobs.begin()
        try:
            await super().shutdown_default_executor(*args)
        finally:
            self._jobs.end()

    # ---- connections in memory

    # As loops without descriptors have it: so servers and clients take the engine on top of
    # transports, which are in memory here.
    add_reader = asyncio.AbstractEventLoop.add_reader
    add_writer = asyncio.AbstractEventLoop.add_writer

    async def create_connection(  # type: ignore[override]  # without those about TLS
        self,
        protocol_factory: Callable[[], asyncio.BaseProtocol],
        host: str | None = None,
        port: int | None = None,
        *,
        sock: Any = None,
        ssl: Any = None,
        **_: Any,
    ) -> tuple[asyncio.Transport, asyncio.BaseProtocol]:
        """Connect to a server of this loop, in memory."""
        if ssl:
            raise _refuse("TLS of asyncio's")
        if sock is None:
            sock = await self._listeners.dial((host, port))
        return await self._carry(protocol_factory, sock)

    async def create_unix_connection(  # type: ignore[override]
        self,
        protocol_factory: Callable[[], asyncio.BaseProtocol],
        path: str | None = None,
        *,
        sock: Any = None,
        **_: Any,
    ) -> tuple[asyncio.Transport, asyncio.BaseProtocol]:
        """Connect to a server of this loop that listens on a path, in memory."""
        if sock is None:
            sock = await self._listeners.dial(os.fspath(path or ""))
        return await self._carry(protocol_factory, sock)

    async def _carry(
        self, protocol_factory: Callable[[], asyncio.BaseProtocol], sock: Any
    ) -> tuple[asyncio.Transport, asyncio.BaseProtocol]:
        if not isinstance(sock, MemorySocket):
            raise _refuse("a real socket")
        protocol = protocol_factory()
        transport = MemoryTransport(self, protocol, sock)
        begun = self.create_future()
        self.call_soon(self._begin, transport, begun, context=transport.context)
        await begun
        return transport, protocol

    def _begin(self, transport: MemoryTransport, begun: "asyncio.Future[None]") -> None:
        try:
            transport.begin()
        except Exception as error:  # what the protocol raises is its caller's
            begun.set_exception(error)
        else:
            begun.set_result(None)

    async def create_server(  # type: ignore[override]
        self,
        protocol_factory: Callable[[], asyncio.BaseProtocol],
        host: Any = None,
        port: int | None = None,
        *,
        sock: Any = None,
        ssl: Any = None,
        **_: Any,
    ) -> MemoryServer:
        """Accept connections of this loop; those that come from outside are not seen."""
        if ssl:
            raise _refuse("TLS of asyncio's")
        address: Address = (host or "127.0.0.1", port or 0) if sock is None else sock.getsockname()
        return self._listeners.listen(protocol_factory, address, sock)

    async def create_unix_server(  # type: ignore[override]
        self,
        protocol_factory: Callable[[], asyncio.BaseProtocol],
        path: str | None = None,
        *,
        sock: Any = None,
        **_: Any,
    ) -> MemoryServer:
        """Accept connections of this loop to a path."""
        address = os.fspath(path or "") if sock is None else sock.getsockname()
        return self._listeners.listen(protocol_factory, address, sock)

    sock_connect = sock_accept = create_datagram_endpoint = _refusing("a real socket")
    sock_recv = sock_recv_into = sock_recvfrom = sock_recvfrom_into = sock_connect
    sock_sendall = sock_sendto = sock_sendfile = sock_connect
    connect_read_pipe = connect_write_pipe = _refusing("a pipe")
    subprocess_exec = subprocess_shell = _refusing("a process, whose end takes real time")


def run(main: Coroutine[Any, Any, Result], *, timeout: float = VIRTUAL_TIMEOUT_S) -> Result:
    """Run a coroutine under a virtual clock, as `asyncio.run` does under the real one.

    The module `random` draws the same numbers in each run, and goes on behind it as before. Raises
    `Hang` when it has not ended within `timeout` virtual seconds, 600 by default.
    """
    with _drawing_the_same(), asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(_watch(main, timeout))


@contextmanager
def _drawing_the_same() -> Iterator[None]:
    """Have the module `random` draw the same numbers each time: waits vary by them."""
    state = random.getstate()
    random.seed(_SEED)
    try:
        yield
    finally:
        random.setstate(state)


async def _watch(main: Awaitable[Result], timeout: float) -> Result:
    loop = asyncio.get_running_loop()
    assert isinstance(loop, VirtualLoop)
    async with Watch(timeout, loop._listeners.list_networks):
        return await main


def virtual_clock(
    test: Callable[Args, Coroutine[Any, Any, Result]],
) -> Callable[Args, Result]:
    """Let an async test run under a virtual clock, by `run`: a decorator.

    What it gives is a plain function, which needs no plugin to be run. Its fixtures are plain ones,
    among them `sockwave_server` and `sockwave_client`. Raises TypeError for a plain function.
    """
    if not inspect.iscoroutinefunction(test):
        raise TypeError(f"virtual_clock: expected an async function, given {test!r}")

    @functools.wraps(test)
    def run_test(*args: Args.args, **kwargs: Args.kwargs) -> Result:
        plan = running_plan.get()
        if plan is None:
            return run(test(*args, **kwargs))
        planned: Callable[Args, Coroutine[Any, Any, Result]] = plan.wrap(test)
        return run(planned(*args, **kwargs), timeout=plan.timeout or VIRTUAL_TIMEOUT_S)

    return run_test

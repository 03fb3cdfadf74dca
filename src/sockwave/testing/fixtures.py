"""What the fixtures of the plugin for pytest are made of."""

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import AsyncExitStack
from contextvars import ContextVar
from types import TracebackType
from typing import Any, NamedTuple, Self, TypeAlias

from sockwave.client.connecting import connect
from sockwave.close import CloseCode
from sockwave.core.session.client_connection import ClientConnection
from sockwave.testing.network import Network
from sockwave.testing.serving import Target, choose_timeout, serving
from sockwave.testing.watch import Watch

AsyncTest: TypeAlias = Callable[..., Coroutine[Any, Any, Any]]


class Plan(NamedTuple):
    """How the plugin has a test run that runs its own loop, as `virtual_clock` does."""

    #: Makes of an async function one that ends what the fixtures of the test have opened.
    wrap: Callable[[AsyncTest], AsyncTest]
    #: How many seconds the test may take; None: as many as others.
    timeout: float | None


#: The plan of the test that runs now, if the plugin runs it.
running_plan: ContextVar[Plan | None] = ContextVar("running_plan", default=None)


class Kit:
    """The servers and clients of one test, which end with it.

    `refusal` says why nothing can be opened, if nobody would end it; `is_late` tells that the kit
    is made while the test runs already: then it begins with the first that is opened.
    """

    def __init__(
        self, timeout: float | None = None, *, refusal: str | None = None, is_late: bool = False
    ) -> None:
        self._timeout = timeout
        self._refusal = refusal
        self._is_late = is_late
        self._is_entered = False
        self._stack = AsyncExitStack()
        self._networks: list[Network] = []
        #: Those that fixtures have entered.
        self._watches: list[Watch] = []
        # Where something was opened that nothing has ended.
        self._loop: asyncio.AbstractEventLoop | None = None

    async def serve(self, target: Target, *, network: Network | None = None, **options: Any) -> str:
        """Serve until the test ends; returns the URL. See `serve`."""
        await self._begin()
        used = network or Network()
        self._networks.append(used)
        url, _ = await self._stack.enter_async_context(serving(target, used, options))
        return url

    async def connect(self, url: str, **options: Any) -> ClientConnection:
        """Connect, until the test ends; the options are those of `sockwave.connect`."""
        await self._begin()
        connection: ClientConnection = await connect(url, **{"proxy": False, **options})
        self._stack.push_async_callback(self._leave, connection)
        return connection

    async def _begin(self) -> None:
        """Raise RuntimeError unless somebody ends what is opened now."""
        if not self._is_entered:
            if self._is_late:
                await self.__aenter__()
            elif self._refusal is not None:
                raise RuntimeError(self._refusal)
        self._loop = asyncio.get_running_loop()

    async def _leave(self, connection: ClientConnection) -> None:
        for network in self._list_networks():
            for link in network.links:
                link._clear_faults()
        await connection._leave(CloseCode.NORMAL_CLOSURE)

    def watch_for(self, watches: list[Watch]) -> None:
        """Watch the test in place of those that its fixtures have entered."""
        self._watches = watches

    def _list_networks(self) -> list[Network]:
        return [
            *self._networks,
            *(network for watch in self._watches for network in watch.list_networks()),
        ]

    async def __aenter__(self) -> Self:
        """Begin the test."""
        self._is_entered = True
        timeout = self._timeout
        if timeout is None:
            timeout = min((watch.timeout for watch in self._watches), default=choose_timeout(None))
        await self._stack.enter_async_context(Watch(timeout, self._list_networks))
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool | None:
        """End what was opened."""
        try:
            return await self._stack.__aexit__(kind, error, traceback)
        finally:
            self._is_entered = False
            self._loop = None
            self._networks.clear()

    def end(self) -> None:
        """End what was opened for a test that has not come to run: a fixture has failed."""
        loop, self._loop = self._loop, None
        if loop is not None and not loop.is_closed() and not loop.is_running():
            loop.run_until_complete(self._stack.aclose())

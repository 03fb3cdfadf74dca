"""Something that happens once, for which tasks of any loop can wait."""

import asyncio
import contextlib


class Moment:
    """Something that happens once, in any thread; tasks may wait for it before there is a loop."""

    def __init__(self) -> None:
        self.has_come = False
        self._waiters: list[asyncio.Future[None]] = []

    async def wait(self) -> None:
        """Wait until it happens; return at once if it has happened."""
        waiter = asyncio.get_running_loop().create_future()
        self._waiters.append(waiter)
        try:
            if not self.has_come:  # asked last: it may happen in another thread at any time
                await waiter
        finally:
            self._waiters.remove(waiter)

    def come(self) -> None:
        """Wake all tasks that wait."""
        self.has_come = True
        for waiter in list(self._waiters):
            with contextlib.suppress(RuntimeError):  # its loop has been closed
                waiter.get_loop().call_soon_threadsafe(_wake, waiter)


def _wake(waiter: "asyncio.Future[None]") -> None:
    if not waiter.done():
        waiter.set_result(None)

"""Tasks that wait until something has changed."""

import asyncio

# An application that asks again and again although it is told that all is over must not keep the
# loop from others: each time it has been told so often, it waits for the loop's next turn. Not each
# time: one that polls, as Starlette's `is_disconnected` does, is told only what is there at once.
TOLD_COUNT = 64


class Waiting:
    """Any number of tasks that look again when they are woken."""

    __slots__ = ("_futures",)

    def __init__(self) -> None:
        self._futures: list[asyncio.Future[None]] = []

    async def wait(self) -> None:
        """Wait until `wake` is called."""
        future = asyncio.get_running_loop().create_future()
        self._futures.append(future)
        try:
            await future
        finally:
            if future in self._futures:
                self._futures.remove(future)

    def wake(self) -> None:
        """Wake all tasks that wait."""
        futures, self._futures = self._futures, []
        for future in futures:
            if not future.done():
                future.set_result(None)

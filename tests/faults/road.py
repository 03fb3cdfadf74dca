"""The road between a host and its broker: it can be cut, fall silent, stand still, be led on."""

import asyncio
import contextlib

from faults.client import abort_transport

READ_SIZE = 1 << 16


class Road:
    """Listens at a port, and passes on to another."""

    def __init__(self, target: int) -> None:
        self.target = target
        self._writers: list[asyncio.StreamWriter] = []
        self._tasks: set[asyncio.Task[None]] = set()
        #: The connections that pass nothing on any more, in either direction.
        self._silent: set[asyncio.Task[None]] = set()
        self._is_open = asyncio.Event()
        self._is_open.set()

    async def begin(self) -> int:
        """Listen; give the port."""
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        port: int = self._server.sockets[0].getsockname()[1]
        return port

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            above, below = await asyncio.open_connection("127.0.0.1", self.target)
        except OSError:
            abort_transport(writer.transport)
            return
        self._writers += [writer, below]
        ways = [
            asyncio.ensure_future(self._carry(reader, below, is_back=False)),
            asyncio.ensure_future(self._carry(above, writer, is_back=True)),
        ]
        self._tasks.update(ways)
        await asyncio.wait(ways)
        self._tasks.difference_update(ways)
        self._silent.difference_update(ways)
        for one in (writer, below):
            one.close()
            self._writers.remove(one)

    async def _carry(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, is_back: bool
    ) -> None:
        this = asyncio.current_task()
        with contextlib.suppress(OSError):
            while True:
                if is_back:
                    await self._is_open.wait()
                data = await reader.read(READ_SIZE)
                if this in self._silent:
                    if not data:
                        return
                    continue
                if not data:
                    break
                writer.write(data)
                await writer.drain()
            writer.write_eof()

    def fall_silent(self) -> None:
        """Pass nothing on any more of the connections that there are, and end none (half-open)."""
        self._silent = set(self._tasks)

    def stop_back(self) -> None:
        """Read nothing more of what the broker sends, until `go_on`."""
        self._is_open.clear()

    def go_on(self) -> None:
        """Read again."""
        self._is_open.set()

    def cut(self) -> None:
        """Reset all connections."""
        for writer in self._writers:
            abort_transport(writer.transport)

    async def close(self) -> None:
        """End all connections, and listen no more."""
        self._server.close()
        self.go_on()
        self.cut()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

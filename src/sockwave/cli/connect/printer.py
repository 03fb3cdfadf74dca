"""Standard output, written by a thread: who reads it may be slow, and pings are answered anyway."""

import asyncio
import contextlib
import os
import queue
import sys
import threading

#: What may wait to be written: when it is so much, no more is taken from the connection.
_MOST_WAITING_SIZE = 16 << 20


class Printer:
    """Writes lines to standard output, in their order, as fast as they are read.

    A thread that waits in a write must not keep the process from ending: so it is a daemon, and
    takes none of Python's locks.
    """

    def __init__(self) -> None:
        self._descriptor = sys.stdout.fileno()
        self._encoding = sys.stdout.encoding
        self._loop = asyncio.get_running_loop()
        #: Fails with what was wrong when a line could not be written.
        self.failure: asyncio.Future[None] = self._loop.create_future()
        self._waiting_size = 0
        self._changed = asyncio.Event()
        self._queue: queue.SimpleQueue[bytes] = queue.SimpleQueue()
        threading.Thread(target=self._write, name="sockwave-output", daemon=True).start()

    async def print(self, text: str) -> None:
        """Have a line written, once there is room for it; raises OSError if one could not be."""
        await self._wait_below(_MOST_WAITING_SIZE)
        # What the encoding lacks, as half of a pair of surrogates in JSON, is not to end it all.
        line = f"{text}\n".encode(self._encoding, "backslashreplace")
        self._waiting_size += len(line)
        self._queue.put(line)

    async def finish(self) -> None:
        """Wait until all has been written; raises OSError if it could not be."""
        await self._wait_below(1)

    async def _wait_below(self, size: int) -> None:
        while self._waiting_size >= size and not self.failure.done():
            self._changed.clear()
            await self._changed.wait()
        if self.failure.done():
            self.failure.result()

    def _note_written(self, size: int) -> None:
        self._waiting_size -= size
        self._changed.set()

    def _note_failure(self, error: OSError) -> None:
        self.failure.set_exception(error)
        self.failure.exception()  # asyncio is not to tell of it where nobody asks any more
        self._changed.set()

    def _write(self) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits for it any more
            while True:
                data = self._take()
                try:
                    rest = memoryview(data)
                    while rest:
                        rest = rest[os.write(self._descriptor, rest) :]
                except OSError as error:
                    self._loop.call_soon_threadsafe(self._note_failure, error)
                    return
                self._loop.call_soon_threadsafe(self._note_written, len(data))

    def _take(self) -> bytes:
        """Return all lines that are there, and wait for one where there is none."""
        lines = [self._queue.get()]
        with contextlib.suppress(queue.Empty):
            while True:
                lines.append(self._queue.get_nowait())
        return b"".join(lines)

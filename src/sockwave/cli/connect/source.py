"""Lines of standard input, as they come, whatever it is: a pipe, a file or a terminal."""

import asyncio
import contextlib
import os
import threading

_READ_SIZE = 1 << 16
_QUEUE_COUNT = 64
"""Lines that are read ahead: a file may be larger than the memory."""


class Lines:
    """The lines of a descriptor, read by a thread of its own.

    Files cannot be waited for, and a thread that waits in a read must not keep the process from
    ending: so it is a daemon, and takes none of Python's locks.
    """

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._loop = asyncio.get_running_loop()
        self._queue: asyncio.Queue[bytes | None] = asyncio.Queue()
        self._room = threading.Semaphore(_QUEUE_COUNT)
        self._kept: bytes | None = None
        self._has_ended = False
        threading.Thread(target=self._read, name="sockwave-input", daemon=True).start()

    async def next(self) -> bytes | None:
        """Return the next line without its end; None: there are no more.

        The line is given again until `done` is called.
        """
        if self._kept is None and not self._has_ended:
            self._kept = await self._queue.get()
            self._room.release()
            self._has_ended = self._kept is None
        return self._kept

    def done(self) -> None:
        """Say that the line has been sent."""
        self._kept = None

    def _read(self) -> None:
        rest: list[bytes] = []  # the pieces of a line without its end
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody takes any more
            while piece := self._read_piece():
                *lines, last = piece.split(b"\n")
                for line in lines:
                    self._put(b"".join([*rest, line]).removesuffix(b"\r"))
                    rest.clear()
                rest.append(last)
            if any(rest):
                self._put(b"".join(rest))
            self._put(None)

    def _read_piece(self) -> bytes:
        try:
            return os.read(self._descriptor, _READ_SIZE)
        except OSError:  # a terminal that has gone away
            return b""

    def _put(self, line: bytes | None) -> None:
        self._room.acquire()
        self._loop.call_soon_threadsafe(self._queue.put_nowait, line)

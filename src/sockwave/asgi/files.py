"""Files as bodies of responses: the extensions `http.response.pathsend` and `zerocopysend`."""

import asyncio
import os
from collections.abc import AsyncIterator
from functools import partial
from typing import Any

from sockwave.http.files import read_pieces


def descriptor_of(message: Any) -> tuple[int, int | None, int | None]:
    """Return descriptor, offset and count of a message; None for what it does not say.

    Raises TypeError or ValueError for anything but an open file and sizes.
    """
    file = message.get("file")
    descriptor = file if isinstance(file, int) else getattr(file, "fileno", lambda: None)()
    if not isinstance(descriptor, int) or isinstance(file, bool):
        raise TypeError(f"file: expected a file with a descriptor, given {type(file).__name__}")
    sizes = []
    for name in ("offset", "count"):
        value = message.get(name)
        if value is not None and (not isinstance(value, int) or isinstance(value, bool)):
            raise TypeError(f"{name}: expected int, given {type(value).__name__}")
        if value is not None and value < 0:
            raise ValueError(f"{name}: expected 0 or more bytes, given {value}")
        sizes.append(value)
    return descriptor, sizes[0], sizes[1]


async def read_descriptor(
    descriptor: int, offset: int | None, count: int | None
) -> AsyncIterator[bytes]:
    """Yield `count` bytes from `offset` on, in pieces that are read in threads.

    Without an offset they are read from the file's position on, without a count to its end. Raises
    OSError if there are fewer.
    """
    if offset is not None:
        seek = partial(os.lseek, descriptor, offset, os.SEEK_SET)
        await asyncio.get_running_loop().run_in_executor(None, seek)
    async for piece in read_pieces(partial(os.read, descriptor), count):
        yield piece

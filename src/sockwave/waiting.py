"""Waiting for something, but not for ever."""

import asyncio
from collections.abc import Awaitable
from typing import TypeVar

Result = TypeVar("Result")


async def within(seconds: float, awaitable: Awaitable[Result]) -> Result:
    """Wait for what is awaited at most so many seconds; raises TimeoutError.

    Not in the compiled core, where a `with` statement crashes the process (Cython 3.3) for an
    exception that there was no memory to give a traceback to.
    """
    async with asyncio.timeout(seconds):
        return await awaitable

"""Answers of the sequencer, for coroutines that wait for them."""

import asyncio
from collections.abc import Callable
from typing import Any, TypeVar

from sockwave.errors import SockwaveError

_T = TypeVar("_T")

# For the answer of a sequencer that is there.
_ANSWER_S = 10.0


class Answer:
    """Hands an answer of the sequencer to a future."""

    def __init__(self, future: "asyncio.Future[Any]") -> None:
        self.came, self.lost = settle(future)


def settle(
    future: "asyncio.Future[Any]",
) -> tuple[Callable[[Any], None], Callable[[], None]]:
    """Return what gives a future its result, and what fails it."""

    def came(value: Any) -> None:
        if not future.done():
            future.set_result(value)

    def lost() -> None:
        if not future.done():
            future.set_exception(SockwaveError("the sequencer has gone: expected to ask again"))

    return came, lost


async def wait_for(future: "asyncio.Future[_T]") -> _T:
    """Wait for an answer, but not for ever."""
    return await asyncio.wait_for(future, _ANSWER_S)

"""Checks of options that are one name or several, one of a few, or a plain function."""

from collections.abc import Callable, Collection, Iterable
from typing import TypeVar

from sockwave.functions import check_runs, is_async

Function = TypeVar("Function", bound=Callable[..., object])

# Types that can be iterated over but are not lists of names.
SINGLE = (str, bytes, bytearray, memoryview)


def collect_names(option: str, value: object) -> tuple[str, ...]:
    """Return one str or an iterable of str as a tuple; raise TypeError for anything else."""
    if isinstance(value, str):
        return (value,)
    if isinstance(value, SINGLE) or not isinstance(value, Iterable):
        raise TypeError(f"{option}: expected str or a list of str, given {type(value).__name__}")
    names = tuple(value)
    for name in names:
        if not isinstance(name, str):
            raise TypeError(f"{option}: expected a list of str, given {name!r} in it")
    if not names:
        raise ValueError(f"{option}: expected at least one name, given an empty list")
    return names


def check_choice(
    option: str, value: str, choices: Collection[str], expected: str | None = None
) -> str:
    """Return `value`; raise TypeError or ValueError unless it is one of `choices`.

    `expected` says in the error what those are, where it is not "one of" them.
    """
    if not isinstance(value, str):
        raise TypeError(f"{option}: expected str, given {type(value).__name__}")
    if value not in choices:
        expected = expected or f"one of {', '.join(map(repr, choices))}"
        raise ValueError(f"{option}: expected {expected}, given {value!r}")
    return value


def check_plain(option: str, function: Function) -> Function:
    """Return `function`; raise TypeError if it is async, as its result would be a coroutine."""
    if is_async(function):
        raise TypeError(f"{option}: expected a plain function, given an async one; see authorize")
    check_runs(option, function)
    return function

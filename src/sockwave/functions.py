"""What kind of function the application gives: a plain one, an async one, or a generator."""

import functools
import inspect
from collections.abc import Callable
from types import CodeType


def _bare(function: object) -> object:
    """Return the function inside a partial or a method."""
    while isinstance(function, functools.partial):
        function = function.func
    return getattr(function, "__func__", function)


def _code_of(function: object) -> object:
    """Return the code object that a call of `function` runs; None where there is none."""
    code = getattr(function, "__code__", None)
    if code is None and not isinstance(function, type):
        call = getattr(type(function), "__call__", None)  # noqa: B004 - its code is looked at
        code = getattr(call, "__code__", None)
    return code


def flags_of(function: object) -> int:
    """Return `co_flags` of the code that a call of `function` runs; 0 where there is none.

    Partials, methods and callable objects are unwrapped. Compiled functions have as many of the
    flags as their compiler has set.
    """
    flags = getattr(_code_of(_bare(function)), "co_flags", 0)
    return flags if isinstance(flags, int) else 0


def is_async(function: object) -> bool:
    """Tell whether a call returns a coroutine, as far as the flags of `function` show."""
    is_marked = bool(flags_of(function) & (inspect.CO_COROUTINE | inspect.CO_ITERABLE_COROUTINE))
    return is_marked or inspect.iscoroutinefunction(function)


def generates(function: object) -> str:
    """Return which kind of generator a call of `function` returns, which runs nothing; "" for none.

    A generator function that `types.coroutine` has marked is none: its result can be awaited.
    """
    flags = flags_of(function)
    if flags & inspect.CO_ASYNC_GENERATOR:
        return "an async generator"
    if flags & inspect.CO_GENERATOR and not flags & inspect.CO_ITERABLE_COROUTINE:
        return "a generator"
    return ""


def check_runs(name: str, function: Callable[..., object]) -> None:
    """Raise TypeError for a generator function, whose call runs nothing; `name` is the option."""
    kind = generates(function)
    if kind:
        raise TypeError(
            f"{name}: expected a function or an async function, given {kind}, "
            f"which does not run when it is called: {function!r}"
        )


def count_arguments(event: str, most: int, listener: Callable[..., object]) -> int:
    """Return how many of an event's `most` arguments a listener takes.

    Raises TypeError where it cannot be called with any number of them.
    """
    try:
        signature = inspect.signature(listener)
    except ValueError:
        return most  # a built-in that does not say
    for count in range(most, -1, -1):
        try:
            signature.bind(*(None,) * count)
        except TypeError:
            continue
        return count
    raise TypeError(
        f"a listener of {event!r}: expected one of at most {most} arguments, given {listener!r}"
    )


def _unwrap(function: object) -> tuple[object, CodeType | None]:
    """Return the function inside partials, methods and decorators, and its code if it is known."""
    function = _bare(function)
    if callable(function):
        function = inspect.unwrap(function)
    code = _code_of(function)
    return function, code if isinstance(code, CodeType) else None


def describe(function: object) -> str:
    """Return a function's name, file and line as asyncio logs them, as far as they are known."""
    function, code = _unwrap(function)
    named = function if hasattr(function, "__qualname__") else type(function)
    name = getattr(named, "__qualname__", repr(function))
    return f"{name}() at {code.co_filename}:{code.co_firstlineno}" if code else f"{name}()"


def describe_in_sentence(function: object) -> str:
    """Return the same as it stands in a sentence of ours: no call is meant, but the function."""
    function, code = _unwrap(function)
    name = getattr(function, "__qualname__", None) or repr(function)
    return f"{name} ({code.co_filename}:{code.co_firstlineno})" if code else name

"""What kind of function the application gives: a plain one, an async one, or one that generates."""

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
    """Return the code that a call of a bare function, or object, runs; None where it has none."""
    code = getattr(function, "__code__", None)
    if code is None and not isinstance(function, type):
        call = getattr(type(function), "__call__", None)  # noqa: B004 - its code is looked at
        code = getattr(call, "__code__", None)
    return code


def flags_of(function: object) -> int:
    """Return the flags of the code that a call of `function` runs; 0 where it does not tell.

    Partials, methods, and objects that can be called are looked into; so are compiled functions,
    which tell as much as their compiler wrote down.
    """
    flags = getattr(_code_of(_bare(function)), "co_flags", 0)
    return flags if isinstance(flags, int) else 0


def is_async(function: object) -> bool:
    """Tell whether a call gives a coroutine, as far as `function` tells."""
    is_marked = bool(flags_of(function) & (inspect.CO_COROUTINE | inspect.CO_ITERABLE_COROUTINE))
    return is_marked or inspect.iscoroutinefunction(function)


def generates(function: object) -> str:
    """Return which kind of generator a call of `function` gives, having run nothing; "" for none.

    What `types.coroutine` has marked is none: it can be awaited.
    """
    flags = flags_of(function)
    if flags & inspect.CO_ASYNC_GENERATOR:
        return "an async generator"
    if flags & inspect.CO_GENERATOR and not flags & inspect.CO_ITERABLE_COROUTINE:
        return "a generator"
    return ""


def check_runs(name: str, function: Callable[..., object]) -> None:
    """Raise TypeError for a function that would not run when it is called; `name` says whose."""
    kind = generates(function)
    if kind:
        raise TypeError(
            f"{name}: expected a function or an async function, given {kind}, "
            f"which does not run when it is called: {function!r}"
        )


def describe(function: object) -> str:
    """Return what a log says of a function: its name, file and line, as far as it tells."""
    function = _bare(function)
    if callable(function):
        function = inspect.unwrap(function)
    code = _code_of(function)
    named = function if hasattr(function, "__qualname__") else type(function)
    name = getattr(named, "__qualname__", repr(function))
    if not isinstance(code, CodeType):
        return f"{name}()"
    return f"{name}() at {code.co_filename}:{code.co_firstlineno}"

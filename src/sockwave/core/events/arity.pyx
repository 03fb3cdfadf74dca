"""How many of an event's arguments a listener takes."""

import inspect
from types import CodeType, FunctionType, MethodType

from cpython.object cimport PyObject

from sockwave.functions import check_runs

cdef extern from "Python.h":
    PyObject* PyFunction_GetCode(object function)
    PyObject* PyFunction_GetDefaults(object function)
    PyObject* PyFunction_GetKwDefaults(object function)
    ctypedef struct PyCodeObject:
        int co_argcount, co_kwonlyargcount, co_flags
    int CO_VARARGS, CO_GENERATOR, CO_ASYNC_GENERATOR


cdef object as_sized(PyObject* defaults):
    """Return the defaults of a function, and () if it has none (NULL)."""
    return () if defaults is NULL else <object>defaults


cdef int count_taken(object listener, str event, int offered) except -1:
    """Return how many of the `offered` arguments a listener takes.

    Raises TypeError when it needs more arguments or other ones, or when calling it would not run it
    (a generator function).
    """
    cdef int positional, required
    cdef PyCodeObject* code
    function = listener.__func__ if type(listener) is MethodType else listener
    if type(function) is FunctionType:
        # By C functions, not by attributes: reading those raises audit events, and this runs for
        # the listeners of every new connection.
        found = <object>PyFunction_GetCode(function)
        defaults = as_sized(PyFunction_GetDefaults(function))
        own_defaults = as_sized(PyFunction_GetKwDefaults(function))
    else:
        found = getattr(function, "__code__", None)
        defaults = getattr(function, "__defaults__", None) or ()
        own_defaults = getattr(function, "__kwdefaults__", None) or ()
    if type(found) is CodeType and not hasattr(function, "__wrapped__") and (
        len(own_defaults) == (<PyCodeObject*>found).co_kwonlyargcount
    ):
        # The usual case: a hundred times as fast as `inspect.signature`.
        code = <PyCodeObject*>found
        if code.co_flags & (CO_GENERATOR | CO_ASYNC_GENERATOR):
            check_runs(f"listener of {event!r}", listener)
        positional = code.co_argcount - (function is not listener)
        required = positional - <int>len(defaults)
        if code.co_flags & CO_VARARGS:
            positional = offered
    else:
        check_runs(f"listener of {event!r}", listener)
        try:
            parameters = inspect.signature(listener).parameters.values()
        except (ValueError, TypeError):
            parameters = None
        if parameters is None:
            return offered      # a built-in without a signature
        positional = required = 0
        for parameter in parameters:
            if parameter.kind is parameter.VAR_POSITIONAL:
                positional = max(positional, offered)
            elif parameter.kind in (parameter.POSITIONAL_ONLY, parameter.POSITIONAL_OR_KEYWORD):
                positional += 1
                required += parameter.default is parameter.empty
            elif parameter.kind is parameter.KEYWORD_ONLY and parameter.default is parameter.empty:
                raise TypeError(
                    f"listener {listener!r} of {event!r} needs the keyword argument "
                    f"{parameter.name!r}, which no event gives"
                )
    if required > offered:
        raise TypeError(
            f"listener {listener!r} takes {required} arguments, but {event!r} has {offered}"
        )
    return min(positional, offered)

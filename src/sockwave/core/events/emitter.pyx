"""Named events and their listeners, for servers and connections.

A listener is called with as many of its event's arguments as it takes; how many is found out once,
when it is added.
"""

import logging
from asyncio import _get_running_loop
from collections.abc import AsyncGenerator, Coroutine, Generator
from inspect import isawaitable

cimport cython
from cpython.object cimport PyObject
from cpython.ref cimport Py_DECREF
from cpython.tuple cimport PyTuple_GET_ITEM, PyTuple_GET_SIZE

from sockwave.core.events.arity cimport count_taken
from sockwave.core.events.waiter cimport Done

from sockwave.functions import describe
from sockwave.guesses import describe_unknown_event
from sockwave.timeouts import ENDS, outcome_of

# The logger to which asyncio itself reports what has held up the loop.
slow_log = logging.getLogger("asyncio")

cdef extern from "Python.h":
    # Calls without a tuple or dict of arguments: nothing is allocated for them.
    PyObject* PyObject_CallNoArgs(object callable)
    PyObject* PyObject_CallOneArg(object callable, object argument)
    PyObject* PyObject_Vectorcall(
        object callable, PyObject* const* arguments, size_t count, PyObject* names
    )
    bint PyCoro_CheckExact(PyObject* value)
    PyObject* Py_None
    long PyLong_AsLong(object value) except? -1
    ctypedef struct AsyncSlots "PyAsyncMethods":
        void* am_await
        void* am_anext
    ctypedef struct Slots "PyTypeObject":
        AsyncSlots* tp_as_async
        void* tp_iternext
    Slots* slots_of "Py_TYPE" (object value) noexcept

# Event name → (event, how many arguments it has).
SERVER_EVENTS = {
    "listening": (LISTENING, 0),
    "connection": (CONNECTION, 1),
    "request": (REQUEST, 2),
    "stream": (STREAM, 1),
    "closing": (CLOSING, 0),
    "close": (CLOSED, 1),
    "error": (ERROR, 2),
    "readyStateChange": (READY_STATE_CHANGE, 2),
    "handshake": (HANDSHAKE, 1),
    "subscribe": (SUBSCRIBE, 2),
    "publish": (PUBLISH, 2),
}
CONNECTION_EVENTS = {
    "message": (MESSAGE, 1),
    "json": (JSON, 1),
    "close": (CLOSED, 2),
    "readyStateChange": (READY_STATE_CHANGE, 1),
    "ping": (PINGED, 1),
    "pong": (PONGED, 1),
    "drain": (DRAIN, 0),
}
NAMES = {event: name for name, (event, _) in [*SERVER_EVENTS.items(), *CONNECTION_EVENTS.items()]}


# How many loops of all threads are in debug mode. While it is 0, a call of a listener need not find
# out its loop.
cdef int watched_count = 0


cdef int watch_listeners(int more) noexcept:
    global watched_count
    watched_count += more
    return 0


cdef inline bint has_await(object value) noexcept:
    """Return whether `value` has `__await__`: all awaitables but generators marked as such."""
    cdef AsyncSlots* slots = slots_of(value).tp_as_async
    return slots is not NULL and slots.am_await is not NULL


cdef inline bint has_next(object value) noexcept:
    """Return whether `value` is an iterator, asynchronous or not."""
    cdef AsyncSlots* slots = slots_of(value).tp_as_async
    if slots_of(value).tp_iternext is not NULL:
        return True
    return slots is not NULL and slots.am_anext is not NULL


cdef int call_one(
    object emitter, const Hooks* hooks, object listener, long code, object first, object second
) except -1:
    """Call one listener in the way that its code says."""
    if watched_count:
        return call_watched(emitter, hooks, listener, code, first, second)
    return call_now(emitter, hooks, listener, code, first, second)


cdef int call_watched(
    object emitter, const Hooks* hooks, object listener, long code, object first, object second
) except -1:
    """Call a listener, and log it if it has taken long. asyncio does not see listeners that run
    while the loop waits for descriptors, and for the others it logs only what has called them."""
    loop = _get_running_loop()
    if loop is None or not loop.get_debug():
        return call_now(emitter, hooks, listener, code, first, second)
    began = loop.time()
    try:
        return call_now(emitter, hooks, listener, code, first, second)
    finally:
        tell_if_slow(loop, loop.time() - began, code >> EVENT_SHIFT, listener)


cdef int tell_if_slow(object loop, double taken_s, int event, object listener) except -1:
    if taken_s >= getattr(loop, "slow_callback_duration", 0.1):
        slow_log.warning(
            "Executing <listener of %r: %s> took %.3f seconds",
            NAMES[event], describe(listener), taken_s,
        )
    return 0


cdef inline int call_now(
    object emitter, const Hooks* hooks, object listener, long code, object first, object second
) except -1:
    cdef PyObject* arguments[2]
    cdef PyObject* result
    if code & ONCE:
        hooks.drop_once(emitter, listener, code)
    code = code >> COUNT_SHIFT & COUNT_MASK
    # Errors are checked by hand: a `try` costs as much as the call of a small listener.
    if code == 1:
        result = PyObject_CallOneArg(listener, first)
    elif code == 0:
        result = PyObject_CallNoArgs(listener)
    else:
        arguments[0] = <PyObject*>first
        arguments[1] = <PyObject*>second
        result = PyObject_Vectorcall(listener, arguments, 2, NULL)
    if result is NULL:
        return caught(emitter, hooks)
    given = <object>result
    Py_DECREF(given)
    if result is Py_None or type(given) is Done:
        return 0
    if PyCoro_CheckExact(result):
        return hooks.started(emitter, given)
    return returned(emitter, hooks, listener, given)


cdef int caught(object emitter, const Hooks* hooks) except -1:
    """Handle the exception that a listener has raised."""
    try:
        raise_pending()
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:
        hooks.failed(emitter, error)
    return 0


cdef int returned(object emitter, const Hooks* hooks, object listener, object result) except -1:
    """Handle what a listener has returned: an awaitable is awaited."""
    if hooks.is_settled is not NULL and hooks.is_settled(emitter, result):
        return 0
    if has_await(result) or has_next(result) and isawaitable(result):
        if type(result) not in ENDS:
            hooks.started(emitter, coroutine_of(listener, result))
    elif has_next(result) and isinstance(result, (AsyncGenerator, Generator)):
        hooks.failed(emitter, TypeError(
            f"listener {listener!r}: expected to be given nothing, or what can be awaited, "
            f"given a generator, of which nothing has run: {result!r}"
        ))
    return 0


cdef object coroutine_of(object listener, object awaitable):
    """Return a coroutine that awaits what a listener has returned, and has the listener's name."""
    if isinstance(awaitable, Coroutine):
        return awaitable
    coroutine = outcome_of(awaitable)
    name = getattr(listener, "__qualname__", None)
    if isinstance(name, str):
        coroutine.__qualname__ = name
    return coroutine


@cython.freelist(4)
cdef class Adding:
    """A decorator that adds what it decorates to the listeners of an event.

    Listeners are added to each connection: to make a closure would cost as much as all the rest of
    adding one.
    """
    cdef object emitter
    cdef const Hooks* hooks
    cdef object event
    cdef bint once

    def __call__(self, listener):
        self.hooks.add(self.emitter, self.event, listener, self.once)
        return listener


cdef object decorator(dict table, object event, bint once, object emitter, const Hooks* hooks):
    """Return a decorator that adds the function to the listeners of `event`."""
    cdef Adding adding = Adding.__new__(Adding)
    if type(event) is not str:
        find_event(table, event)        # raises if it is no name: `@on` needs one
    adding.emitter = emitter
    adding.hooks = hooks
    adding.event = event
    adding.once = once
    return adding


# ---- the listeners

cdef tuple find_event(dict table, object event):
    """Return an event's row of a table. Raises TypeError or ValueError if there is none."""
    if not isinstance(event, str):
        first = next(iter(table), "message")
        raise TypeError(
            f"event: expected its name, as in `on({first!r})` and `on({first!r}, listener)`, "
            f"given {event!r}"
        )
    found = table.get(event)
    if found is None:
        raise ValueError(describe_unknown_event(
            str(event), table, SERVER_EVENTS, CONNECTION_EVENTS
        ))
    return found


cdef long code_of(dict table, object event, object listener, bint once) except -1:
    """Check a listener that is about to be added, and return its code."""
    cdef int number, offered
    cdef tuple found = find_event(table, event)
    number = found[0]
    offered = found[1]
    if not callable(listener):
        raise TypeError(f"a listener of {event!r} must be callable, not {type(listener).__name__}")
    return (
        number << EVENT_SHIFT
        | count_taken(listener, event, offered) << COUNT_SHIFT
        | (ONCE if once else 0)
    )


cdef tuple row_of(object listener, uint8_t only_code):
    """Return the listeners with their codes as (listener, code, listener, code, …)."""
    if only_code:
        return listener, only_code
    return listener or ()


cdef tuple shorten(tuple row):
    """Return (listener, only_code) as an emitter keeps them for a row: the form of least memory."""
    return row if len(row) == 2 else (row or None, 0)


cdef tuple without(tuple row, int event, object listener):
    """Return a row without the latest addition of a listener; the same row if it has none."""
    cdef Py_ssize_t i
    for i in range(len(row) - 2, -1, -2):
        if row[i + 1] >> EVENT_SHIFT == event and row[i] == listener:
            return row[:i] + row[i + 2:]
    return row


cdef tuple without_once(tuple row, object listener, long code):
    """Return a row without a listener that was added by `once`, and is about to be called."""
    cdef Py_ssize_t i
    for i in range(0, len(row), 2):
        if row[i] is listener and row[i + 1] == code:
            return row[:i] + row[i + 2:]
    return row


cdef list list_listeners(object listener, uint8_t only_code, int event):
    cdef tuple row = row_of(listener, only_code)
    cdef Py_ssize_t i
    return [row[i] for i in range(0, len(row), 2) if row[i + 1] >> EVENT_SHIFT == event]


cdef bint is_heard(object listener, uint8_t only_code, int event) noexcept:
    """Return whether there is a listener of an event."""
    cdef tuple row
    cdef Py_ssize_t i
    if only_code or listener is None:
        return only_code >> EVENT_SHIFT == event
    row = <tuple>listener
    for i in range(1, PyTuple_GET_SIZE(row), 2):
        if PyLong_AsLong(<object>PyTuple_GET_ITEM(row, i)) >> EVENT_SHIFT == event:
            return True
    return False


cdef Py_ssize_t count_heard(object listener, uint8_t only_code, int event) noexcept:
    """Return how many listeners an event has."""
    cdef tuple row
    cdef Py_ssize_t i
    cdef Py_ssize_t count = 0
    if only_code or listener is None:
        return only_code >> EVENT_SHIFT == event
    row = <tuple>listener
    for i in range(1, PyTuple_GET_SIZE(row), 2):
        count += PyLong_AsLong(<object>PyTuple_GET_ITEM(row, i)) >> EVENT_SHIFT == event
    return count


cdef bint is_heard_for_good(object listener, uint8_t only_code, int event) except -1:
    """Return whether there is a listener of an event that was not added by `once`."""
    cdef tuple row = row_of(listener, only_code)
    cdef Py_ssize_t i
    for i in range(1, len(row), 2):
        if row[i] >> EVENT_SHIFT == event and not row[i] & ONCE:
            return True
    return False


cdef int call_row(
    tuple row, object emitter, const Hooks* hooks, int event, object first, object second
) except -1:
    """Call the listeners of an event in a row, and return whether there was one."""
    cdef Py_ssize_t i
    cdef long code
    cdef bint heard = False
    for i in range(0, PyTuple_GET_SIZE(row), 2):
        code = PyLong_AsLong(<object>PyTuple_GET_ITEM(row, i + 1))
        if code >> EVENT_SHIFT == event:
            heard = True
            call_one(emitter, hooks, <object>PyTuple_GET_ITEM(row, i), code, first, second)
    return heard


# ---- the emitter of a server

cdef int server_add(object emitter, object event, object listener, bint once) except -1:
    (<Emitter>emitter).add_listener(event, listener, once)
    return 0


cdef int server_drop_once(object emitter, object listener, long code) except -1:
    cdef Emitter self = emitter
    self.listener, self.only_code = shorten(
        without_once(row_of(self.listener, self.only_code), listener, code)
    )
    return 0


cdef int server_failed(object emitter, object error) except -1:
    emitter.listener_failed(error)
    return 0


cdef int server_started(object emitter, object coroutine) except -1:
    emitter.listener_started(coroutine)
    return 0


cdef Hooks server_hooks
server_hooks.add = server_add
server_hooks.drop_once = server_drop_once
server_hooks.failed = server_failed
server_hooks.started = server_started
server_hooks.is_settled = NULL


cdef class Emitter:
    """Emits the events of a server: the compiled base class of a class written in Python, which has
    the methods `listener_failed` and `listener_started`."""

    cdef int served(self) except -1:
        """Take note of a request, or of an opening handshake that is answered by 101."""
        if self.when_served is not None:
            self.when_served()
        return 0

    def count_served(self):
        """Take note of an opening handshake that is answered by 101."""
        self.served()

    cdef bint hears(self, int event) noexcept:
        return is_heard(self.listener, self.only_code, event)

    cdef int emit(self, int event, object first, object second) except -1:
        return call_listeners(
            self.listener, self.only_code, self, &server_hooks, event, first, second
        )

    def add_listener(self, event, listener, bint once=False):
        """Call `listener` at each `event`, or at the next one only."""
        cdef long code = code_of(SERVER_EVENTS, event, listener, once)
        row = row_of(self.listener, self.only_code)
        self.listener, self.only_code = shorten(row + (listener, code))

    def decorator(self, event, bint once=False):
        """Return a decorator that adds a listener of `event`."""
        return decorator(SERVER_EVENTS, event, once, self, &server_hooks)

    def remove_listener(self, event, listener):
        """Remove the latest addition of `listener`; do nothing if it was not added."""
        cdef int number = find_event(SERVER_EVENTS, event)[0]
        row = row_of(self.listener, self.only_code)
        self.listener, self.only_code = shorten(without(row, number, listener))

    def listeners(self, event):
        """List the listeners of `event`, in the order of addition."""
        cdef int number = find_event(SERVER_EVENTS, event)[0]
        return list_listeners(self.listener, self.only_code, number)

    def takers(self, event):
        """List the listeners of `event` with how many of its arguments each takes, for a caller
        that calls them itself. Those that were added by `once` are removed."""
        cdef int number = find_event(SERVER_EVENTS, event)[0]
        cdef tuple row = row_of(self.listener, self.only_code)
        cdef Py_ssize_t i
        found = []
        for i in range(0, len(row), 2):
            if row[i + 1] >> EVENT_SHIFT == number:
                found.append((row[i], row[i + 1] >> COUNT_SHIFT & COUNT_MASK))
                if row[i + 1] & ONCE:
                    server_drop_once(self, row[i], row[i + 1])
        return found

    def call_listener(self, listener, long code):
        """Call one listener, without arguments, as those of the server are called."""
        call_one(self, &server_hooks, listener, code, None, None)

    def emit_event(self, event, first=None, second=None):
        """Call the listeners of `event` with its arguments, and return whether there was one."""
        cdef int number = find_event(SERVER_EVENTS, event)[0]
        return self.emit(number, first, second) == 1

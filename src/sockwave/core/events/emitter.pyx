"""Named events and their listeners: the one emitter of servers and connections.

A listener is called with as many of its event's arguments as it takes; that is decided once,
when it is added.
"""

import asyncio
import difflib
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
from sockwave.timeouts import Farewell, outcome_of

# Where asyncio itself says what has held up the loop.
slow_log = logging.getLogger("asyncio")

cdef extern from "Python.h":
    # Vectorcall without a tuple or a keyword: nothing is allocated for the arguments.
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

# How a listener's code is put together: 4 bits of event, 2 of argument count, 1 of "once". All
# codes are small integers, of which CPython keeps one object each.
cdef enum:
    ONCE = 1
    COUNT_SHIFT = 1
    COUNT_MASK = 3
    EVENT_SHIFT = 3

# Event name → (event, how many arguments it has).
SERVER_EVENTS = {
    "listening": (LISTENING, 0),
    "connection": (CONNECTION, 1),
    "request": (REQUEST, 2),
    "stream": (STREAM, 1),
    "close": (CLOSED, 1),
    "error": (ERROR, 2),
    "readyStateChange": (READY_STATE_CHANGE, 2),
    "handshake": (HANDSHAKE, 1),
}
CONNECTION_EVENTS = {
    "message": (MESSAGE, 1),
    "close": (CLOSED, 2),
    "readyStateChange": (READY_STATE_CHANGE, 1),
    "ping": (PINGED, 1),
    "pong": (PONGED, 1),
    "drain": (DRAIN, 0),
}


# How many loops are in debug mode, in whatever thread: who looks at one flag for each listener need
# not know its loop.
cdef int watched_count = 0


cdef int watch_listeners(int more) noexcept:
    global watched_count
    watched_count += more
    return 0


# The default of a parameter that None shall be a value of.
cdef object MISSING = object()


cdef inline bint has_await(object value) noexcept:
    """Tell whether `await` takes it, as it does all but a generator that is marked for it."""
    cdef AsyncSlots* slots = slots_of(value).tp_as_async
    return slots is not NULL and slots.am_await is not NULL


cdef inline bint has_next(object value) noexcept:
    """Tell whether it gives one thing after the other."""
    cdef AsyncSlots* slots = slots_of(value).tp_as_async
    if slots_of(value).tp_iternext is not NULL:
        return True
    return slots is not NULL and slots.am_anext is not NULL


cdef inline int call(
    Emitter emitter, object listener, long code, object first, object second
) except -1:
    """Call one of the listeners; its code says how."""
    if watched_count:
        return call_watched(emitter, listener, code, first, second)
    return call_now(emitter, listener, code, first, second)


cdef int call_watched(
    Emitter emitter, object listener, long code, object first, object second
) except -1:
    """Call a listener, and say so where it has taken long: asyncio sees none of those that run
    while it waits for descriptors, and of the others only what has called them."""
    loop = _get_running_loop()
    if loop is None or not loop.get_debug():
        return call_now(emitter, listener, code, first, second)
    began = loop.time()
    try:
        return call_now(emitter, listener, code, first, second)
    finally:
        tell_if_slow(loop, loop.time() - began, emitter, code >> EVENT_SHIFT, listener)


cdef int tell_if_slow(
    object loop, double taken_s, Emitter emitter, int event, object listener
) except -1:
    if taken_s < getattr(loop, "slow_callback_duration", 0.1):
        return 0
    for name, (number, _) in emitter.events().items():
        if number == event:
            slow_log.warning(
                "Executing <listener of %r: %s> took %.3f seconds",
                name, describe(listener), taken_s,
            )
    return 0


cdef inline int call_now(
    Emitter emitter, object listener, long code, object first, object second
) except -1:
    cdef PyObject* arguments[2]
    cdef PyObject* result
    if code & ONCE:
        emitter.drop_once(listener, code)
    code = code >> COUNT_SHIFT & COUNT_MASK
    # By hand, not by `try`: that costs as much as the call of a small listener.
    if code == 1:
        result = PyObject_CallOneArg(listener, first)
    elif code == 0:
        result = PyObject_CallNoArgs(listener)
    else:
        arguments[0] = <PyObject*>first
        arguments[1] = <PyObject*>second
        result = PyObject_Vectorcall(listener, arguments, 2, NULL)
    if result is NULL:
        return emitter.caught()
    given = <object>result
    Py_DECREF(given)
    if result is Py_None or type(given) is Done:
        return 0
    if PyCoro_CheckExact(result):
        return emitter.started(given)
    return emitter.returned(listener, given)


cdef object coroutine_of(object listener, object awaitable):
    """Give a coroutine that ends with what a listener has returned, and bears its name."""
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

    Each connection is given its listeners: a closure would cost it as much as all the rest of that.
    """
    cdef Emitter emitter
    cdef object event
    cdef bint once

    def __call__(self, listener):
        self.emitter.add(self.event, listener, self.once)
        return listener


cdef Adding decorate(Emitter emitter, object event, bint once):
    cdef Adding adding = Adding.__new__(Adding)
    if type(event) is not str:
        emitter.find_event(event)       # a function that was to be decorated would be lost
    adding.emitter = emitter
    adding.event = event
    adding.once = once
    return adding


cdef class Emitter:
    """Something that tells what happens to it, by named events."""

    cdef int add(self, object event, object listener, bint once) except -1:
        cdef int number, offered
        cdef uint8_t code
        cdef tuple found = self.find_event(event)
        number = found[0]
        offered = found[1]
        if not callable(listener):
            raise TypeError(
                f"a listener of {event!r} must be callable, not {type(listener).__name__}"
            )
        code = (
            number << EVENT_SHIFT
            | count_taken(listener, event, offered) << COUNT_SHIFT
            | (ONCE if once else 0)
        )
        if self.kept is None:
            # As nearly always: it costs a connection no row.
            self.kept = listener
            self.only_code = code
            return 0
        return self.keep(self.row() + (listener, code))

    cdef tuple row(self):
        """Give the listeners with their codes as (listener, code, listener, code, …)."""
        if self.only_code:
            return self.kept, self.only_code
        return self.kept or ()

    cdef int keep(self, tuple row) except -1:
        """Keep such a row, in the form that takes the least memory."""
        if len(row) == 2:
            self.kept, self.only_code = row
        else:
            self.kept = row or None
            self.only_code = 0
        return 0

    cdef tuple find_event(self, object event):
        """Give an event's row of the table."""
        cdef dict table = self.events()
        if not isinstance(event, str):
            first = next(iter(table), "message")
            raise TypeError(
                f"event: expected its name, as in `on({first!r})` and `on({first!r}, listener)`, "
                f"given {event!r}"
            )
        found = table.get(event)
        if found is None:
            nearest = difflib.get_close_matches(str(event), table, 1)
            raise ValueError(f"unknown event {event!r}; " + (
                f"did you mean {nearest[0]!r}?" if nearest
                else f"the events here are {', '.join(sorted(table))}"
            ))
        return found

    def on(self, event, listener=MISSING):
        """Call `listener` at each `event`; without a listener, give a decorator that does so.

        Listeners run in the order in which they were added, with as many of the event's arguments
        as they take. What an `async def` listener starts becomes a task of its own, and so does
        whatever else it returns that can be awaited.

        Raises ValueError for an event that does not exist here, TypeError for a listener that
        cannot be called with the event's arguments, or would not run: a generator.
        """
        self.check_thread("conn.on")
        if listener is MISSING:
            return decorate(self, event, False)
        self.add(event, listener, False)
        return self

    def once(self, event, listener=MISSING):
        """Like `on`, for the next `event` only."""
        self.check_thread("conn.once")
        if listener is MISSING:
            return decorate(self, event, True)
        self.add(event, listener, True)
        return self

    add_listener = addListener = on

    def off(self, event, listener):
        """Remove `listener`, the latest addition of it; nothing happens when it is not there."""
        cdef int number = self.find_event(event)[0]
        cdef tuple row = self.row()
        cdef Py_ssize_t i
        self.check_thread("conn.off")
        for i in range(len(row) - 2, -1, -2):
            if row[i + 1] >> EVENT_SHIFT == number and row[i] == listener:
                self.keep(row[:i] + row[i + 2:])
                break
        return self

    remove_listener = removeListener = off

    def listeners(self, event):
        """List the listeners of `event`, in their order."""
        cdef int number = self.find_event(event)[0]
        cdef tuple row = self.row()
        return [row[i] for i in range(0, len(row), 2) if row[i + 1] >> EVENT_SHIFT == number]

    cdef bint hears(self, int event) noexcept:
        cdef tuple row
        cdef Py_ssize_t i
        if self.only_code or self.kept is None:
            return self.only_code >> EVENT_SHIFT == event
        row = <tuple>self.kept
        for i in range(1, PyTuple_GET_SIZE(row), 2):
            if PyLong_AsLong(<object>PyTuple_GET_ITEM(row, i)) >> EVENT_SHIFT == event:
                return True
        return False

    cdef bint hears_for_good(self, int event) except -1:
        """Tell whether there is a listener of `event` that was not added by `once`."""
        cdef tuple row = self.row()
        cdef Py_ssize_t i
        for i in range(1, len(row), 2):
            if row[i] >> EVENT_SHIFT == event and not row[i] & ONCE:
                return True
        return False

    cdef int emit(self, int event, object first, object second) except -1:
        """Call the listeners of `event`, and tell whether there was one.

        What a listener raises goes to `failed`, except what is meant to end the program.
        """
        cdef object kept = self.kept
        cdef tuple row
        cdef Py_ssize_t i
        cdef long code = self.only_code
        cdef bint heard = False
        if code or kept is None:
            if code >> EVENT_SHIFT != event:
                return 0
            call(self, kept, code, first, second)
            return 1
        row = <tuple>kept
        for i in range(0, PyTuple_GET_SIZE(row), 2):
            code = PyLong_AsLong(<object>PyTuple_GET_ITEM(row, i + 1))
            if code >> EVENT_SHIFT == event:
                heard = True
                call(self, <object>PyTuple_GET_ITEM(row, i), code, first, second)
        return heard

    cdef int caught(self) except -1:
        """Deal with the exception that a listener has left behind."""
        try:
            raise_pending()
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException as error:
            self.failed(error)
        return 0

    cdef int returned(self, object listener, object result) except -1:
        """Deal with something that a listener has returned: what can be awaited is."""
        if has_await(result) or has_next(result) and isawaitable(result):
            if type(result) is not Farewell:
                self.started(coroutine_of(listener, result))
        elif has_next(result) and isinstance(result, (AsyncGenerator, Generator)):
            self.failed(TypeError(
                f"listener {listener!r}: expected to be given nothing, or what can be awaited, "
                f"given a generator, of which nothing has run: {result!r}"
            ))
        return 0

    cdef int drop_once(self, object listener, long code) except -1:
        cdef tuple row = self.row()
        cdef Py_ssize_t i
        for i in range(0, len(row), 2):
            if row[i] is listener and row[i + 1] == code:
                self.keep(row[:i] + row[i + 2:])
                break
        return 0

    cdef int forget_listeners(self) except -1:
        """Drop all listeners, and with them the cycles that their closures form with what they
        listen to."""
        self.kept = None
        self.only_code = 0
        return 0

    cdef int check_thread(self, str call) except -1:
        """Raise SockwaveError in a thread that may not call; here, any may."""
        return 0

    cdef dict events(self):
        return {}

    cdef int failed(self, BaseException error) except -1:
        raise error

    cdef int started(self, object coroutine) except -1:
        asyncio.ensure_future(coroutine)
        return 0


cdef class ServerEmitter(Emitter):
    """An emitter of the events of a server, the rest of which is written in Python: it has
    `listener_failed` and `listener_started`."""

    cdef dict events(self):
        return SERVER_EVENTS

    cdef int failed(self, BaseException error) except -1:
        self.listener_failed(error)
        return 0

    cdef int started(self, object coroutine) except -1:
        self.listener_started(coroutine)
        return 0

    def emit_event(self, event, first=None, second=None):
        """Call the listeners of `event` with its arguments, and tell whether there was one."""
        cdef int number = self.find_event(event)[0]
        return self.emit(number, first, second) == 1

    def takers(self, event):
        """List the listeners of `event` with how many of its arguments each takes,
        for who calls them by itself."""
        cdef int number = self.find_event(event)[0]
        cdef tuple row = self.row()
        cdef Py_ssize_t i
        found = []
        for i in range(0, len(row), 2):
            if row[i + 1] >> EVENT_SHIFT == number:
                found.append((row[i], row[i + 1] >> COUNT_SHIFT & COUNT_MASK))
                if row[i + 1] & ONCE:
                    self.drop_once(row[i], row[i + 1])
        return found

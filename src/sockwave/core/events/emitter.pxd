"""Named events and their listeners: what servers and connections have of them."""

from libc.stdint cimport uint8_t

cdef extern from *:
    """
    static inline int sockwave_raise_pending(void) { return -1; }
    """
    # Raises the exception that a function of CPython's has left behind, told by NULL: to look for
    # it by hand costs less than a `try` around each call.
    int raise_pending "sockwave_raise_pending" () except -1

# The events of both. Which of them are whose, two tables say: SERVER_EVENTS, CONNECTION_EVENTS.
cdef enum Event:
    LISTENING = 1               # so that no listener's code is 0
    CONNECTION
    REQUEST
    STREAM
    CLOSED
    ERROR
    READY_STATE_CHANGE
    HANDSHAKE
    MESSAGE
    PINGED
    PONGED
    DRAIN

# How a listener's code is put together: 4 bits of event, 2 of argument count, 1 of "once". All
# codes are small integers, of which CPython keeps one object each.
cdef enum:
    ONCE = 1
    COUNT_SHIFT = 1
    COUNT_MASK = 3
    EVENT_SHIFT = 3

# Measure each listener while there are loops in debug mode: 1 more of them, or -1.
cdef int watch_listeners(int more) noexcept

# An emitter has its listeners in two fields of its own, which are given to the functions below.
# Most have one: that is `listener`, and its code `only_code`. Otherwise this is 0, and `listener` a
# row of (listener, code, listener, code, …) in the order of addition, or None: there is none. A row
# is replaced, never changed, so that an emission in progress keeps the one it started with. A code
# says the event, how many arguments the listener takes, and whether it is for once.

# What is done with a listener and with what it gives back: as `emitter`, who has it, wants it.
cdef struct Hooks:
    int (*add)(object emitter, object event, object listener, bint once) except -1
    int (*drop_once)(object emitter, object listener, long code) except -1
    int (*failed)(object emitter, object error) except -1   # it has raised an error
    int (*started)(object emitter, object coroutine) except -1  # it is asynchronous
    bint (*is_settled)(object emitter, object result) except -1     # by itself; NULL: none is

cdef tuple find_event(dict table, object event)
cdef object decorator(dict table, object event, bint once, object emitter, const Hooks* hooks)
cdef long code_of(dict table, object event, object listener, bint once) except -1
cdef tuple row_of(object listener, uint8_t only_code)
cdef tuple without(tuple row, int event, object listener)
cdef tuple without_once(tuple row, object listener, long code)
cdef tuple shorten(tuple row)
cdef list list_listeners(object listener, uint8_t only_code, int event)
cdef bint is_heard(object listener, uint8_t only_code, int event) noexcept
cdef bint is_heard_for_good(object listener, uint8_t only_code, int event) except -1
cdef int call_one(
    object emitter, const Hooks* hooks, object listener, long code, object first, object second
) except -1
cdef int call_row(
    tuple row, object emitter, const Hooks* hooks, int event, object first, object second
) except -1

cdef inline int call_listeners(
    object listener, uint8_t only_code, object emitter, const Hooks* hooks,
    int event, object first, object second,
) except -1:
    """Call the listeners of an event, and tell whether there was one.

    What a listener raises goes to `failed`, except what is meant to end the program.
    """
    if only_code or listener is None:
        if only_code >> EVENT_SHIFT != event:
            return 0
        call_one(emitter, hooks, listener, only_code, first, second)
        return 1
    return call_row(<tuple>listener, emitter, hooks, event, first, second)

cdef class Emitter:
    """What emits the events of a server, the rest of which is written in Python."""
    cdef object listener
    cdef uint8_t only_code

    cdef bint hears(self, int event) noexcept
    cdef int emit(self, int event, object first, object second) except -1

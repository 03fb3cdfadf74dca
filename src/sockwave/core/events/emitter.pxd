"""Named events and their listeners, for servers and connections."""

from libc.stdint cimport uint8_t

cdef extern from *:
    """
    static inline int sockwave_raise_pending(void) { return -1; }
    """
    # Raises the exception that a function of CPython has set when it returned NULL. To check for
    # NULL by hand costs less than a `try` around each call.
    int raise_pending "sockwave_raise_pending" () except -1

# The events of servers and of connections: see SERVER_EVENTS and CONNECTION_EVENTS.
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
    SUBSCRIBE
    PUBLISH
    JSON                        # a message of a connection, read as JSON
    CLOSING                     # of a server: it begins to close

# The bits of a listener's code: 5 for the event, 2 for the argument count, 1 for "once". All codes
# are small integers, for which CPython has ready-made objects.
cdef enum:
    ONCE = 1
    COUNT_SHIFT = 1
    COUNT_MASK = 3
    EVENT_SHIFT = 3

# Count the loops in debug mode: 1 more, or -1. While there are any, each listener is timed.
cdef int watch_listeners(int more) noexcept

# An emitter keeps its listeners in two fields, which are passed to the functions below. Most
# emitters have one listener: it is in `listener`, and its code in `only_code`. Otherwise
# `only_code` is 0, and `listener` is a row of (listener, code, listener, code, …) in the order of
# addition, or None if there is no listener. A row is replaced, never changed, so that an emission
# in progress keeps the one it started with. A code says the event, how many arguments the listener
# takes, and whether it is called once only.

# How an emitter adds and removes listeners, and handles what they raise and return.
cdef struct Hooks:
    int (*add)(object emitter, object event, object listener, bint once) except -1
    int (*drop_once)(object emitter, object listener, long code) except -1
    int (*failed)(object emitter, object error) except -1   # the listener has raised an error
    int (*started)(object emitter, object coroutine) except -1  # the listener is asynchronous
    # Handles a result itself, if it returns True. NULL: it never does.
    bint (*is_settled)(object emitter, object result) except -1

cdef tuple find_event(dict table, object event)
cdef object decorator(dict table, object event, bint once, object emitter, const Hooks* hooks)
cdef long code_of(dict table, object event, object listener, bint once) except -1
cdef tuple row_of(object listener, uint8_t only_code)
cdef tuple without(tuple row, int event, object listener)
cdef tuple without_once(tuple row, object listener, long code)
cdef tuple shorten(tuple row)
cdef list list_listeners(object listener, uint8_t only_code, int event)
cdef bint is_heard(object listener, uint8_t only_code, int event) noexcept
cdef Py_ssize_t count_heard(object listener, uint8_t only_code, int event) noexcept
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
    """Call the listeners of an event, and return whether there was one.

    What a listener raises goes to `failed`, except KeyboardInterrupt and SystemExit, which end the
    program.
    """
    if only_code or listener is None:
        if only_code >> EVENT_SHIFT != event:
            return 0
        call_one(emitter, hooks, listener, only_code, first, second)
        return 1
    return call_row(<tuple>listener, emitter, hooks, event, first, second)

cdef class Emitter:
    """Emits the events of a server: the compiled base class of a class written in Python."""
    cdef object listener
    cdef uint8_t only_code
    # The exchange whose `request` is being emitted; None: none is.
    cdef public object exchange
    # Called for each request, and each opening handshake that was answered by 101; None: nothing.
    cdef public object when_served

    cdef int served(self) except -1
    cdef bint hears(self, int event) noexcept
    cdef int emit(self, int event, object first, object second) except -1

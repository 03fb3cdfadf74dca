"""Named events and their listeners: the one emitter of servers and connections."""

from libc.stdint cimport uint8_t

cdef extern from *:
    """
    static inline int sockwave_raise_pending(void) { return -1; }
    """
    # Raises the exception that a function of CPython's has left behind, told by NULL: to look for
    # it by hand costs less than a `try` around each call.
    int raise_pending "sockwave_raise_pending" () except -1

# The events of both. An emitter says by its `events` which of them are its own,
# and with how many arguments.
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

# Measure each listener while there are loops in debug mode: 1 more of them, or -1.
cdef int watch_listeners(int more) noexcept

cdef class Emitter:
    # Most emitters have one listener: itself, with its code below. Otherwise, (listener, code,
    # listener, code, …) in the order of addition; replaced, never changed, so that an emission in
    # progress keeps the row it started with; None: there is none. A code says the event, how many
    # arguments the listener takes, and whether it is for once.
    cdef object kept
    cdef uint8_t only_code      # of the only listener; 0: not one is kept

    cdef tuple row(self)
    cdef int keep(self, tuple row) except -1
    cdef bint hears(self, int event) noexcept
    cdef bint hears_for_good(self, int event) except -1
    cdef int emit(self, int event, object first, object second) except -1
    cdef tuple find_event(self, object event)
    cdef int add(self, object event, object listener, bint once) except -1
    cdef int caught(self) except -1
    cdef int returned(self, object listener, object result) except -1
    cdef int drop_once(self, object listener, long code) except -1
    cdef int forget_listeners(self) except -1
    cdef int check_thread(self, str call) except -1

    # What it is, and whose:
    cdef dict events(self)      # event name → (event, how many arguments it has)
    cdef int failed(self, BaseException error) except -1    # a listener has raised it
    cdef int started(self, object coroutine) except -1      # an asynchronous one has returned it

cdef class ServerEmitter(Emitter):
    """An emitter of the events of a server, the rest of which is written in Python."""

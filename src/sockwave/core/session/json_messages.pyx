"""Messages as JSON: listeners of `json`, and `async for value in conn.json()`.

A connection has one listener of `message` for all its listeners of `json`, however many there are:
a message is read once, and connections without such listeners have nothing of this.
"""

from sockwave.core.events.emitter cimport (
    COUNT_SHIFT, EVENT_SHIFT, JSON, MESSAGE, ONCE, Hooks, call_listeners, code_of, row_of, shorten,
    without, without_once,
)

from sockwave.close import CloseCode
from sockwave.core.events.emitter import CONNECTION_EVENTS
from sockwave.errors import ConnectionClosed, InvalidJSON
from sockwave.json_codec import REASON


cdef int json_add(object emitter, object event, object listener, bint once) except -1:
    return 0                    # the connection adds them


cdef int json_drop_once(object emitter, object listener, long code) except -1:
    cdef JSONListeners self = emitter
    return self.keep(without_once(row_of(self.listener, self.only_code), listener, code))


cdef int json_failed(object emitter, object error) except -1:
    return (<JSONListeners>emitter).connection.failed(error)


cdef int json_started(object emitter, object coroutine) except -1:
    return (<JSONListeners>emitter).connection.started(coroutine)


cdef bint json_is_settled(object emitter, object result) except -1:
    return (<JSONListeners>emitter).connection.is_settled(result)


cdef Hooks json_hooks
json_hooks.add = json_add
json_hooks.drop_once = json_drop_once
json_hooks.failed = json_failed
json_hooks.started = json_started
json_hooks.is_settled = json_is_settled


cdef class JSONListeners:
    """The listeners of `json` of one connection, which are one listener of `message` together."""

    def __call__(self, message):
        try:
            value = self.hub.json.decode(message)
        except InvalidJSON as error:
            self.hub.host.refuse_json(error, self.connection)
        else:
            call_listeners(self.listener, self.only_code, self, &json_hooks, JSON, value, None)

    cdef int keep(self, tuple row) except -1:
        """Have these listeners, and hear messages as long as there are any: only the next one,
        where all of them were added by `once`."""
        cdef tuple all_listeners = row_of(self.connection.listener, self.connection.only_code)
        cdef tuple own = ()
        cdef Py_ssize_t i
        self.listener, self.only_code = shorten(row)
        if row:
            own = (self, MESSAGE << EVENT_SHIFT | 1 << COUNT_SHIFT | self.are_once())
        for i in range(0, len(all_listeners), 2):
            if all_listeners[i] is self:
                return self.connection.keep_listeners(
                    all_listeners[:i] + own + all_listeners[i + 2:]
                )
        return self.connection.keep_listeners(all_listeners + own)

    cdef bint are_once(self) except -1:
        """Tell whether all listeners were added by `once`."""
        cdef tuple row = row_of(self.listener, self.only_code)
        cdef Py_ssize_t i
        for i in range(1, len(row), 2):
            if not row[i] & ONCE:
                return False
        return True


cdef JSONListeners find_json(Session connection):
    """Return the listeners of `json` of a connection; None if it has none."""
    cdef tuple row = row_of(connection.listener, connection.only_code)
    cdef Py_ssize_t i
    for i in range(0, len(row), 2):
        if type(row[i]) is JSONListeners:
            return row[i]
    return None


cdef int add_json(Session connection, Hub hub, object listener, bint once) except -1:
    """Add a listener of `json`."""
    cdef long code = code_of(CONNECTION_EVENTS, "json", listener, once)
    cdef JSONListeners found = find_json(connection)
    if found is None:
        found = JSONListeners.__new__(JSONListeners)
        found.connection = connection
        found.hub = hub
    return found.keep(row_of(found.listener, found.only_code) + (listener, code))


cdef int remove_json(Session connection, object listener) except -1:
    """Remove a listener of `json`, where it was added last; nothing happens when it is not there.
    """
    cdef JSONListeners found = find_json(connection)
    if found is None:
        return 0
    return found.keep(without(row_of(found.listener, found.only_code), JSON, listener))


cdef class JSONMessages:
    """The messages of a connection, read as JSON: what `conn.json()` returns."""

    def __init__(self, connection, host, decode):
        self.connection = connection
        self.host = host
        self.decode = decode

    def __aiter__(self):
        return self

    async def __anext__(self):
        try:
            return await self.receive()
        except ConnectionClosed:
            raise StopAsyncIteration from None

    async def receive(self):
        """Receive the next message that is JSON; ConnectionClosed when none will come."""
        while True:
            message = await self.connection.receive()
            try:
                return self.decode(message)
            except InvalidJSON as error:
                if self.host.refuse_json(error, self.connection):
                    raise ConnectionClosed(CloseCode.INVALID_PAYLOAD, REASON) from None

"""Messages as JSON: listeners of `json`, and `async for value in conn.json()`."""

from libc.stdint cimport uint8_t

from sockwave.core.session.hub cimport Hub
from sockwave.core.session.session cimport Session

cdef class JSONListeners:
    """The listeners of `json` of one connection, which are one listener of `message` together."""
    cdef Session connection
    cdef Hub hub
    cdef object listener        # as an emitter keeps its listeners: see core/events/emitter
    cdef uint8_t only_code

    cdef int keep(self, tuple row) except -1
    cdef bint are_once(self) except -1

cdef int add_json(Session connection, Hub hub, object listener, bint once) except -1
cdef int remove_json(Session connection, object listener) except -1
cdef JSONListeners find_json(Session connection)

cdef class JSONMessages:
    """The messages of a connection, read as JSON: what `conn.json()` returns."""
    cdef object connection
    cdef object host            # of the server: what happens to a message that is no such JSON
    cdef object decode

"""What the connections of one server share, and broadcasts to all of them."""

from libc.stdint cimport uint32_t, uint64_t

from sockwave.core.session.calls cimport Calls
from sockwave.core.protocol.deflate cimport Codecs
from sockwave.core.session.connections cimport Connections
from sockwave.core.events.emitter cimport Emitter
from sockwave.core.io.engine cimport Engine
from sockwave.core.events.loop_thread cimport LoopThread
from sockwave.core.session.session cimport Session

cdef class Hub:
    """What the connections of one server share."""
    cdef readonly Connections connections
    cdef readonly Engine engine
    cdef readonly LoopThread thread     # the engine's; without an engine, any thread may call
    cdef readonly object limits
    cdef Emitter host
    cdef public object topics           # who hears what: see core/topics
    cdef public object others           # bring broadcasts to other workers and hosts; None: no
    cdef public object json             # a `JSONReading`: how connections read JSON
    cdef Codecs codecs
    cdef size_t max_size, queue_size
    cdef Py_ssize_t queue_count, max_tasks
    cdef int policy                     # for peers that cannot keep up, unless a call has its own
    cdef readonly uint64_t dropped_count
    cdef public bint is_memory_low      # new connections are rejected
    cdef uint32_t ping_ticks, pong_ticks, idle_ticks, listen_ticks  # 0: no limit, or no pings
    # In seconds, 0: no limit; and a fraction of it, to either side.
    cdef double max_lifetime, lifetime_jitter
    cdef Calls calls
    cdef readonly Session current    # the connection whose event the server's listeners hear now

    cdef int tell_server(self, int event, Session connection, object argument) except -1
    cdef int tell(self, Emitter host, int event, Session connection, object argument) except -1

"""What the HTTP connections of one server share."""

from libc.stdint cimport uint8_t, uint32_t, uint64_t

from sockwave.core.events.emitter cimport Emitter
from sockwave.core.http.route_table cimport RouteTable
from sockwave.core.io.engine cimport Engine

cdef enum:
    SCRATCH_SIZE = 16384        # room for the head of nearly every response, and a small body

cdef class Taker:
    """Takes requests in place of the listeners of `request`."""
    cdef bint limits_body       # `body_size` holds for what it takes, whether it was given or not
    cdef int take(self, object exchange, object request, object response) except -1

cdef class HttpSettings:
    """What the HTTP connections of one server share: its limits, and whom they call."""
    cdef readonly object limits
    cdef readonly Engine engine
    cdef Emitter host           # emits `request`, and handles what is no ordinary request
    cdef dict addresses         # of the server: address → the object that stands for it
    cdef readonly set connections       # all of them, until they end or become WebSockets
    cdef object parse_strictly  # head as bytes → RequestHead; raises Refused
    cdef object send_file       # sends a file as a response: `http.files`
    cdef object open_event_stream       # response, seconds → EventStream: `http.event_stream`
    # The limits as the compiled code needs them; 0 ticks: no limit of time.
    cdef size_t line_size, block_size, high_water
    cdef uint64_t body_size
    cdef bint has_body_limit
    cdef int field_count
    cdef Py_ssize_t pipelined_count
    cdef uint32_t head_ticks, next_ticks, body_ticks, answer_ticks
    cdef Taker fallback         # takes requests that no listener takes; None: nothing does
    cdef RouteTable routes      # of requests; those that are added later are seen at once
    cdef bint has_mounts        # the host tells who takes a request
    cdef bint limits_takers     # `body_size` holds for what a taker takes
    cdef list added_fields      # pairs: name, and the line that each response has without it
    cdef bint adds_date         # each response says when it was sent
    cdef object get_debug       # whether the loop is in debug mode
    cdef object log_access      # called for each request that is answered; None: nothing is
    cdef bint asks_for_client   # trusted proxies tell who the client of a request is
    # Where a response is put together. It is used between two calls of the application's code, and
    # never across one: nothing in it has to be kept.
    cdef uint8_t scratch[SCRATCH_SIZE]

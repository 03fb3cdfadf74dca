"""What the HTTP connections of one server share."""

from libc.stdint cimport UINT64_MAX

from sockwave.core.io.timers cimport STALE_TICKS, ticks_of


cdef uint32_t deadline_ticks(object seconds) except? 0:
    """Convert a time limit to ticks, counted from the wheel's last look; 0: no limit."""
    return 0 if seconds is None else ticks_of(seconds) + STALE_TICKS


cdef class Taker:
    """Takes requests in place of the listeners of `request`."""

    cdef int take(self, object exchange, object request, object response) except -1:
        return 0


cdef class HttpSettings:
    """What the HTTP connections of one server share: its limits, and whom they call."""

    def __cinit__(
        self, Emitter host, Engine engine, limits, parse_strictly, send_file, *,
        open_event_stream, RouteTable routes, bint asks_for_client, Taker fallback=None,
        bint has_mounts=False, bint limits_takers=True, added_headers=(), bint adds_date=True,
        log_access=None,
    ):
        self.host = host
        self.engine = engine
        self.limits = limits
        self.parse_strictly = parse_strictly
        self.send_file = send_file
        self.open_event_stream = open_event_stream
        self.routes = routes
        self.asks_for_client = asks_for_client
        self.fallback = fallback
        self.has_mounts = has_mounts
        self.limits_takers = limits_takers
        self.added_fields = [
            (name.encode(), f"{name}: {value}\r\n".encode("latin-1"))
            for name, value in added_headers
        ]
        self.adds_date = adds_date
        self.log_access = log_access
        self.get_debug = engine.loop.get_debug
        self.connections = set()
        self.addresses = {}
        self.line_size = limits.request_line_size
        self.block_size = limits.header_block_size
        self.field_count = limits.header_count
        self.high_water = limits.high_water
        self.pipelined_count = limits.pipelined_count
        self.has_body_limit = limits.body_size is not None
        self.body_size = UINT64_MAX if limits.body_size is None else limits.body_size
        self.head_ticks = deadline_ticks(limits.handshake_timeout)
        self.next_ticks = deadline_ticks(limits.keep_alive_timeout)
        self.body_ticks = deadline_ticks(limits.body_timeout)
        self.answer_ticks = deadline_ticks(limits.answer_timeout)

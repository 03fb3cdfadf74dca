"""How often each limit has been applied: one table for each server. The code that applies a limit
counts it."""

from sockwave.limits import COUNTED_LIMITS

CORE_LIMITS = (
    "max_size",
    "fragment_count",
    "message_rate",
    "byte_rate",
    "control_rate",
    "queue_count",
    "queue_size",
    "max_tasks",
    "finish_timeout",
    "max_finishing",
    "high_water",
    "max_backlog",
    "memory_budget",
    "listen_timeout",
    "close_timeout",
    "write_timeout",
    "ping_timeout",
    "idle_timeout",
    "max_lifetime",
)

# Name of a limit → index of its count.
INDEXES = {name: index for index, name in enumerate(CORE_LIMITS)}
for _name in COUNTED_LIMITS:
    INDEXES.setdefault(_name, len(INDEXES))
if len(INDEXES) != len(COUNTED_LIMITS) or len(INDEXES) > MAX_LIMIT_COUNT:
    raise AssertionError("the core's limits: expected to be among those of Limits")


cdef class LimitCounters:
    """The counts of one server."""

    cdef int count(self, Limit limit) noexcept:
        """Note that a limit has been applied; nothing happens for NO_LIMIT."""
        if limit != NO_LIMIT:
            self.counts[<int>limit] += 1
        return 0

    def count_by_name(self, str name):
        """Note that a limit has been applied; KeyError for one that is not counted."""
        self.counts[<int>INDEXES[name]] += 1

    def count_of(self, str name):
        """Return how often a limit has been applied; KeyError for one that is not counted."""
        return self.counts[<int>INDEXES[name]]

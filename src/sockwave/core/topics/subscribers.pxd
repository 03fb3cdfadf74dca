"""Who hears a topic on this worker: dense arrays on both sides, so that nothing is searched."""

from cpython.object cimport PyObject
from libc.stdint cimport uint32_t, uint64_t

from sockwave.core.session.connection cimport Connection

# How a subscriber is told: see `rendering`.
cdef enum Kind:
    PLAIN                       # as the topic's envelope says
    COMMANDS                    # as frames of the subprotocol `sockwave.1`

# A subscriber of a topic.
cdef struct Place:
    PyObject* connection        # borrowed: it leaves before it goes. NULL: it has left in a walk
    uint32_t back               # where the topic stands in the connection's `held`
    uint32_t kind

# A topic of a connection.
cdef struct Held:
    PyObject* topic             # borrowed: a topic with subscribers stays
    uint32_t place              # where the connection stands in the topic's `places`

cdef class Subscribers:
    """The subscribers of one topic, or of one pattern, on this worker."""
    cdef readonly str name
    cdef readonly bint is_pattern
    cdef readonly object settings       # a TopicSettings
    cdef public bint is_sequenced       # its messages go through the sequencer, all of them
    cdef public bint is_stream          # it is appended to
    cdef public bint is_kept            # a stream that has not ended here: `sweep` leaves it
    cdef bint is_used                   # since the last sweep
    cdef int policy                     # for slow clients; -1: the server's
    cdef Place* places
    cdef uint32_t count                 # of places, those that have left in a walk among them
    cdef uint32_t capacity
    cdef uint32_t left_count            # places whose connection has left in a walk
    cdef uint32_t walk_count            # walks that are under way
    # The patterns that match, as they were at a generation of the table's patterns.
    cdef list matches
    cdef uint64_t generation
    # What the sequencer's link knows of it: see `link`.
    cdef uint32_t number                # the worker's own; 0: it has not been named yet
    cdef uint32_t remote_number         # the sequencer's; 0: not told yet
    cdef readonly int want_state        # a WantState
    cdef uint64_t epoch, offset         # of the newest message that has been delivered
    cdef public uint32_t replay_count   # of connections that are being brought up to date
    cdef bint is_gap_due                # once it is known where the new log begins
    cdef uint32_t request               # that fills a gap for all subscribers; 0: none
    cdef public object waiters          # futures that are done once it is wanted; None: none

    cdef uint32_t size(self) noexcept

cdef class Subscriptions:
    """The topics of one connection."""
    cdef Held* held
    cdef uint32_t count
    cdef uint32_t capacity
    cdef uint32_t pattern_count
    cdef readonly bint has_commands     # it speaks `sockwave.1`
    cdef uint64_t stamp                 # of the latest publish that it has heard
    cdef dict places                    # topic -> index in `held`, where there are many
    cdef public dict members            # topic's name -> member key
    cdef public dict replays            # topic's name -> what is being replayed

    cdef Py_ssize_t find(self, Connection connection, Subscribers topic) except -2

cdef int join(Connection connection, Subscribers topic, int kind) except -1
cdef bint leave(Connection connection, Subscribers topic) except -1
cdef int leave_at(Subscriptions mine, uint32_t index) except -1
cdef int end_walk(Subscribers topic) except -1

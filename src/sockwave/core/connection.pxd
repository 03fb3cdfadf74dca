"""A WebSocket connection as the application holds it, and what those of a server share."""

from libc.stdint cimport uint32_t, uint64_t

from sockwave.core.carrier cimport Carrier, Engine
from sockwave.core.codec cimport Codecs, Deflater
from sockwave.core.emitter cimport Emitter
from sockwave.core.inbox cimport Inbox
from sockwave.core.reader cimport Found
from sockwave.core.session cimport Session
from sockwave.core.streams cimport Intake

cdef class Connection

cdef class Hub:
    """What the connections of one server share."""
    cdef readonly dict connections      # id → Connection, in the order in which they connected
    cdef readonly Engine engine
    cdef readonly object limits
    cdef readonly Emitter server
    cdef Codecs codecs
    cdef size_t max_size, queue_size
    cdef Py_ssize_t queue_count, max_tasks
    cdef int policy                     # for who cannot keep up, unless a call says otherwise
    cdef readonly uint64_t dropped_count
    cdef double close_timeout           # seconds; 0: none
    cdef set tasks                      # those that outlive their connection
    cdef readonly Connection current    # whose event the server's listeners are hearing

    cdef int tell_server(self, int event, Connection connection, object argument) except -1
    cdef object start_task(self, Connection connection, object coroutine, set tasks)

cdef class Connection(Session):
    """One WebSocket connection, whatever its version and whatever carries it."""
    cdef Hub hub
    cdef Inbox inbox            # None until a message has nobody to go to
    cdef Intake intake          # None until a message is asked for as a stream
    cdef object head            # the opening request: raw bytes until somebody asks for it
    cdef dict own_data
    cdef set tasks              # those that its listeners started
    cdef list pings             # (payload, when, future) of those that are out
    cdef str chosen_subprotocol
    cdef double round_trip_s    # negative: not known
    cdef readonly uint64_t id
    cdef readonly uint64_t dropped_count
    cdef uint32_t task_count    # of the tasks that its messages started
    cdef bint is_hearing        # its listeners of `message` are being called
    cdef bint has_handler       # a task of `serve` will ask for messages
    cdef bint has_listened      # there has been a listener: without one, messages are dropped

    cdef int queue(self, object message, size_t size) except -1
    cdef Deflater deflater_for(self, int policy)
    cdef bint has_taker(self) except -1
    cdef int note_taker(self) except -1
    cdef int note_room(self) except -1

"""The topics of a server, on this worker: who hears what, and how it is handed to them."""

from libc.stdint cimport uint32_t, uint64_t

from sockwave.core.session.connection cimport Connection
from sockwave.core.session.session cimport Session
from sockwave.core.topics.publication cimport Subscribing
from sockwave.core.topics.rendering cimport Rendering
from sockwave.core.topics.submissions cimport Submissions
from sockwave.core.topics.subscribers cimport Subscribers, Subscriptions
from sockwave.core.topics.uplink cimport Uplink
from sockwave.core.topics.wildcards cimport Patterns

cdef class TopicTable:
    """The topics of a server, on this worker."""
    cdef object host            # a `topics.Topics`: what is not done here, by its parts
    cdef readonly dict topics   # name -> Subscribers, those of patterns among them
    cdef Patterns patterns      # those with subscribers
    cdef public Uplink uplink   # None: there is no other worker, and no topic that is sequenced
    cdef public Submissions submissions     # what takes deltas; None: the host is asked each time
    cdef Subscribing subscribed     # what `subscribe` returns where there are no positions
    cdef uint64_t stamp
    cdef int policy             # for slow clients, where a topic has none of its own
    cdef Py_ssize_t subscription_count, pattern_count, name_size, topic_count

    cpdef bint admit(self, Connection connection, Subscribers topic) except -1
    cpdef int add(self, Connection connection, Subscribers topic) except -1
    cpdef bint unsubscribe(self, Connection connection, name) except -1
    cpdef Subscribers find(self, object name)
    cdef Subscribers make(self, object name)
    cdef int check_room(self, Connection connection, Subscribers topic) except -1
    cdef int enter(self, Connection connection, Subscribers topic) except -1
    cdef int emptied(self, Subscribers topic) except -1
    cdef list matches_of(self, Subscribers topic)
    cdef Rendering render(self, Subscribers topic, object message)
    cdef Rendering render_raw(self, Subscribers topic, int content, bytes raw, bint is_text)
    cdef int find_key(self, Subscribers topic, Rendering rendering) except -1
    cdef int apply(self, Rendering rendering, dict meta) except -1
    cdef bint send_to(self, Connection connection, Rendering rendering) except -1
    cpdef Py_ssize_t count(self, Subscribers topic) except -1
    cdef Py_ssize_t deliver(
        self, Subscribers topic, Rendering rendering, Session besides
    ) except -1
    cdef Py_ssize_t walk(
        self, Subscribers subscribers, Rendering rendering, Session besides, uint64_t stamp
    ) except -1

"""One message of a topic, as each kind of its subscribers gets it."""

from libc.stdint cimport uint64_t

from sockwave.core.session.shared cimport SharedMessage

# What a message of a topic is, in the order of `deliveries.Kind`.
cdef enum Content:
    WHOLE                       # a message
    DELTA                       # what a stream has grown by
    FINISHED                    # the end of a stream
    ABORTED                     # the same, as its producer has gone
    LOST                        # no message: those up to the offset are missing for good

cdef class Rendering:
    """One message of a topic, made at most once for each kind of subscribers."""
    cdef readonly str topic
    cdef object envelope        # of plain subscribers; None: they get the message as it is
    cdef object message         # str or bytes; None: at the end of a stream, or see `raw`
    cdef bytes raw              # the message as it came from the sequencer; None: it did not
    cdef bint is_text           # of `raw`
    cdef int content
    cdef int policy             # for slow clients
    cdef object compress, key
    cdef uint64_t epoch, offset     # 0: the topic has no positions
    cdef str id                 # the publisher's; None: it gave none
    cdef object delivery        # what envelopes get, once made
    cdef SharedMessage plain, commands

    cdef SharedMessage of_kind(self, int kind)
    cdef bytes wrap_text(self, object envelope)
    cdef object wrap(self, object envelope)
    cdef object message_of(self)
    cdef object position(self)

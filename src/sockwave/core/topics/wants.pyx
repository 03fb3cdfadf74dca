"""Which topics come to a worker: what it asks the sequencer for, and who is told when they come."""

from sockwave.core.topics.records cimport SINCE, SUB

from sockwave.deliveries import Position, Subscribed

cdef enum:
    # What is asked for at a time to fill a gap for all subscribers of a topic.
    FILL_SIZE = 1 << 20


cpdef bint ask_for(LinkOutput output, Subscribers topic) except -1:
    """Have the messages of a topic, or of a pattern, sent to this worker; return whether they come
    already."""
    if topic.want_state == UNWANTED:
        topic.want_state = ASKED
        if output.is_open:
            ask_for_missed(output, topic)
            output.pump()
    return topic.want_state == WANTED


cdef int ask_for_missed(LinkOutput output, Subscribers topic) except -1:
    """Ask for a topic's messages behind the last one that has come, if any has, and from now
    on for all."""
    if topic.request:
        output.requests.pop(topic.request, None)
    topic.request = output.new_request(topic)
    return output.write(
        SUB, SINCE if topic.epoch and has_log(topic) else 0, topic, topic.request, topic.epoch,
        topic.offset, FILL_SIZE, NULL, 0,
    )


cdef int ask_for_all(LinkOutput output, Subscribers topic) except -1:
    """Ask for all that is kept of a topic whose log is another one: of that, nothing has come.
    """
    topic.epoch = topic.offset = 0
    topic.is_gap_due = True
    topic.request = output.new_request(topic)
    return output.write(SUB, SINCE, topic, topic.request, 0, 0, FILL_SIZE, NULL, 0)


cdef int confirm(Subscribers topic) except -1:
    """The sequencer sends this topic from here on."""
    if topic.want_state == ASKED:
        topic.want_state = WANTED
    return settle_waiters(topic)


cdef int settle_waiters(Subscribers topic) except -1:
    waiters, topic.waiters = topic.waiters, None
    for waiter in waiters or ():
        if not waiter.done():
            waiter.set_result(subscribed_at(topic))
    return 0


cpdef object subscribed_at(Subscribers topic):
    """Return what `subscribe` gives for a topic that is wanted."""
    return Subscribed(Position(topic.epoch, topic.offset) if topic.epoch else None, False)


cdef int confirm_at(Subscribers topic, uint64_t epoch, uint64_t offset) except -1:
    """A replay has brought one connection up to a position, from where on all is live."""
    if topic.want_state != WANTED or not topic.epoch:
        topic.epoch, topic.offset = epoch, offset
        topic.want_state = ASKED
        confirm(topic)
    return 0


cdef bint has_log(Subscribers topic) except -1:
    """Tell whether the sequencer keeps what a topic's subscribers may miss."""
    return topic.is_stream or topic.settings.history is not None

"""What an HTTP connection waits for, and until when."""


cdef int begin_wait(
    Deadline* deadline, Wait wait, HttpSettings settings, Transport transport
) except -1:
    """Start waiting for something: set a new deadline."""
    deadline.wait = wait
    deadline.is_stalled_once = False
    if wait == HEAD_END:
        return set_due(deadline, settings.head_ticks, transport)
    if wait == NEXT_HEAD:
        return set_due(deadline, settings.next_ticks, transport)
    if wait == ANSWER:
        deadline.answer_due = 0
        if settings.answer_ticks:
            deadline.answer_due = settings.engine.wheel.tick + settings.answer_ticks
    return set_due(deadline, settings.body_ticks, transport)


cdef int set_due(Deadline* deadline, uint32_t ticks, Transport transport) except -1:
    """Set the deadline, `ticks` from now; 0: there is none. The transport's alarm is moved only if
    it would come too late: most deadlines are replaced by later ones."""
    deadline.due = transport.engine.wheel.tick + ticks if ticks else 0
    if deadline.wait == ANSWER and deadline.answer_due and (
        not deadline.due or deadline.answer_due < deadline.due
    ):
        deadline.due = max(deadline.answer_due, transport.engine.wheel.tick + 1)
    if deadline.due and (not transport.asked or transport.asked > deadline.due):
        return transport.ask_for(deadline.due)
    return 0


cdef bint has_stalled(
    Deadline* deadline, uint64_t moved_size, bint has_ended, HttpSettings settings,
    Transport transport,
) except -1:
    """Tell, at a deadline, whether a half-closed client has received nothing since the last.

    Such a client may be gone. Otherwise a new deadline is set. A client that is not half-closed
    and receives nothing of its backlog is left to `write_timeout`.
    """
    if deadline.is_stalled_once and moved_size == deadline.moved_size and has_ended:
        return True
    set_due(deadline, settings.body_ticks, transport)
    deadline.moved_size = moved_size
    deadline.is_stalled_once = True
    return False

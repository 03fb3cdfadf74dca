"""The states of a connection, and the closing handshake as a table.

RFC 6455 section 7, and what the drafts have in its place.
"""

from sockwave.core.io.backlog cimport count_messages
from sockwave.core.io.transport cimport CLOSES, LINGERS
from sockwave.core.protocol.frames cimport violation_code, violation_limit, violation_reason
from sockwave.core.session.sender cimport DRAFT75

from sockwave.close import encode_close
from sockwave.errors import ConnectionClosed
from sockwave.states import ReadyState

# The state of a session → the state that the application sees.
SEEN_AS = {
    UNKNOWN: ReadyState.UNKNOWN,
    OPENING: ReadyState.OPENING,
    WAITING: ReadyState.WAITING,
    HANDSHAKING: ReadyState.HANDSHAKING,
    CONNECTED: ReadyState.CONNECTED,
    CLOSING: ReadyState.CLOSED,
    ENDING: ReadyState.CLOSED,
    ENDED: ReadyState.CLOSED,
}
# The same as a tuple, by state.
cdef tuple STATES = tuple(SEEN_AS[state] for state in range(ENDED + 1))
READY_STATES = STATES
# The states of the opening handshake, which the handshake's code sets: see `Session._enter`.
OPENING_STATES = {SEEN_AS[state]: state for state in range(OPENING, HANDSHAKING + 1)}

# Section 7 as a table: state and event → the next state, whether we send our close frame, and what
# happens to the transport. A pair that is not in the table changes nothing.
cdef enum:
    KEEP        # stays open, until the peer's close frame or the deadline
    FINISH      # is shut down after our last byte: 7.1.1, the server is the one to close first
    LINGER      # the same, but the peer may still be sending
    DROP        # is closed now, if it is not gone already
TRANSITIONS = {
    (CONNECTED, WE_CLOSE): (CLOSING, True, KEEP),
    (CONNECTED, PEER_CLOSES): (ENDING, True, FINISH),
    (CONNECTED, PEER_FAILS): (ENDING, True, LINGER),
    (CONNECTED, PEER_VANISHES): (ENDING, True, FINISH),
    (CONNECTED, STREAM_ENDS): (ENDING, False, DROP),
    (CLOSING, PEER_CLOSES): (ENDING, False, FINISH),
    (CLOSING, PEER_FAILS): (ENDING, False, LINGER),
    (CLOSING, STREAM_ENDS): (ENDING, False, DROP),
}
# 7.1.1: "when a client is instructed to" close the connection, "it SHOULD wait for a TCP Close from
# the server": until the deadline.
CLIENT_TRANSITIONS = {
    **TRANSITIONS,
    (CONNECTED, PEER_CLOSES): (ENDING, True, KEEP),
    (CLOSING, PEER_CLOSES): (ENDING, False, KEEP),
    (ENDING, STREAM_ENDS): (ENDING, False, DROP),
}


cdef int enter(Sender session, ConnectionState state) except -1:
    before = STATES[session.state]
    session.state = state
    after = STATES[state]
    if state > CONNECTED:
        return tell_end(session, after)
    if after is not before:
        session.entered(after)
    return 0


cdef int tell_end(Sender session, object state) except -1:
    """Tell the application, once, that nothing more can be sent."""
    if session.is_end_told:
        return 0
    session.is_end_told = True
    try:
        session.entered(state)
    except MemoryError:
        session.is_end_told = False     # the last step of the end tells it
        raise
    return 0


# ---- the closing handshake

cdef int advance_closing(Sender session, CloseEvent event, bytes close_payload) except -1:
    """Do what TRANSITIONS, or CLIENT_TRANSITIONS, says of an event."""
    table = CLIENT_TRANSITIONS if session.is_client() else TRANSITIONS
    move = table.get((session.state, event))
    if move is None:
        return 0
    state, sends_close, ending = move
    try:
        return make_move(session, state, sends_close, ending, close_payload)
    except BaseException:
        # The transition has been done by half, and nothing else would end the connection.
        session.transport.close_with(None)
        raise


cdef int make_move(
    Sender session, ConnectionState state, bint sends_close, int ending, bytes close_payload
) except -1:
    enter(session, state)
    if session.state != state:      # a listener of `readyStateChange` has ended the connection
        return 0
    if session.queued_behind is not None:
        # 5.5.1: "The application MUST NOT send any more data frames after sending a Close
        # frame."
        session.dropped(count_messages(&session.queued_behind.backlog, session.is_draft()))
        session.queued_behind.drop_backlog(False)
        session.queued_behind = None
    if session.state == CLOSING:
        session.listen_for_close()
    if sends_close:
        session.own_code = int.from_bytes(close_payload[:2], "big")
        session.write_close(close_payload)
        # The connection ends at the deadline, even if the peer does not answer our close frame, or
        # does not even read it.
        session.transport.set_deadline(session.transport.engine.close_timeout or None)
    if ending == LINGER or session.version_index == DRAFT75:
        session.transport.shut_down(LINGERS)
    elif ending == FINISH:
        session.transport.shut_down(CLOSES)
    elif ending == DROP:
        session.transport.close_with(None)
    return 0


cdef int end_with(Sender session, Violation violation, CloseEvent event) except -1:
    cdef int code = violation_code(violation)
    reason = violation_reason(violation)
    if CONNECTED <= session.state <= CLOSING:
        session.transport.engine.limit_counters.count(violation_limit(violation))
    record_close(session, code, reason)
    return advance_closing(session, event, encode_close(code, reason))


cdef object closed_error(Sender session):
    """Make the exception for a call that needs an open connection, where this one is not open."""
    if session.state < CONNECTED:
        return ConnectionClosed(1006, "the handshake has not been completed")
    return ConnectionClosed(session.code or session.own_code or 1006, session.reason or "")


cdef int record_close(Sender session, int code, str reason) except -1:
    """Note the code and reason with which the connection ended, unless they are known already."""
    if not session.code:
        session.code = code
        session.reason = reason
    return 0


cdef int end_behind(Sender session) except -1:
    """Drop the messages queued behind a streamed message, wake the tasks that wait for them to be
    sent, and end the session."""
    try:
        if session.queued_behind is not None:
            session.queued_behind.drop_backlog(False)
    finally:
        session.queued_behind = None
        session.ended()
    return 0

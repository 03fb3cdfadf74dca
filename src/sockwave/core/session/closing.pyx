"""Where a conversation stands: its phases, and the closing handshake as a table.

RFC 6455 section 7, and what the drafts have in its place.
"""

from sockwave.core.io.backlog cimport count_messages
from sockwave.core.protocol.frames cimport violation_code, violation_limit, violation_reason
from sockwave.core.session.sender cimport DRAFT75
from sockwave.core.limits.counters cimport CLOSE_TIMEOUT

from sockwave.close import encode_close
from sockwave.errors import ConnectionClosed
from sockwave.states import ReadyState

# Where a session stands → what the application sees of that.
SEEN_AS = {
    UNKNOWN: ReadyState.UNKNOWN,
    OPENING: ReadyState.OPENING,
    WAITING: ReadyState.WAITING,
    HANDSHAKING: ReadyState.HANDSHAKING,
    CONNECTED: ReadyState.CONNECTED,
    CLOSING: ReadyState.CONNECTED,
    ENDING: ReadyState.CONNECTED,
    ENDED: ReadyState.CLOSED,
}
# The same, by state.
cdef tuple STATES = tuple(SEEN_AS[state] for state in range(ENDED + 1))
READY_STATES = STATES
# Those of the opening, which is driven from outside.
OPENING_STATES = {SEEN_AS[state]: state for state in range(OPENING, HANDSHAKING + 1)}

# Section 7 as a table: where a session stands and what happens → where it stands then, whether
# our close frame is sent, and what becomes of the transport. What is not in it changes nothing.
cdef enum:
    KEEP        # it stays, until the peer's close frame or the deadline
    FINISH      # it ends after our last byte: 7.1.1, the server is the one to close first
    LINGER      # the same, but the peer may still be sending
    DROP        # it is gone already
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


cdef class ClosingHandshake(Sender):
    """A conversation that begins and ends in order."""

    cdef int entered(self, object state) except -1:
        return 0

    cdef int listen_for_close(self) except -1:
        return 0

    cdef int ended(self) except -1:
        return 0

    cdef int enter(self, ConnectionState state) except -1:
        before = STATES[self.state]
        self.state = state
        after = STATES[state]
        if after is not before:
            self.entered(after)
        return 0

    def _enter(self, ready_state):
        """Enter a state of the opening."""
        cdef int state = OPENING_STATES[ready_state]
        self.enter(<ConnectionState>state)

    # ---- the closing handshake

    cdef int advance_closing(self, CloseEvent event, bytes close_payload) except -1:
        """Do what the table says."""
        move = TRANSITIONS.get((self.state, event))
        if move is None:
            return 0
        state, sends_close, farewell = move
        try:
            return self.move(state, sends_close, farewell, close_payload)
        except BaseException:
            # Half of it has been done, and nothing else would end it.
            self.transport.lose(None)
            raise

    cdef int move(
        self, ConnectionState state, bint sends_close, int farewell, bytes close_payload
    ) except -1:
        self.enter(state)
        if self.queued_behind is not None:
            # 5.5.1: "The application MUST NOT send any more data frames after sending a Close
            # frame."
            self.dropped(count_messages(&self.queued_behind.backlog, self.is_draft()))
            self.queued_behind.drop_backlog(False)
            self.queued_behind = None
        if self.state == CLOSING:
            self.listen_for_close()
        if sends_close:
            self.own_code = int.from_bytes(close_payload[:2], "big")
            self.write_close(close_payload)
            # No answer, or a peer that does not even take ours: it ends all the same.
            self.transport.set_deadline(self.transport.engine.close_timeout or None)
        if farewell == LINGER or self.version_index == DRAFT75:
            self.transport.finish(True)
        elif farewell == FINISH:
            self.transport.finish(False)
        elif farewell == DROP:
            self.transport.lose(None)
        return 0

    cdef int fail(self, Violation violation) except -1:
        """Fail the session (7.1.7): the one way out for whatever the peer does wrong."""
        return self.end_with(violation, PEER_FAILS)

    cdef int end_with(self, Violation violation, CloseEvent event) except -1:
        cdef int code = violation_code(violation)
        reason = violation_reason(violation)
        if CONNECTED <= self.state <= CLOSING:
            self.transport.engine.limit_counters.count(violation_limit(violation))
        self.record_close(code, reason)
        return self.advance_closing(event, encode_close(code, reason))

    def _abandon(self):
        """Be at the end in a forked child, of which nobody hears: it is the parent's."""
        self.record_close(1006, "this process was forked, and the connection is the parent's")
        self.state = ENDED

    cdef object closed_error(self):
        """Make the exception for who asks for a connection that is not there."""
        if self.state < CONNECTED:
            return ConnectionClosed(1006, "the handshake has not been completed")
        return ConnectionClosed(self.code or self.own_code or 1006, self.reason or "")

    cdef int record_close(self, int code, str reason) except -1:
        """Note how it ended, where that is not known yet."""
        if not self.code:
            self.code = code
            self.reason = reason
        return 0

    cdef int notify_eof(self) except -1:
        if self.state < CONNECTED:
            self.transport.lose(None)
            return 0
        return self.advance_closing(STREAM_ENDS, None)

    cdef int notify_deadline(self) except -1:
        if self.state < CONNECTED:
            self.opening.deadline_passed()
            return 0
        self.transport.engine.limit_counters.count(CLOSE_TIMEOUT)
        self.dropped(self.count_unsent())
        return self.advance_closing(STREAM_ENDS, None)

    cdef int notify_closed(self, object error) except -1:
        # The end of the stream is all that draft-75 has for a close.
        self.record_close(1005 if self.version_index == DRAFT75 and error is None else 1006, "")
        self.state = ENDING if self.state < ENDING else self.state
        try:
            if self.opening is not None:
                self.opening.connection_lost()
            self.opening = None
        finally:
            self.end_behind()
        return 0

    cdef int end_behind(self) except -1:
        """Let those go who wait behind a streamed message, and end."""
        try:
            if self.queued_behind is not None:
                self.queued_behind.drop_backlog(False)
        finally:
            self.queued_behind = None
            self.ended()
        return 0

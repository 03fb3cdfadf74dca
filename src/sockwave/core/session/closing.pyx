"""Where a conversation stands: its phases, and the closing handshake as a table.

RFC 6455 section 7, and what the drafts have in its place.
"""

from sockwave.core.protocol.frames cimport violation_code, violation_limit, violation_reason
from sockwave.core.session.sender cimport DRAFT75
from sockwave.core.limits.counters cimport CLOSE_TIMEOUT

from sockwave.close import check_close
from sockwave.errors import ConnectionClosed
from sockwave.states import ReadyState

# By phase.
cdef tuple STATES = (
    ReadyState.UNKNOWN,         # UNKNOWN
    ReadyState.OPENING,         # OPENING
    ReadyState.WAITING,         # WAITING
    ReadyState.HANDSHAKING,     # HANDSHAKING
    ReadyState.CONNECTED,       # CONNECTED
    ReadyState.CONNECTED,       # CLOSING
    ReadyState.CONNECTED,       # ENDING
    ReadyState.CLOSED,          # ENDED
)
READY_STATES = STATES

# Section 7 as a table: where a session stands and what happens → where it stands then, whether
# our close frame is sent, and what becomes of the carrier. What is not in it changes nothing.
cdef enum:
    KEEP        # it stays, until the peer's close frame or the deadline
    FINISH      # it ends after our last byte: 7.1.1, the server is the one to close first
    LINGER      # the same, but the peer may still be sending
    DROP        # it is gone already
MOVES = {
    (CONNECTED, WE_CLOSE): (CLOSING, True, KEEP),
    (CONNECTED, PEER_CLOSES): (ENDING, True, FINISH),
    (CONNECTED, PEER_FAILS): (ENDING, True, LINGER),
    (CONNECTED, PEER_VANISHES): (ENDING, True, FINISH),
    (CONNECTED, STREAM_ENDS): (ENDING, False, DROP),
    (CLOSING, PEER_CLOSES): (ENDING, False, FINISH),
    (CLOSING, PEER_FAILS): (ENDING, False, LINGER),
    (CLOSING, STREAM_ENDS): (ENDING, False, DROP),
}


cdef class Phased(Sender):
    """A conversation that begins and ends in order."""

    cdef int entered(self, object state) except -1:
        return 0

    cdef int listen_for_close(self) except -1:
        return 0

    cdef int ended(self) except -1:
        return 0

    cdef int enter(self, Phase phase) except -1:
        before = STATES[self.phase]
        self.phase = phase
        state = STATES[phase]
        if state is not before:
            self.entered(state)
        return 0

    def _enter(self, int phase):
        self.enter(<Phase>phase)

    # ---- the closing handshake

    cdef int happened(self, Occurrence occurrence, bytes close_payload) except -1:
        """Do what the table says."""
        move = MOVES.get((self.phase, occurrence))
        if move is None:
            return 0
        phase, answers, farewell = move
        try:
            return self.move(phase, answers, farewell, close_payload)
        except BaseException:
            # Half of it has been done, and nothing else would end it.
            self.line.lose(None)
            raise

    cdef int move(
        self, Phase phase, bint answers, int farewell, bytes close_payload
    ) except -1:
        self.enter(phase)
        if self.behind is not None:
            # 5.5.1: "The application MUST NOT send any more data frames after sending a Close
            # frame."
            self.dropped(self.behind.count_messages(self.is_draft()))
            self.behind.drop_backlog(False)
            self.behind = None
        if self.phase == CLOSING:
            self.listen_for_close()
        if answers:
            self.own_code = int.from_bytes(close_payload[:2], "big")
            self.write_close(close_payload)
            # No answer, or a peer that does not even take ours: it ends all the same.
            self.line.set_deadline(self.line.engine.close_timeout or None)
        if farewell == LINGER or self.version_index == DRAFT75:
            self.line.finish(True)
        elif farewell == FINISH:
            self.line.finish(False)
        elif farewell == DROP:
            self.line.lose(None)
        return 0

    cdef int fail(self, Violation violation) except -1:
        """Fail the session (7.1.7): the one way out for whatever the peer does wrong."""
        return self.end_with(violation, PEER_FAILS)

    cdef int end_with(self, Violation violation, Occurrence occurrence) except -1:
        cdef int code = violation_code(violation)
        reason = violation_reason(violation)
        if CONNECTED <= self.phase <= CLOSING:
            self.line.engine.tally.hit(violation_limit(violation))
        self.settle(code, reason)
        return self.happened(occurrence, check_close(code, reason))

    def abandon(self):
        """Be at the end in a forked child, of which nobody hears: it is the parent's."""
        self.settle(1006, "this process was forked, and the connection is the parent's")
        self.phase = ENDED

    cdef object closed_error(self):
        """Make the exception for who asks for a connection that is not there."""
        if self.phase < CONNECTED:
            return ConnectionClosed(1006, "the handshake has not been completed")
        return ConnectionClosed(self.code or self.own_code or 1006, self.reason or "")

    cdef int settle(self, int code, str reason) except -1:
        """Note how it ended, where that is not known yet."""
        if not self.code:
            self.code = code
            self.reason = reason
        return 0

    cpdef object eof_received(self):
        if self.phase < CONNECTED:
            self.line.lose(None)
        else:
            self.happened(STREAM_ENDS, None)

    cpdef object deadline_passed(self):
        if self.phase < CONNECTED:
            self.opening.deadline_passed()
        else:
            self.line.engine.tally.hit(CLOSE_TIMEOUT)
            self.dropped(self.line.count_messages(self.is_draft()))
            self.happened(STREAM_ENDS, None)

    cpdef object connection_lost(self, object error):
        # The end of the stream is all that draft-75 has for a close.
        self.settle(1005 if self.version_index == DRAFT75 and error is None else 1006, "")
        self.phase = ENDING if self.phase < ENDING else self.phase
        try:
            if self.opening is not None:
                self.opening.connection_lost()
            self.opening = None
        finally:
            self.end_behind()

    cdef int end_behind(self) except -1:
        """Let those go who wait behind a streamed message, and end."""
        try:
            if self.behind is not None:
                self.behind.drop_backlog(False)
        finally:
            self.behind = None
            self.ended()
        return 0

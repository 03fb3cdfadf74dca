"""The protocol's side of a connection: its phases, its reading, its closing handshake.

RFC 6455 sections 5.5, 6 and 7, and what the drafts have in their place.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.object cimport PyObject
from cpython.ref cimport Py_DECREF
from libc.stdlib cimport free

from sockwave.core.carrier cimport HEADROOM_SIZE, Engine
from sockwave.core.frames cimport (
    CLOSE, INVALID_UTF8, MAX_HEADER_SIZE, MESSAGE_TOO_BIG, PING, PONG, TEXT, TOO_SLOW,
    violation_code, violation_reason,
)
from sockwave.core.hixie cimport HixieReader
from sockwave.core.policy cimport (
    CLOSE_SLOW, Offer, is_overfull, join, make_offer, waiting_size,
)
from sockwave.core.reader cimport NEEDS_MORE, PIECE, VIOLATED
from sockwave.core.writer cimport draft_frame_of, frame_of

from sockwave.close import CloseCode, check_close
from sockwave.core.writer import DONE
from sockwave.errors import ConnectionClosed
from sockwave.states import ReadyState

cdef extern from "Python.h":
    # NULL with an exception set, which `cannot_decode` looks at: a `try` would cost more than the
    # decoding of a short text.
    PyObject* PyUnicode_DecodeUTF8(const char* data, Py_ssize_t size, const char* errors)

cdef extern from *:
    """
    static int sockwave_raise_pending(void) { return -1; }
    """
    int raise_pending "sockwave_raise_pending" () except -1

cdef enum:
    FIN = 0x80
    # What is inflated in the time that a small message takes, about: 1 MiB counts for 256.
    INFLATED_PRICE_SIZE = 4096

VERSIONS = ("draft75", "draft76", "hybi-07", "hybi-08", "rfc6455")

READY_STATES = {
    UNKNOWN: ReadyState.UNKNOWN,
    OPENING: ReadyState.OPENING,
    WAITING: ReadyState.WAITING,
    HANDSHAKING: ReadyState.HANDSHAKING,
    CONNECTED: ReadyState.CONNECTED,
    CLOSING: ReadyState.CONNECTED,
    ENDING: ReadyState.CONNECTED,
    ENDED: ReadyState.CLOSED,
}

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
    (CONNECTED, STREAM_ENDS): (ENDING, False, DROP),
    (CLOSING, PEER_CLOSES): (ENDING, False, FINISH),
    (CLOSING, PEER_FAILS): (ENDING, False, LINGER),
    (CLOSING, STREAM_ENDS): (ENDING, False, DROP),
}


cdef class Session(Receiver):
    """One WebSocket conversation: bytes of a carrier in, messages and control frames out."""

    def __init__(self, Carrier line, str version, size_t max_size, float close_timeout):
        cdef HixieReader draft_reader
        self.line = line
        self.close_timeout = close_timeout
        self.version_index = VERSIONS.index(version)
        if self.is_draft():
            draft_reader = HixieReader(max_size)
            draft_reader.has_close = self.version_index == DRAFT76
            self.reader = draft_reader
        else:
            self.reader = Reader(max_size)

    cdef int entered(self, object state) except -1:
        return 0

    cdef int heard_message(self, object message, size_t size) except -1:
        return 0

    cdef int heard_piece(self, int opcode, const Found* found) except -1:
        return 0

    cdef bint may_be_streamed(self) except -1:
        return False

    cdef int dropped(self, size_t count) except -1:
        return 0

    cdef int heard_ping(self, bytes payload) except -1:
        return 0

    cdef int heard_pong(self, bytes payload) except -1:
        return 0

    cdef int may_send_again(self) except -1:
        return 0

    cdef int ended(self) except -1:
        return 0

    cdef bint is_draft(self) noexcept:
        return self.version_index <= DRAFT76

    cdef int enter(self, Phase phase) except -1:
        before = READY_STATES[self.phase]
        self.phase = phase
        state = READY_STATES[phase]
        if state is not before:
            self.entered(state)
        return 0

    # ---- the opening, driven from outside

    def _enter(self, int phase):
        self.enter(<Phase>phase)

    def _begin(self, opening, bytes rest):
        """Become the receiver; `rest` came behind the request.

        Until it is connected, what comes is kept, and `opening` is told.
        """
        cdef Input given
        self.opening = opening
        self.line.receiver = self
        self.enter(OPENING)
        given.data = <uint8_t*>PyBytes_AS_STRING(rest)
        given.size = PyBytes_GET_SIZE(rest)
        self.reader.hold(&given)

    def _take(self, size_t size):
        """Take `size` bytes of what came behind the request; None while they are not all there."""
        cdef Input given
        cdef size_t held_size
        cdef uint8_t* held
        if self.reader.held_size < size:
            return None
        held = self.reader.take_held(&held_size)
        try:
            taken = PyBytes_FromStringAndSize(<char*>held, size)
            given.data = held + size
            given.size = held_size - size
            self.reader.hold(&given)
        finally:
            free(held)
        return taken

    # ---- bytes in

    cdef uint8_t* reserve(self, size_t* size) except? NULL:
        return self.reader.reserve(size) if self.phase == CONNECTED else NULL

    cdef int take_bytes(self, uint8_t* data, size_t size) except -1:
        cdef Input given
        cdef size_t held_size = self.reader.held_size
        given.data = data
        given.size = size
        if self.phase < CONNECTED:
            self.reader.hold(&given)
            self.opening.more_received()
        elif self.is_postponed or self.must_wait() or held_size > HEADROOM_SIZE:
            # Reading is paused, but a transport may have had this under way.
            self.reader.hold(&given)
            if not self.must_wait():
                self.postpone()
        else:
            if held_size:
                given.data = self.reader.prepend_held(data)
                given.size += held_size
            self.read(&given)
        return 0

    cdef int go_on(self) except -1:
        cdef Input given
        self.is_postponed = False
        if self.reader.held_size and not self.must_wait():
            self.reader.lend_held(&given)
            try:
                self.read(&given)
            finally:
                self.reader.take_back()
        if not self.is_postponed:
            self.set_reading()
        return 0

    cdef int read(self, Input* given) except -1:
        """Read what has come, one message after the other, until nothing whole is left or somebody
        has to wait."""
        cdef Found found
        cdef Engine engine = self.line.engine
        cdef int event
        found.is_deflated = False
        # 1.4: "After sending a control frame indicating the connection should be closed, a peer
        # does not send any further data; after receiving a control frame indicating the connection
        # should be closed, a peer discards any further data received."
        while self.phase == CONNECTED or self.phase == CLOSING:
            if self.must_wait():
                return self.reader.hold(given)
            if engine.budget <= 0:
                self.reader.hold(given)
                return self.postpone()
            event = self.reader.next(given, &found)
            if event == NEEDS_MORE:
                return self.reader.hold(given)
            engine.budget -= 1
            if event == VIOLATED:
                if found.violation == MESSAGE_TOO_BIG and self.may_be_streamed():
                    self.reader.hold(given)
                    return self.fall_behind(NOT_ASKED)
                return self.fail(found.violation)
            if event >= CLOSE:
                self.found_control(event, &found)
            elif event == PIECE:
                self.found_piece(&found)
            else:
                self.found_message(event, &found)
        return 0

    cdef int found_message(self, int opcode, Found* found) except -1:
        """Make the message an object, and hand it on."""
        cdef PyObject* text
        if self.phase != CONNECTED:
            return self.reader.forget_message()
        if found.is_deflated:
            return self.found_deflated(opcode, found)
        if opcode == TEXT:
            text = PyUnicode_DecodeUTF8(<const char*>found.data, found.size, NULL)
            if text is NULL:
                return self.cannot_decode()
            message = <object>text
            Py_DECREF(message)
            if found.assembled:
                self.reader.forget_message()
        elif found.assembled:
            message = self.reader.take_message()
        else:
            message = PyBytes_FromStringAndSize(<const char*>found.data, found.size)
        return self.heard_message(message, found.size)

    cdef int found_deflated(self, int opcode, Found* found) except -1:
        """Inflate a compressed message, and hand it on."""
        cdef bytes inflated = self.inflater.inflate(found.data, found.size, &found.violation)
        cdef PyObject* text
        cdef size_t size
        if found.assembled:
            self.reader.forget_message()
        if inflated is None:
            return self.fail(found.violation)
        message = inflated
        size = PyBytes_GET_SIZE(inflated)
        # A turn's fill of messages is one of small ones: a large one counts for many.
        self.line.engine.budget -= <int>(size // INFLATED_PRICE_SIZE)
        if opcode == TEXT:
            text = PyUnicode_DecodeUTF8(PyBytes_AS_STRING(inflated), size, NULL)
            if text is NULL:
                return self.cannot_decode()
            message = <object>text
            Py_DECREF(message)
        return self.heard_message(message, size)

    cdef int found_piece(self, const Found* found) except -1:
        """Hand on the next bytes of a message that is taken as a stream."""
        cdef int opcode = self.reader.message_opcode
        if found.is_last:
            self.reader.end_pieces()
        return self.heard_piece(opcode, found) if self.phase == CONNECTED else 0

    cdef int cannot_decode(self) except -1:
        try:
            raise_pending()
        except UnicodeDecodeError:
            return self.fail(INVALID_UTF8)

    cdef int found_control(self, int opcode, const Found* found) except -1:
        cdef bytes payload = PyBytes_FromStringAndSize(<const char*>found.data, found.size)
        if opcode == CLOSE:
            if found.size:
                self.settle(found.data[0] << 8 | found.data[1], payload[2:].decode())
            else:
                self.settle(CloseCode.NO_STATUS_RECEIVED, "")
            # 5.5.1: "When sending a Close frame in response, the endpoint typically echos the
            # status code it received."
            self.happened(PEER_CLOSES, payload[:2])
        elif self.phase != CONNECTED:
            return 0
        elif opcode == PING:
            self.write_pong(payload)
            self.heard_ping(payload)
        else:
            self.heard_pong(payload)
        return 0

    # ---- flow: who has to wait for whom

    cdef bint must_wait(self) noexcept:
        """Say whether messages have to wait for the application, or for a peer that does not read
        what it gets for them; when the session closes, they do not."""
        return self.phase == CONNECTED and (self.fullness != 0 or self.is_choked)

    cdef int set_reading(self) except -1:
        """Read the socket while nobody has to wait."""
        if self.is_postponed or self.must_wait():
            self.line.pause()
        elif self.phase >= CONNECTED:
            self.line.resume()
        return 0

    cdef int postpone(self) except -1:
        """Go on in the next wake-up; until then the socket waits as well."""
        if not self.is_postponed:
            self.is_postponed = True
            self.line.engine.postpone(self.line)
            self.set_reading()
        return 0

    cdef int go_on_later(self) except -1:
        """Take up what had to wait: first what has been received already, then the socket."""
        return self.postpone() if self.reader.held_size else self.set_reading()

    cdef int fall_behind(self, Fullness why) except -1:
        """Let the peer wait for the application."""
        # A session that closes reads on, for the peer's close frame.
        if self.phase == CONNECTED and not self.fullness & why:
            self.fullness |= why
            self.set_reading()
        return 0

    cdef int catch_up(self, Fullness why) except -1:
        """Read again, where nothing else is in the way."""
        if self.fullness & why:
            self.fullness &= ~<int>why
            if not self.fullness and self.phase == CONNECTED:
                self.go_on_later()
        return 0

    cdef int backlog_rose(self) except -1:
        self.is_choked = True
        return self.set_reading()

    cdef int backlog_fell(self) except -1:
        self.is_choked = False
        self.go_on_later()
        return self.may_send_again()

    cdef int backlog_emptied(self) except -1:
        cdef bytes owed = self.owed_pong
        self.owed_pong = None
        if owed is not None and self.phase == CONNECTED:
            self.write_pong(owed)
        return 0

    # ---- the closing handshake

    cdef int happened(self, Occurrence occurrence, bytes close_payload) except -1:
        """Do what the table says."""
        move = MOVES.get((self.phase, occurrence))
        if move is None:
            return 0
        phase, answers, farewell = move
        self.enter(phase)
        if self.behind is not None:
            # 5.5.1: "The application MUST NOT send any more data frames after sending a Close
            # frame."
            self.behind.drop_backlog(False)
            self.behind = None
        if self.phase == CLOSING:
            # Nobody takes messages any more, but the peer's close frame comes behind them.
            self.fullness = 0
            self.go_on_later()
        if answers:
            self.own_code = int.from_bytes(close_payload[:2], "big")
            self.write_close(close_payload)
            # No answer, or a peer that does not even take ours: it ends all the same.
            self.line.set_deadline(self.close_timeout or None)
        if farewell == LINGER or self.version_index == DRAFT75:
            self.line.finish(True)
        elif farewell == FINISH:
            self.line.finish(False)
        elif farewell == DROP:
            self.line.lose(None)
        return 0

    cdef int fail(self, Violation violation) except -1:
        """Fail the session (7.1.7): the one way out for whatever the peer does wrong."""
        cdef int code = violation_code(violation)
        reason = violation_reason(violation)
        self.settle(code, reason)
        self.reader.forget_message()
        return self.happened(PEER_FAILS, check_close(code, reason))

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
            self.happened(STREAM_ENDS, None)

    cpdef object connection_lost(self, object error):
        # The end of the stream is all that draft-75 has for a close.
        self.settle(1005 if self.version_index == DRAFT75 and error is None else 1006, "")
        opening, self.opening = self.opening, None
        if opening is not None:
            opening.connection_lost()
        self.reader.forget_message()
        self.reader.forget_held()
        self.deflater = self.inflater = None
        self.phase = ENDING if self.phase < ENDING else self.phase
        self.ended()

    # ---- bytes out

    cdef int write_message(
        self, int opcode, object owner, const uint8_t* data, size_t size
    ) except -1:
        if self.behind is not None or is_overfull(self.line, None, size + MAX_HEADER_SIZE):
            self.share_frame(self.frame_message(opcode, data, size), CLOSE_SLOW, None)
            return 0
        if not self.is_draft():
            return self.line.write_frame(FIN | opcode, owner, data, size)
        return self.line.share(draft_frame_of(data, size))

    cdef bytes frame_message(self, int opcode, const uint8_t* data, size_t size):
        return draft_frame_of(data, size) if self.is_draft() else frame_of(FIN | opcode, data, size)

    cdef bint share_frame(self, bytes frame, int policy, object key) except -1:
        """Queue a frame that others may hold too, unless the peer is too far behind for it."""
        cdef Offer offer
        if policy == CLOSE_SLOW and not is_overfull(
            self.line, self.behind, PyBytes_GET_SIZE(frame)
        ):
            if self.behind is None:
                self.line.share(frame)
            else:
                self.behind.share(frame)
            return True
        offer.policy = policy
        make_offer(&offer, self.line, self.behind, frame, key)
        if offer.dropped_count:
            self.dropped(offer.dropped_count)
        if policy == CLOSE_SLOW and not offer.is_queued:
            self.give_up()
        return offer.is_queued

    cdef object when_drained(self):
        """Give an awaitable that is done when all that waits is under the high-water mark."""
        if self.behind is None:
            return self.line.drain_awaitable()
        if waiting_size(self.line, self.behind) <= self.line.cork.high_water:
            return DONE
        self.behind.wants_drain = True
        return self.behind.new_waiter()

    cdef int write_fragment(
        self, uint8_t first_byte, object owner, const uint8_t* data, size_t size
    ) except -1:
        """Write a piece of a streamed message.

        5.4: "The fragments of one message MUST NOT be interleaved between the fragments of another
        message": from the first one on, other messages wait behind it.
        """
        if is_overfull(self.line, None, size):
            return self.give_up()
        if self.behind is None:
            self.behind = Writer.__new__(Writer)
            self.behind.cork = self.line.cork
            self.behind.is_blocked = True
        return self.line.write_frame(first_byte, owner, data, size)

    cdef int end_fragments(self) except -1:
        """Send what has waited behind a streamed message."""
        cdef Writer behind = self.behind
        self.behind = None
        if behind is None:
            return 0
        if behind.count:
            join(self.line, behind)
        return self.line.take_over_waiters(behind)

    cdef int give_up(self) except -1:
        """Fail a peer that does not read: what has not begun to leave is dropped, so that the close
        frame can follow."""
        self.line.drop_backlog(True)
        return self.fail(TOO_SLOW)

    cdef int write_control(self, int opcode, bytes payload) except -1:
        return self.line.write_frame(
            FIN | opcode, payload, <const uint8_t*>PyBytes_AS_STRING(payload),
            PyBytes_GET_SIZE(payload),
        )

    cdef int write_close(self, bytes payload) except -1:
        if self.version_index == DRAFT76:
            return self.line.write_bytes(b"\xff\x00", b"\xff\x00", 2)
        if self.version_index != DRAFT75:
            return self.write_control(CLOSE, payload)
        return 0

    cdef int write_pong(self, bytes payload) except -1:
        # 5.5.3: "If an endpoint receives a Ping frame and has not yet sent Pong frame(s) in
        # response to previous Ping frame(s), the endpoint MAY elect to send a Pong frame for only
        # the most recently processed Ping frame."
        if self.line.is_blocked:
            self.owed_pong = payload
            return 0
        return self.write_control(PONG, payload)

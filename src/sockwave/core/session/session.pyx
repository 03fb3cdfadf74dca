"""What a session reads: bytes → messages and control frames.

RFC 6455 sections 5.4 to 6.2, and what the drafts have in their place.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.stdint cimport uint8_t
from libc.stdlib cimport calloc, free

from sockwave.core.limits.rate_limit cimport take
from sockwave.core.protocol.message_memory cimport unmask_bytes, decode, offer_spare, unmask_text
from sockwave.core.io.transport cimport Transport
from sockwave.core.io.turn_budget cimport (
    has_inflatable, has_messages, has_reserve, take_message,
)
from sockwave.core.events.contexts cimport (
    Contexts, enter_or_copy, have_same_values, is_current,
)
from sockwave.core.events.emitter cimport (
    call_listeners, code_of, is_heard, row_of, shorten, without_once,
)
from sockwave.core.io.engine cimport HEADROOM_SIZE, Engine
from sockwave.core.session.flow_control cimport NOT_ASKED
from sockwave.core.session.inflating cimport inflate_some
from sockwave.core.protocol.frames cimport (
    CLOSE, INVALID_UTF8, MAX_SHORT_SIZE, MESSAGE_TOO_BIG, PING, PONG, TEXT, TOO_MANY_BYTES,
    TOO_MANY_CONTROLS, TOO_MANY_MESSAGES, Violation,
)
from sockwave.core.protocol.hixie cimport HixieReader
from sockwave.core.protocol.inflation cimport SLICE_SIZE, Inflation, is_crowded
from sockwave.core.session.closing cimport (
    CLOSING, CONNECTED, ENDED, ENDING, OPENING, PEER_CLOSES, PEER_FAILS, STREAM_ENDS,
    ConnectionState, advance_closing, end_behind, end_with, enter, record_close,
)
from sockwave.core.protocol.reader cimport NEEDS_MORE, PIECE, VIOLATED
from sockwave.core.session.sender cimport DRAFT75, DRAFT76
from sockwave.core.limits.counters cimport CLOSE_TIMEOUT, NO_LIMIT

from sockwave.close import CloseCode
from sockwave.core.events.emitter import CONNECTION_EVENTS
from sockwave.core.session.closing import OPENING_STATES

cdef extern from "Python.h":
    object copy_context "PyContext_CopyCurrent" ()
    int leave_context "PyContext_Exit" (object context) except -1


cdef int session_add(object emitter, object event, object listener, bint once) except -1:
    return (<Session>emitter).add(event, listener, once)


cdef int session_drop_once(object emitter, object listener, long code) except -1:
    cdef Session session = emitter
    return session.keep_listeners(
        without_once(row_of(session.listener, session.only_code), listener, code)
    )


cdef int session_failed(object emitter, object error) except -1:
    return (<Session>emitter).failed(error)


cdef int session_started(object emitter, object coroutine) except -1:
    return (<Session>emitter).started(coroutine)


cdef bint session_is_settled(object emitter, object result) except -1:
    return (<Session>emitter).is_settled(result)


session_hooks.add = session_add
session_hooks.drop_once = session_drop_once
session_hooks.failed = session_failed
session_hooks.started = session_started
session_hooks.is_settled = session_is_settled


cdef class Session(FlowControl):
    """One WebSocket session: bytes of a transport in, messages and control frames out."""

    cdef int begin(self, Transport transport, int version_index) except -1:
        """Set up the session on a transport, in a version of the protocol."""
        cdef HixieReader draft_reader
        self.transport = transport
        self.version_index = version_index
        if self.is_draft():
            draft_reader = HixieReader(transport.engine.max_size, 0)
            draft_reader.has_close = self.version_index == DRAFT76
            self.reader = draft_reader
        if transport.engine.rate_limits.message.cost_s or transport.engine.rate_limits.byte.cost_s:
            self.open_usage()
        return 0

    def __dealloc__(self):
        free(self.usage)

    cdef int heard_message(self, object message, size_t size) except -1:
        return 0

    cdef int heard_piece(self, int opcode, const Found* found) except -1:
        return 0

    cdef bint may_be_streamed(self) except -1:
        return False

    cdef int heard_ping(self, bytes payload) except -1:
        return 0

    cdef int heard_pong(self, bytes payload) except -1:
        return 0

    cdef int keep_call(self, object call) except -1:
        return 0

    cdef int forget_call(self, object call) except -1:
        return 0

    cdef object find_call(self, object task):
        return None

    cdef int end_calls(self) except -1:
        return 0

    cdef bint has_left(self) except -1:
        return False

    cdef bint end_in_time(self) except -1:
        return False

    cdef bint keeps_for_listener(self) except -1:
        return False

    cdef int rest_begins(self) except -1:
        return 0

    cdef int rest_ends(self) except -1:
        return 0

    cdef int call_started(self, bint is_own, bint is_message) except -1:
        return 0

    cdef int note_end_of(self, object task) except -1:
        return 0

    cdef int call_ended(self, bint is_own, bint is_message) except -1:
        return 0

    cdef int failed(self, object error) except -1:
        raise error

    cdef int started(self, object coroutine) except -1:
        return 0

    cdef bint is_settled(self, object result) except -1:
        return False

    # ---- its listeners

    cdef bint hears(self, int event) noexcept:
        return is_heard(self.listener, self.only_code, event)

    cdef int emit(self, int event, object first, object second) except -1:
        return call_listeners(
            self.listener, self.only_code, self, &session_hooks, event, first, second
        )

    cdef int add(self, object event, object listener, bint once) except -1:
        cdef long code = code_of(CONNECTION_EVENTS, event, listener, once)
        if self.listener is None:
            # Nearly always there is only one: it costs a connection no row.
            self.listener = listener
            self.only_code = code
            return 0
        return self.keep_listeners(row_of(self.listener, self.only_code) + (listener, code))

    cdef int keep_listeners(self, tuple row) except -1:
        self.listener, self.only_code = shorten(row)
        return 0

    # ---- the context of its listeners

    cdef object enter_context(self):
        """Enter the context of this session's listeners, until `leave_context` is called with what
        this returns. Returns None where the code runs in that context already."""
        cdef Contexts contexts
        context = self.context
        if context is None:
            contexts = self.transport.engine.contexts
            context = contexts.take()
            self.context = context
        elif is_current(context):
            return None
        return enter_or_copy(context)

    cdef int leave_context(self, object entered) except -1:
        """Leave the context. The session keeps it if a variable has been set in it."""
        cdef Contexts contexts
        if entered is None:
            return 0
        leave_context(entered)
        if entered is self.context:
            contexts = self.transport.engine.contexts
            # Two references: the session's, and the caller's.
            if contexts.is_unchanged(entered, 2):
                contexts.spare = entered
                self.context = None
        return 0

    cdef int emit_in_context(self, int event, object first, object second) except -1:
        """Emit an event in the context of this session's listeners, wherever the call comes from.
        Not for what `read` finds: that runs in the context already."""
        if not self.hears(event):
            return 0
        entered = self.enter_context()
        try:
            return self.emit(event, first, second)
        finally:
            self.leave_context(entered)

    def _run(self, function, *arguments):
        """Call a function in the context of this session's listeners."""
        entered = self.enter_context()
        try:
            return function(*arguments)
        finally:
            self.leave_context(entered)

    def _adopt(self, context):
        """Go on in the context that the first hooks of the handshake ran in; None: in a fresh one.
        """
        self.context = context

    def _inherit(self):
        """Go on in a copy of the current context, if a variable has been set in it. It is the
        context of the task in which hooks of the handshake have run."""
        cdef Contexts contexts = self.transport.engine.contexts
        context = copy_context()
        if not have_same_values(context, contexts.base if self.context is None else self.context):
            self.context = context

    # ---- the opening handshake, whose code calls these

    def _begin(self, opening, bytes rest):
        """Become the transport's receiver; `rest` is what the client sent behind the request.

        Until the session is connected, bytes that come are kept, and `opening` is told of them.
        """
        cdef Span given
        self.opening = opening
        self.transport.receiver = self
        enter(self, OPENING)
        given.data = <uint8_t*>PyBytes_AS_STRING(rest)
        given.size = PyBytes_GET_SIZE(rest)
        self.store_input(&given)

    def _enter(self, ready_state):
        """Enter a state of the opening handshake."""
        cdef int state = OPENING_STATES[ready_state]
        enter(self, <ConnectionState>state)

    def _abandon(self):
        """End in a forked child, where the connection is the parent's: no listener is told."""
        record_close(self, 1006, "this process was forked, and the connection is the parent's")
        self.state = ENDED

    def _take(self, size_t size):
        """Take `size` of the bytes that came behind the request; None until so many have come."""
        cdef Span given
        cdef size_t held_size
        cdef uint8_t* held
        if self.kept_size() < size:
            return None
        held = self.reader.take_input(&held_size)
        try:
            taken = PyBytes_FromStringAndSize(<char*>held, size)
            given.data = held + size
            given.size = held_size - size
            self.store_input(&given)
        finally:
            free(held)
        return taken

    # ---- bytes in

    cdef uint8_t* reserve(self, size_t* size) except? NULL:
        if self.reader is None or self.state != CONNECTED:
            return NULL
        return self.reader.reserve(size)

    cdef int take_bytes(self, uint8_t* data, size_t size) except -1:
        cdef Span given
        cdef size_t kept_size = self.kept_size()
        self.heard = self.transport.engine.wheel.tick
        given.data = data
        given.size = size
        if self.state < CONNECTED:
            self.store_input(&given)
            self.opening.more_received()
        elif self.is_postponed or self.must_wait() or kept_size > HEADROOM_SIZE:
            # Reading is paused, but the transport had these bytes under way.
            self.store_input(&given)
            if not self.must_wait():
                self.postpone()
        else:
            if kept_size:
                given.data = self.reader.prepend_input(data)
                given.size += kept_size
            self.read(&given)
            self.leave_reader()
            if self.is_read_owed:
                self.note_read()
        return 0

    cdef int go_on(self) except -1:
        cdef Span given
        self.is_postponed = False
        if self.reads_rest and self.is_gone:
            return self.read_rest()
        if self.has_more() and not self.must_wait():
            self.reader.lend_input(&given)
            try:
                self.read(&given)
            finally:
                self.reader.take_back()
            self.leave_reader()
            if self.is_read_owed:
                self.note_read()
        if not self.is_postponed:
            self.set_reading()
        return 0

    cdef int read(self, Span* given) except -1:
        """Read the bytes that have come. If there are listeners, their context is entered once for
        all messages."""
        if self.listener is None:
            return self.read_messages(given)
        entered = self.enter_context()
        try:
            return self.read_messages(given)
        finally:
            self.leave_context(entered)

    cdef int read_messages(self, Span* given) except -1:
        """Read one message after the other, until none is complete or messages have to wait."""
        cdef Found found
        cdef Engine engine = self.transport.engine
        cdef Reader reader = self.take_reader()
        cdef size_t unsent_size = self.unsent_size() if self.is_read_owed else 0
        cdef int event
        found.is_deflated = False
        # 1.4: "After sending a control frame indicating the connection should be closed, a peer
        # does not send any further data; after receiving a control frame indicating the connection
        # should be closed, a peer discards any further data received."
        while self.state == CONNECTED or self.state == CLOSING or self.reads_rest:
            if self.is_read_owed and self.unsent_size() > unsent_size:
                self.note_read()        # the peer has not taken the answers to what was read so far
            if self.must_wait():
                return reader.store(given)
            if reader.inflation is not None:
                if self.state != CONNECTED and not self.reads_rest:
                    reader.inflation = None     # the application takes no more messages
                elif self.is_postponed:
                    return reader.store(given)
                else:
                    self.go_on_inflating(reader.inflation)
                continue
            if not has_messages(&engine.budget) or (
                not has_inflatable(&engine.budget) and self.is_dear(reader, given)
            ):
                reader.store(given)
                return self.postpone()
            event = reader.next(given, &found)
            if event == NEEDS_MORE:
                return reader.store(given)
            take_message(&engine.budget)
            if event == VIOLATED:
                if found.violation == MESSAGE_TOO_BIG and self.may_be_streamed():
                    reader.store(given)
                    return self.pause(NOT_ASKED, NO_LIMIT)
                return self.fail(found.violation)
            if event >= CLOSE:
                self.found_control(event, &found)
            elif self.usage is not NULL and self.exceeds_rate(event, &found):
                return 0
            elif event == PIECE:
                self.found_piece(&found)
            else:
                self.found_message(event, &found)
        return 0

    cdef bint is_dear(self, Reader reader, const Span* given) noexcept:
        """Say whether the next message has to wait, as this turn has inflated enough: a compressed
        message that is long, or a short one where the reserve for these is used up too."""
        cdef size_t size = 0 if self.inflater is None else reader.next_deflated_size(given)
        return size > MAX_SHORT_SIZE or (
            size > 0 and not has_reserve(&self.transport.engine.budget)
        )

    cdef int found_message(self, int opcode, Found* found) except -1:
        """Make a str or bytes of the message, and hand it on."""
        if self.state != CONNECTED and not self.reads_rest:
            return self.reader.forget_message()
        if found.is_deflated:
            return self.found_deflated(opcode, found)
        if found.assembled:
            message = self.reader.take_message(opcode == TEXT)
        elif opcode == TEXT:
            message = unmask_text(found.data, found.size, found.mask)
        else:
            message = unmask_bytes(found.data, found.size, found.mask)
        if message is None:
            return self.fail(INVALID_UTF8)
        self.heard_message(message, found.size)
        return offer_spare(message, found.size)

    cdef int found_deflated(self, int opcode, const Found* found) except -1:
        """Begin to inflate a compressed message. A long one waits for a later turn if the messages
        that are half inflated take too much memory."""
        cdef Inflation inflation = self.inflater.begin(found.data, found.size)
        inflation.opcode = opcode
        if found.assembled:
            self.reader.forget_message()
        if found.size > SLICE_SIZE and is_crowded():
            self.reader.inflation = inflation
            return self.postpone()
        return self.go_on_inflating(inflation)

    cdef int go_on_inflating(self, Inflation inflation) except -1:
        """Inflate a message as far as this turn's budget allows, and hand it on when it is whole.
        Until then the reader keeps it, and reads nothing behind it."""
        cdef Violation violation
        if inflate_some(inflation, &self.transport.engine.budget, &violation):
            self.reader.inflation = None
            return self.take_inflated(inflation, violation)
        self.reader.inflation = inflation
        inflation.park()
        return self.postpone()

    cdef int take_inflated(self, Inflation inflation, Violation violation) except -1:
        """Hand on a message that has been inflated, or fail the connection."""
        cdef bytes inflated = inflation.message
        cdef size_t size
        inflation.message = None
        inflation.unpark()
        if inflated is None:
            return self.fail(violation)
        message = inflated
        size = PyBytes_GET_SIZE(inflated)
        if inflation.opcode == TEXT:
            message = decode(<const uint8_t*>PyBytes_AS_STRING(inflated), size)
            if message is None:
                return self.fail(INVALID_UTF8)
        self.heard_message(message, size)
        return offer_spare(inflated, size)

    cdef int found_piece(self, const Found* found) except -1:
        """Hand on the next bytes of a message that is taken as a stream."""
        cdef int opcode = self.reader.message_opcode
        if found.is_last:
            self.reader.end_pieces()
        if self.state != CONNECTED and not self.reads_rest:
            return 0
        return self.heard_piece(opcode, found)

    cdef int found_control(self, int opcode, const Found* found) except -1:
        cdef bytes payload = PyBytes_FromStringAndSize(<const char*>found.data, found.size)
        if opcode == CLOSE:
            if found.size:
                record_close(self, found.data[0] << 8 | found.data[1], payload[2:].decode())
            else:
                record_close(self, CloseCode.NO_STATUS_RECEIVED, "")
            # 5.5.1: "When sending a Close frame in response, the endpoint typically echos the
            # status code it received."
            advance_closing(self, PEER_CLOSES, payload[:2])
            self.reads_rest = False
        elif self.state != CONNECTED:
            return 0
        elif not self.may_control(opcode):
            return self.fail(TOO_MANY_CONTROLS)
        elif opcode == PING:
            self.write_pong(payload)
            self.heard_ping(payload)
        else:
            self.heard_pong(payload)
        return 0

    # ---- rate limits

    cdef int open_usage(self) except -1:
        self.usage = <Usage*>calloc(1, sizeof(Usage))
        if self.usage is NULL:
            raise MemoryError
        return 0

    cdef bint exceeds_rate(self, int event, const Found* found) except -1:
        """Say whether a message, or a piece of one, exceeds a rate limit; then the session fails.
        """
        cdef Engine engine = self.transport.engine
        cdef double now_s
        if self.state != CONNECTED:
            return False
        now_s = engine.clock()
        if not take(&engine.rate_limits.byte, &self.usage.byte_s, now_s, found.size):
            self.fail(TOO_MANY_BYTES)
            return True
        if event == PIECE and not found.is_last:
            return False
        if not take(&engine.rate_limits.message, &self.usage.message_s, now_s, 1):
            self.fail(TOO_MANY_MESSAGES)
            return True
        return False

    cdef bint may_control(self, int opcode) except -1:
        """Say whether the rate limit allows the peer's ping or pong. A pong that answers a ping of
        ours is free. 5.5.3 lets one pong answer several pings, so which one it answers is not
        checked."""
        cdef Engine engine = self.transport.engine
        if opcode == PONG and self.unanswered_count:
            self.unanswered_count -= 1
            return True
        if not engine.rate_limits.control.cost_s:
            return True
        if self.usage is NULL:
            self.open_usage()
        return take(&engine.rate_limits.control, &self.usage.control_s, engine.clock(), 1)

    cdef int backlog_emptied(self) except -1:
        cdef bytes owed = self.owed_pong
        self.owed_pong = None
        if owed is not None and self.state == CONNECTED:
            self.write_pong(owed)
        return 0

    # ---- the end

    cdef int fail(self, Violation violation) except -1:
        if self.reader is not None:
            self.reader.forget_message()
        self.reads_rest = False
        # 7.1.7: the only exit for anything that the peer does wrong.
        return end_with(self, violation, PEER_FAILS)

    cdef int notify_eof(self) except -1:
        self.note_rest()
        if self.reads_rest and self.version_index == DRAFT75:
            record_close(self, CloseCode.NO_STATUS_RECEIVED, "")
        if self.state < CONNECTED:
            self.transport.close_with(None)
            return 0
        return advance_closing(self, STREAM_ENDS, None)

    cdef int notify_deadline(self) except -1:
        if self.state < CONNECTED:
            self.opening.deadline_passed()
            return 0
        self.transport.engine.limit_counters.count(CLOSE_TIMEOUT)
        self.dropped(self.count_unsent())
        return advance_closing(self, STREAM_ENDS, None)

    cdef int notify_closed(self, object error) except -1:
        self.note_rest()
        if self.reads_rest:
            return self.begin_rest()
        FlowControl.forget_received(self)
        self.deflater = self.inflater = None
        # In draft-75 there is no close: a peer closes by ending the stream.
        record_close(self, 1005 if self.version_index == DRAFT75 and error is None else 1006, "")
        self.state = ENDING if self.state < ENDING else self.state
        try:
            if self.opening is not None:
                self.opening.connection_lost()
            self.opening = None
        finally:
            end_behind(self)
        return 0

    # ---- messages that the peer sent before it went

    cdef int note_rest(self) except -1:
        """Note, when the peer goes, whether messages from it are left that had to wait."""
        if self.state == CONNECTED and (
            self.has_more() and (self.is_postponed or self.must_wait())
            or self.pause_reasons and self.keeps_for_listener()
        ):
            self.reads_rest = True
        return 0

    cdef int begin_rest(self) except -1:
        """Hand over the messages that the peer sent before it went, as fast as the application
        takes them. The connection ends behind the last one; until then it can only receive."""
        # The engine has dropped its reference, but must still give this session its turns.
        self.transport.receiver = self
        if not self.is_gone:
            if self.state < ENDING:
                enter(self, ENDING)
            self.is_write_blocked = False      # the peer has gone: no need to wait for it to read
            self.rest_begins()
            self.is_gone = True
        if not self.must_wait():
            self.postpone()
        return 0

    cdef int read_rest(self) except -1:
        cdef Span given
        if self.has_more() and not self.must_wait():
            self.reader.lend_input(&given)
            try:
                self.read(&given)
            except BaseException:
                self.end_rest()
                raise
            finally:
                self.reader.take_back()
        if self.is_postponed or self.must_wait() or self.keeps_for_listener():
            return 0
        return self.end_rest()

    cdef int end_rest(self) except -1:
        """End the session: no message is left, or the application takes none."""
        self.reads_rest = self.is_postponed = False
        self.transport.receiver = None
        try:
            self.notify_closed(ConnectionResetError())
        except MemoryError:
            # Some tasks or listeners have not been told: try again in the next turn.
            self.reads_rest = True
            self.transport.receiver = self
            self.postpone()
            raise
        return self.rest_ends()

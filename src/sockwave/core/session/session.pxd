"""What a session reads: bytes → messages and control frames."""

from libc.stdint cimport uint8_t

from sockwave.core.events.emitter cimport Hooks
from sockwave.core.limits.rate_limit cimport Usage
from sockwave.core.io.transport cimport Transport
from sockwave.core.protocol.deflate cimport Deflater
from sockwave.core.session.flow_control cimport FlowControl
from sockwave.core.protocol.frames cimport Violation
from sockwave.core.protocol.input_buffer cimport Span
from sockwave.core.protocol.inflation cimport Inflation
from sockwave.core.protocol.reader cimport Found, Reader

cdef class Session(FlowControl):
    """One WebSocket session: bytes of a transport in, messages and control frames out."""
    cdef object opening         # told of bytes and deadlines until the session is connected
    cdef Deflater deflater      # None: permessage-deflate has not been agreed on
    cdef Usage* usage       # of the rate limits, by the peer; NULL: none yet
    cdef object listener        # the application's listener, or a row of them: see `emitter`
    cdef uint8_t only_code
    # The context of its listeners; None: none of them runs now, and none has set a variable in it.
    cdef object context

    # Overridden by the subclasses, which hand messages and events to the application:
    cdef int heard_message(self, object message, size_t size) except -1
    cdef int heard_piece(self, int opcode, const Found* found) except -1
    cdef bint may_be_streamed(self) except -1
    cdef int heard_ping(self, bytes payload) except -1
    cdef int heard_pong(self, bytes payload) except -1
    cdef int keep_call(self, object call) except -1     # a call of a listener, which has a task
    cdef int forget_call(self, object call) except -1
    cdef object find_call(self, object task)    # the call that runs in this task, or None
    cdef int end_calls(self) except -1          # the session has ended: so must its calls
    cdef bint has_left(self) except -1          # messages are left that a call may receive
    cdef bint end_in_time(self) except -1       # True: messages are lost by it
    cdef bint keeps_for_listener(self) except -1    # messages wait for a listener's tasks to end
    cdef int rest_begins(self) except -1        # the peer has gone; its last messages are read
    cdef int rest_ends(self) except -1
    cdef int call_started(self, bint is_own, bint is_message) except -1
    cdef int note_end_of(self, object task) except -1
    cdef int call_ended(self, bint is_own, bint is_message) except -1

    cdef int failed(self, object error) except -1       # a listener has raised it
    cdef int started(self, object coroutine) except -1  # an asynchronous listener has returned it
    cdef bint is_settled(self, object result) except -1     # a listener's result needs no task
    cdef int add(self, object event, object listener, bint once) except -1

    cdef bint hears(self, int event) noexcept
    cdef int emit(self, int event, object first, object second) except -1
    cdef int keep_listeners(self, tuple row) except -1
    cdef int begin(self, Transport transport, int version_index) except -1
    cdef object enter_context(self)
    cdef int leave_context(self, object entered) except -1
    cdef int emit_in_context(self, int event, object first, object second) except -1
    cdef int read(self, Span* given) except -1
    cdef int read_messages(self, Span* given) except -1
    cdef int note_rest(self) except -1
    cdef int begin_rest(self) except -1
    cdef int read_rest(self) except -1
    cdef int end_rest(self) except -1
    cdef bint exceeds_rate(self, int event, const Found* found) except -1
    cdef bint may_control(self, int opcode) except -1
    cdef int open_usage(self) except -1
    cdef bint is_dear(self, Reader reader, const Span* given) noexcept
    cdef int found_message(self, int opcode, Found* found) except -1
    cdef int found_deflated(self, int opcode, const Found* found) except -1
    cdef int go_on_inflating(self, Inflation inflation) except -1
    cdef int take_inflated(self, Inflation inflation, Violation violation) except -1
    cdef int found_piece(self, const Found* found) except -1
    cdef int found_control(self, int opcode, const Found* found) except -1

cdef Hooks session_hooks        # how a session keeps its listeners, and treats what they return

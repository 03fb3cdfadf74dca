"""What a session writes: messages, whole and in pieces, and control frames.

RFC 6455 sections 5.4 and 5.5, and what the drafts have in their place.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE

from sockwave.core.protocol.frames cimport CLOSE, FIN, MAX_HEADER_SIZE, PING, PONG, TOO_SLOW
from sockwave.core.protocol.framing cimport draft_frame_of, frame_of
from sockwave.core.io.backlog cimport append_backlog, count_messages
from sockwave.core.io.expendable cimport replace_message
from sockwave.core.io.slow_peer cimport (
    CLOSE_SLOW, CONFLATE, Offer, is_expendable, is_overfull, make_room, waiting_size,
)
from sockwave.core.io.writer cimport backlog_of
from sockwave.core.limits.counters cimport MAX_BACKLOG

from sockwave.core.events.waiter import DONE

cdef enum:
    # As many as the field can count. If more of our pings are out, no pong has come for very long.
    MOST_UNANSWERED_COUNT = 65535


cdef class Sender(Receiver):
    """Writes the frames of one session, in any version of the protocol."""

    cdef int fail(self, Violation violation) except -1:
        return 0

    cdef int dropped(self, size_t count) except -1:
        return 0

    cdef int entered(self, object state) except -1:
        return 0

    cdef int listen_for_close(self) except -1:
        return 0

    cdef int ended(self) except -1:
        return 0

    cdef bint is_client(self) noexcept:
        return False

    cdef int write_frame(
        self, uint8_t first_byte, object owner, const uint8_t* data, size_t size
    ) except -1:
        return self.transport.write_frame(first_byte, owner, data, size)

    cdef bint is_draft(self) noexcept:
        return self.version_index <= DRAFT76

    # ---- messages

    cdef int write_message(
        self, int opcode, object owner, const uint8_t* data, size_t size
    ) except -1:
        self.sent = self.transport.engine.wheel.tick
        if self.queued_behind is not None or is_overfull(
            &self.transport.cork.marks, &self.transport.backlog, NULL, size + MAX_HEADER_SIZE
        ):
            self.share_frame(self.frame_message(opcode, data, size), CLOSE_SLOW, None)
            return 0
        if not self.is_draft():
            return self.transport.write_frame(FIN | opcode, owner, data, size)
        return self.transport.share(draft_frame_of(data, size))

    cdef bytes frame_message(self, int opcode, const uint8_t* data, size_t size):
        return draft_frame_of(data, size) if self.is_draft() else frame_of(FIN | opcode, data, size)

    cdef bint share_frame(self, bytes frame, int policy, object key) except -1:
        """Queue a frame that other connections may hold too, unless the peer is too far behind for
        it. Returns whether it was queued."""
        self.sent = self.transport.engine.wheel.tick
        if policy != CLOSE_SLOW or is_overfull(
            &self.transport.cork.marks, &self.transport.backlog, backlog_of(self.queued_behind),
            PyBytes_GET_SIZE(frame),
        ):
            return self.share_by_policy(frame, policy, key)
        if self.queued_behind is None:
            self.transport.share(frame)
        else:
            self.queued_behind.share(frame)
        return True

    cdef bint share_by_policy(self, bytes frame, int policy, object key) except -1:
        """Queue a frame if the slow-peer policy finds room for it. Returns whether it was queued.
        """
        cdef Transport transport = self.transport
        cdef Writer queued_behind = self.queued_behind      # a reference: see `expendable`
        cdef Writer queue = transport if queued_behind is None else queued_behind
        cdef Offer offer
        offer.policy = policy
        offer.size = PyBytes_GET_SIZE(frame)
        offer.may_replace = policy == CONFLATE and queue.is_blocked     # else nothing has to wait
        make_room(
            &offer, &transport.cork.marks, &transport.backlog, backlog_of(queued_behind), key
        )
        if offer.old is not NULL:
            replace_message(&queue.backlog, offer.old, frame)
        elif offer.is_taken and is_expendable(policy):
            queue.share_expendable(frame, policy == CONFLATE, key)
        elif offer.is_taken:
            queue.share(frame)
        if offer.dropped_count:
            self.dropped(offer.dropped_count)
        if policy == CLOSE_SLOW and not offer.is_taken:
            self.give_up(TOO_SLOW)
        elif offer.is_over:
            transport.engine.limit_counters.count(MAX_BACKLOG)
        return offer.is_taken

    cdef size_t unsent_size(self) noexcept:
        """Say how many bytes wait to be sent: for the peer, or behind a streamed message."""
        return waiting_size(&self.transport.backlog, backlog_of(self.queued_behind))

    cdef size_t count_unsent(self) noexcept:
        """Count the messages that have not left completely."""
        return count_messages(&self.transport.backlog, self.is_draft())

    cdef object when_drained(self):
        """Return an awaitable that is done when the bytes that wait are under the high-water mark.
        """
        if self.queued_behind is None or self.transport.is_broken:
            return self.transport.drain_awaitable()
        if self.unsent_size() <= self.transport.cork.marks.high_water:
            return DONE
        self.queued_behind.wants_drain = True
        return self.queued_behind.new_waiter()

    cdef int write_fragment(
        self, uint8_t first_byte, object owner, const uint8_t* data, size_t size
    ) except -1:
        """Write a piece of a streamed message.

        5.4: "The fragments of one message MUST NOT be interleaved between the fragments of another
        message": from the first fragment on, other messages wait behind the last one.
        """
        self.sent = self.transport.engine.wheel.tick
        if is_overfull(&self.transport.cork.marks, &self.transport.backlog, NULL, size):
            return self.give_up(TOO_SLOW)
        if self.queued_behind is None:
            self.queued_behind = Writer.__new__(Writer)
            self.queued_behind.cork = self.transport.cork
            self.queued_behind.is_blocked = True
        return self.write_frame(first_byte, owner, data, size)

    cdef int end_fragments(self) except -1:
        """Send the messages that have waited behind a streamed message."""
        cdef Writer queued_behind = self.queued_behind
        self.queued_behind = None
        if queued_behind is None:
            return 0
        if queued_behind.backlog.count:
            append_backlog(&self.transport.backlog, &queued_behind.backlog)
            self.transport.queued()
        return self.transport.take_over_waiters(queued_behind)

    cdef int give_up(self, Violation violation) except -1:
        """Fail the connection of a peer that does not read. Messages that have not begun to leave
        are dropped, so that the close frame can follow."""
        self.transport.drop_backlog(True)
        return self.fail(violation)

    # ---- control frames

    cdef int write_control(self, int opcode, bytes payload) except -1:
        if opcode == PING and self.unanswered_count < MOST_UNANSWERED_COUNT:
            self.unanswered_count += 1
        return self.write_frame(
            FIN | opcode, payload, <const uint8_t*>PyBytes_AS_STRING(payload),
            PyBytes_GET_SIZE(payload),
        )

    cdef int write_close(self, bytes payload) except -1:
        if self.version_index == DRAFT76:
            return self.transport.write_bytes(b"\xff\x00", b"\xff\x00", 2)
        if self.version_index != DRAFT75:
            return self.write_control(CLOSE, payload)
        return 0

    cdef int write_pong(self, bytes payload) except -1:
        # 5.5.3: "If an endpoint receives a Ping frame and has not yet sent Pong frame(s) in
        # response to previous Ping frame(s), the endpoint MAY elect to send a Pong frame for only
        # the most recently processed Ping frame."
        if self.transport.is_blocked:
            self.owed_pong = payload
            return 0
        return self.write_control(PONG, payload)

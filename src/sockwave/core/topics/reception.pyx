"""What the sequencer sends a worker: which message is next, which are missing, who gets them."""

import json

from cpython.bytes cimport PyBytes_FromStringAndSize
from cpython.unicode cimport PyUnicode_DecodeUTF8

from sockwave.core.topics.catching_up cimport Replay
from sockwave.core.topics.publication cimport Publication
from sockwave.core.topics.records cimport (
    ABORTED as IS_ABORTED, DELTA as IS_DELTA, ID, LAST, META, MORE, RECOVERED, REPLAY, TEXT,
    split_payload,
)
from sockwave.core.topics.rendering cimport ABORTED, DELTA, FINISHED, LOST, WHOLE
from sockwave.core.topics.wants cimport ask_for_all, ask_for_missed, confirm, has_log

from sockwave.errors import SockwaveError


cdef class Reception:
    """The messages that the sequencer sends a worker."""

    def __cinit__(self, TopicTable table, host, LinkOutput output, Submissions submissions):
        self.table = table
        self.host = host
        self.output = output
        self.submissions = submissions

    cdef Rendering render(
        self, Subscribers topic, const Head* head, const uint8_t* payload, const Parts* parts
    ):
        """Prepare a message for its subscribers."""
        cdef Rendering rendering
        cdef int content = WHOLE
        if head.flags & LAST:
            content = ABORTED if head.flags & IS_ABORTED else FINISHED
        elif head.flags & IS_DELTA:
            content = DELTA
        rendering = self.table.render_raw(
            topic, content,
            PyBytes_FromStringAndSize(<const char*>parts.message, parts.message_size),
            head.flags & TEXT,
        )
        rendering.epoch, rendering.offset = head.epoch, head.offset
        if parts.id is not NULL:
            rendering.id = PyUnicode_DecodeUTF8(<const char*>parts.id, parts.id_size, "replace")
        if head.flags & META:
            self.table.apply(rendering, meta_of(payload, head.flags))
        return rendering

    cdef int heard_message(
        self, Subscribers topic, const Head* head, const uint8_t* payload, size_t size
    ) except -1:
        cdef Publication publication = None
        cdef Py_ssize_t count = 0
        topic.is_used = True
        if head.flags & IS_DELTA:
            topic.is_sequenced = topic.is_stream = True
        if head.flags & REPLAY:
            return self.heard_missed(topic, head, payload, size)
        if head.worker == self.output.worker and head.sequence and head.offset:
            publication = self.submissions.take(head.sequence)
        if self.is_next(topic, head):
            count = self.hand_out(
                topic, head, payload, size,
                None if publication is None else publication.besides, None,
            )
        if publication is not None:
            publication.finish(head.epoch, head.offset, count)
        return 0

    cdef Py_ssize_t hand_out(
        self, Subscribers topic, const Head* head, const uint8_t* payload, size_t size,
        Session besides, Connection single,
    ) except -1:
        """Hand a message to `single`, or to all who hear its topic here, but `besides`; return for
        how many it was queued. An error of the application costs this message alone."""
        cdef Parts parts
        cdef Rendering rendering
        cdef Py_ssize_t count = 0
        if not split_payload(payload, size, head.flags, &parts):
            raise SockwaveError("the sequencer: expected the parts of a message")
        try:
            rendering = self.render(topic, head, payload, &parts)
            if single is None:
                count = self.table.deliver(topic, rendering, besides)
            else:
                count = self.table.send_to(single, rendering)
        except (KeyboardInterrupt, SystemExit, MemoryError):
            raise
        except BaseException as error:
            self.host.report(error)         # of an envelope, or of a key
        return count

    cdef int tell_all(self, Subscribers topic, Rendering rendering) except -1:
        """Tell the subscribers of a topic something that no publisher has said."""
        try:
            self.table.deliver(topic, rendering, None)
        except (KeyboardInterrupt, SystemExit, MemoryError):
            raise
        except BaseException as error:
            self.host.report(error)         # of an envelope
        return 0

    cdef bint is_next(self, Subscribers topic, const Head* head) except -1:
        """Tell whether a live message is to be delivered; find out whether some are missing."""
        if not head.offset:
            return True
        if topic.epoch == head.epoch and head.offset <= topic.offset:
            return False                    # it came among those that were missed
        if has_log(topic):
            if topic.request:
                return False                # it comes among those that fill the gap
            if topic.epoch == head.epoch and head.offset > topic.offset + 1:
                ask_for_missed(self.output, topic)
                self.output.pump()
                return False
            if topic.epoch and topic.epoch != head.epoch:
                self.tell_gap_at(topic, head.epoch, head.offset - 1)
        topic.epoch, topic.offset = head.epoch, head.offset
        return True

    cdef int heard_missed(
        self, Subscribers topic, const Head* head, const uint8_t* payload, size_t size
    ) except -1:
        """A message that was asked for: by all subscribers of a topic, or by one connection."""
        cdef Replay replay
        who = self.output.requests.get(head.request)
        if isinstance(who, Replay):
            replay = who
            replay.has_since = True
            replay.epoch, replay.offset = head.epoch, head.offset
            self.hand_out(topic, head, payload, size, None, replay.connection)
        elif who is topic:
            if topic.is_gap_due:
                topic.is_gap_due = False
                self.tell_gap_at(topic, head.epoch, head.offset - 1)
            topic.epoch, topic.offset = head.epoch, head.offset
            self.hand_out(topic, head, payload, size, None, None)
        return 0                            # else it is of a request that is over

    cdef int heard_end(self, const Head* head) except -1:
        who = self.output.requests.get(head.request)
        if isinstance(who, Replay):
            return (<Replay>who).ended(head)
        if isinstance(who, Subscribers):
            return self.filled(who, head)
        return 0

    cdef int filled(self, Subscribers topic, const Head* head) except -1:
        """All subscribers of a topic have what they had missed, or cannot have it."""
        cdef bint is_lost = topic.epoch and has_log(topic) and not head.flags & RECOVERED
        self.output.requests.pop(topic.request, None)
        topic.request = 0
        if head.flags & MORE:
            topic.epoch, topic.offset = head.epoch, head.offset
            return ask_for_missed(self.output, topic)
        if is_lost and topic.is_stream:
            self.tell_abortion(topic)       # and what is appended later is another stream
        elif is_lost and head.epoch != topic.epoch and head.offset:
            return ask_for_all(self.output, topic)
        elif is_lost or topic.is_gap_due:
            topic.is_gap_due = False
            self.tell_gap_at(topic, head.epoch, head.offset)
        topic.epoch, topic.offset = head.epoch, head.offset
        return confirm(topic)

    cdef int heard_gap(self, Subscribers topic, const Head* head) except -1:
        """Messages were dropped for this worker, which was too slow."""
        self.host.presence.ask_again(topic)
        if not head.epoch:
            self.missed_count += head.offset
            self.host.reach.messages_dropped(topic.name, head.offset)
        elif has_log(topic) and not topic.request and (
            head.epoch != topic.epoch or head.offset > topic.offset
        ):
            ask_for_missed(self.output, topic)
            self.output.pump()
        return 0

    cdef int tell_abortion(self, Subscribers topic) except -1:
        """Tell the subscribers of a stream that its log is lost, and so is its end."""
        cdef Rendering rendering = self.table.render_raw(topic, ABORTED, b"", False)
        rendering.epoch, rendering.offset = topic.epoch, topic.offset + 1
        topic.is_stream = topic.is_kept = False
        topic.is_sequenced = topic.settings.is_sequenced
        self.tell_all(topic, rendering)
        return 0

    cdef int tell_gap_at(self, Subscribers topic, uint64_t epoch, uint64_t offset) except -1:
        """Tell the subscribers of a topic that messages up to a position are missing for good."""
        cdef Rendering rendering = self.table.render_raw(topic, LOST, None, False)
        rendering.epoch, rendering.offset = epoch, offset
        self.tell_all(topic, rendering)
        self.host.gap_told(topic)
        return 0

    cdef int heard_broadcast(
        self, const Head* head, const uint8_t* payload, size_t size
    ) except -1:
        cdef Parts parts
        if not split_payload(payload, size, head.flags, &parts):
            raise SockwaveError("the sequencer: expected the parts of a message")
        data = PyBytes_FromStringAndSize(<const char*>parts.message, parts.message_size)
        meta = meta_of(payload, head.flags) if head.flags & META else {}
        self.host.reach.broadcast_came(data.decode() if head.flags & TEXT else data, meta)
        return 0


cdef object meta_of(const uint8_t* payload, int flags):
    """Return what a publisher has said of a message."""
    cdef size_t size
    if flags & ID:
        payload += 1 + payload[0]
    size = payload[0] | <size_t>payload[1] << 8
    found = json.loads((<const char*>payload + 2)[:size])
    return found if isinstance(found, dict) else {}

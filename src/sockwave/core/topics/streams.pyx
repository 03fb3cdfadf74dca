"""Streams: topics whose messages are pieces of one whole, which can be joined late."""

from libc.string cimport memset

from sockwave.core.topics.history cimport evict
from sockwave.core.topics.records cimport (
    ABORTED, DELTA, LAST, MSG, REPLAY, TEXT, UNWATCHED, append_bytes, free_buffer,
)
from sockwave.core.topics.registry cimport STREAM_DUE, UNWATCHED_DUE, want_current
from sockwave.core.topics.relay cimport refuse, relay, relay_to_all, tell_name, write_answer

cdef double KEPT_S = 60.0       # a stream that has ended, for those who come late


cdef class Stream:
    """The deltas of one topic, from its first to its last."""

    def __dealloc__(self):
        free_buffer(&self.data)
        free_buffer(&self.ends)

    cdef uint32_t end_of(self, uint64_t offset) noexcept:
        """Return where in `data` the delta with this offset ends; 0 for what was before all."""
        return (<uint32_t*>self.ends.data)[offset - 1] if offset else 0

    cdef int note_place(self, uint64_t epoch, uint64_t offset) except -1:
        """Note where the broker has put a delta of ours."""
        self.is_begun = self.is_placed = True
        self.epoch = epoch
        self.placed = max(self.placed, offset)
        return 0

    cdef bint is_of(self, Link link) noexcept:
        """Tell whether the worker of a link produces it, as far as is known."""
        return self.producer is not None and self.producer.incarnation == link.incarnation

    cdef int let_go(self, OrderedTopic topic) except -1:
        """Have it be no stream that a link of ours produces."""
        if self.producer is not None:
            self.producer.streams.discard(topic)
            self.producer = None
        return 0


cdef dict OBJECTIONS = {
    b"delta": b"the topic is a stream: expected a delta, given a message",
    b"messages": b"the topic has messages: expected a message, given a delta",
    b"ended": b"the stream has ended: expected another topic",
    b"kind": b"the stream has both: expected deltas that are all text, or all binary",
    b"size": b"the stream is too long: expected at most %d B in all (append_size)",
    b"room": b"there is no room for more streams (history_budget)",
    b"lost": b"the broker has lost the stream: expected another topic",
}


cdef bytes objection_of(bytes code, size_t limit=0):
    """Return why a message cannot be appended, of which a word is given."""
    reason = OBJECTIONS.get(code)
    if reason is None:
        return b"the broker: " + code
    return reason % limit if code == b"size" else reason


cdef bytes find_objection(
    Registry registry, OrderedTopic topic, const Head* cause, const Parts* parts
):
    """Return why a message cannot be appended; None if it can."""
    cdef Stream stream = topic.stream
    cdef size_t size = 0 if stream is None else stream.data.size
    if not cause.flags & DELTA:
        return objection_of(b"delta")
    if stream is None and topic.has_messages:
        return objection_of(b"messages")
    if stream is not None and stream.is_ended:
        return objection_of(b"ended")
    if (
        stream is not None and stream.has_kind and parts.message_size
        and stream.is_text != (cause.flags & TEXT != 0)
    ):
        return objection_of(b"kind")
    if parts.message_size > registry.append_size - size:
        return objection_of(b"size", registry.append_size)
    if registry.stream_size + parts.message_size + DELTA_COST_SIZE > registry.store.budget_size:
        return objection_of(b"room")
    return None


cdef int append_delta(
    Registry registry, Link link, OrderedTopic topic, const Head* cause, Head* message,
    const uint8_t* payload, size_t size, const Parts* parts,
) except -1:
    """Append a message to a stream, which begins with its first one; return 1 if that is refused,
    2 if the publisher's link has got it, else 0. `message` is what is sent."""
    cdef Stream stream
    reason = find_objection(registry, topic, cause, parts)
    if reason is not None:
        refuse(link, cause, topic, reason)
        return 1
    stream = topic.stream
    if stream is None:
        stream = topic.stream = Stream()
        stream.producer = link
        link.streams.add(topic)
        topic.unwanted_since_s = registry.now_s
        if not topic.want_count:
            registry.arm(topic, UNWATCHED_DUE, registry.now_s + UNWATCHED_S)
    if parts.message_size and not stream.has_kind:
        stream.has_kind = True
        stream.is_text = cause.flags & TEXT != 0
    add_piece(registry, stream, parts.message, parts.message_size)
    topic.top += 1
    message.epoch = topic.epoch
    message.offset = topic.top
    if cause.flags & LAST:
        note_end(registry, topic, stream, False, 0)
    return 2 if relay_to_all(topic, message, payload, size, link) else 0


cdef int add_piece(
    Registry registry, Stream stream, const uint8_t* data, size_t size
) except -1:
    cdef uint32_t end = <uint32_t>(stream.data.size + size)
    append_bytes(&stream.ends, <const uint8_t*>&end, sizeof(end))
    append_bytes(&stream.data, data, size)
    registry.stream_size += size + DELTA_COST_SIZE
    registry.store.size += size + DELTA_COST_SIZE
    return evict(&registry.store)


cdef int abort_stream(Registry registry, OrderedTopic topic) except -1:
    """End a stream whose producer has gone."""
    cdef Stream stream = topic.stream
    cdef Head message
    if topic.shared is not None:
        return registry.outside.abort_stream(topic)
    memset(&message, 0, sizeof(message))
    message.type = MSG
    message.flags = DELTA | LAST | ABORTED | (TEXT if stream.is_text else 0)
    message.worker = stream.producer.id
    message.topic = topic.number
    add_piece(registry, stream, NULL, 0)
    topic.top += 1
    note_end(registry, topic, stream, True, 0)
    message.epoch = topic.epoch
    message.offset = topic.top
    want_current(registry, topic)
    return relay(topic, &message, NULL, 0, None)


cdef int write_stream(
    OrderedTopic topic, Link link, uint32_t request, uint64_t since
) except -1:
    """Write what a stream has behind `since`: one message with all deltas, and its end."""
    cdef Stream stream = topic.stream
    cdef uint64_t last = topic.top - stream.is_ended
    cdef uint32_t begin
    cdef Head message
    memset(&message, 0, sizeof(message))
    message.type = MSG
    message.flags = REPLAY | DELTA | (TEXT if stream.is_text else 0)
    message.topic = topic.number
    message.request = request
    message.epoch = topic.epoch
    if since < last:
        begin = stream.end_of(since)
        message.offset = last
        write_answer(
            link, &message, stream.data.data + stream.data.begin + begin,
            stream.end_of(last) - begin,
        )
    if stream.is_ended and since < topic.top:
        message.flags |= LAST | (ABORTED if stream.is_aborted else 0)
        message.offset = topic.top
        begin = stream.end_of(last)
        write_answer(
            link, &message, stream.data.data + stream.data.begin + begin,
            stream.end_of(topic.top) - begin,
        )
    return 0


cdef int check_watched(Registry registry, OrderedTopic topic) except -1:
    """Tell the producer of a stream that no link has wanted it for a while, once for each while."""
    cdef Stream stream = topic.stream
    if stream is None or stream.is_ended and topic.shared is None:
        return 0
    want_current(registry, topic)
    if topic.want_count:
        # A replica that is wanted by a pattern alone is told of nobody when that goes.
        return 0 if topic.shared is None else registry.arm(
            topic, UNWATCHED_DUE, registry.now_s + KEPT_S
        )
    if topic.shared is not None and registry.now_s >= topic.unwanted_since_s + UNWATCHED_S:
        return registry.outside.check_watched(topic)
    if registry.now_s < topic.unwanted_since_s + UNWATCHED_S:
        return registry.arm(topic, UNWATCHED_DUE, topic.unwanted_since_s + UNWATCHED_S)
    return tell_unwatched(topic, stream)


cdef int tell_unwatched(OrderedTopic topic, Stream stream) except -1:
    """Tell the producer of a stream that nobody watches it."""
    cdef Head head
    memset(&head, 0, sizeof(head))
    head.type = UNWATCHED
    head.topic = topic.number
    if topic.find(stream.producer) is NULL or not topic.find(stream.producer).is_known:
        tell_name(stream.producer, topic, 0)
    return write_answer(stream.producer, &head, NULL, 0)


cdef int forget_stream(Registry registry, OrderedTopic topic) except -1:
    """Forget a stream that has ended some time ago; another may begin in its topic."""
    cdef Stream stream = topic.stream
    if stream is None or not stream.is_ended:
        return 0
    if registry.now_s < stream.ended_s + KEPT_S:
        return registry.arm(topic, STREAM_DUE, stream.ended_s + KEPT_S)
    return dissolve_stream(registry, topic)


cdef int dissolve_stream(Registry registry, OrderedTopic topic) except -1:
    """Have a topic be a plain one again: links do not wait for what comes of the stream."""
    cdef Stream stream = topic.stream
    stream.let_go(topic)
    clear_stream(registry, stream)
    topic.stream = None
    topic.has_messages = False
    registry.begin_log(topic)
    return registry.forget_if_unused(topic)


# ---- replicas of streams that a broker keeps

cdef bint keep_piece(
    Registry registry, OrderedTopic topic, uint64_t offset, const uint8_t* data, size_t size,
    bint is_text,
) except -1:
    """Keep a delta of a replica; False: it does not follow what there is, or finds no room."""
    cdef Stream stream = topic.stream
    if stream.is_partial:
        return False
    if (
        offset != stream.ends.size // sizeof(uint32_t) + 1
        or stream.data.size + size > 0xFFFFFFFFu
        or registry.stream_size + size + DELTA_COST_SIZE > registry.store.budget_size
    ):
        spoil_stream(registry, topic)
        return False
    if size and not stream.has_kind:
        stream.has_kind = True
        stream.is_text = is_text
    add_piece(registry, stream, data, size)
    return True


cdef int spoil_stream(Registry registry, OrderedTopic topic) except -1:
    """Give up what there is of a stream: who comes late is told that it cannot be had."""
    cdef Stream stream = topic.stream
    clear_stream(registry, stream)
    stream.is_partial = True
    return 0


cdef int clear_stream(Registry registry, Stream stream) except -1:
    """Forget all deltas."""
    cdef size_t size = stream.data.size + stream.ends.size
    registry.stream_size -= size
    registry.store.size -= size
    free_buffer(&stream.data)
    free_buffer(&stream.ends)
    stream.has_kind = stream.is_partial = False
    return 0


cdef int note_end(
    Registry registry, OrderedTopic topic, Stream stream, bint is_aborted, double age_s
) except -1:
    """Note that a stream has ended, so many seconds ago."""
    stream.let_go(topic)
    stream.is_ended = True
    stream.is_aborted = is_aborted
    stream.ended_s = registry.now_s - age_s
    return registry.arm(topic, STREAM_DUE, stream.ended_s + KEPT_S)


cdef int abort_replica(Registry registry, OrderedTopic topic) except -1:
    """End a stream that the broker has lost, where it stands here."""
    cdef Stream stream = topic.stream
    cdef Head message
    memset(&message, 0, sizeof(message))
    message.type = MSG
    message.flags = DELTA | LAST | ABORTED | (TEXT if stream.is_text else 0)
    message.topic = topic.number
    topic.top += 1
    message.epoch = topic.epoch
    message.offset = topic.top
    keep_piece(registry, topic, topic.top, NULL, 0, False)
    note_end(registry, topic, stream, True, 0)
    want_current(registry, topic)
    return relay(topic, &message, NULL, 0, None)

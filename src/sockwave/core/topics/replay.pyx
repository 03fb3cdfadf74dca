"""SUB: from this step on a link wants a topic; what it has missed comes first."""

from libc.stdint cimport uint32_t, uint64_t
from libc.string cimport memcpy, memset

from sockwave.core.topics.history cimport Message, apply_bounds, message_at, payload_of
from sockwave.core.topics.ordered_topic cimport Interest, is_sequenced, wants
from sockwave.core.topics.records cimport (
    END, GAP, HEAD_SIZE, MORE, RECOVERED, REPLAY, SINCE, free_buffer,
)
from sockwave.core.topics.registry cimport want_current
from sockwave.core.topics.relay cimport refuse, tell_name, write_answer
from sockwave.core.topics.streams cimport Stream, objection_of, write_stream


cdef int subscribe(
    Registry registry, Link link, OrderedTopic topic, const Head* head
) except -1:
    """Have a link want a topic, and in the same step write what it has missed, and END.

    A page ends where it has as many bytes as the link has asked for, or where the link's output is
    at its cap: at least one message stands in it then, or the link has not read the page before.
    """
    cdef Interest* interest
    cdef bint was_named = False, was_matched = False
    cdef Head end
    want_current(registry, topic)
    interest = topic.find(link)
    if interest is not NULL:
        was_named, was_matched = interest.by_name, interest.by_pattern
    registry.want(topic, link, True, was_matched)
    if registry.outside is not None and registry.outside.keeps_subscription(topic, link, head):
        return 0
    if not can_replay(topic) and not (head.flags & SINCE and head.epoch):
        registry.want(topic, link, was_named, was_matched)
        return refuse(link, head, topic, objection_of(b"room"))
    memset(&end, 0, sizeof(end))
    end.type = END
    end.topic = topic.number
    end.request = head.request
    if is_sequenced(topic):
        end.epoch = topic.epoch
        end.offset = topic.top
        apply_bounds(&registry.store, &topic.history, registry.now_s)
        if not topic.epoch:
            pass        # the broker has not told yet what there is
        elif not can_replay(topic):
            pass
        elif topic.stream is not None and not head.flags & SINCE:
            replay(topic, link, head, 0, &end)
        elif head.flags & SINCE and not head.epoch:
            replay(topic, link, head, oldest_of(topic), &end)
        elif head.flags & SINCE and is_known_since(topic, head):
            replay(topic, link, head, head.offset, &end)
    elif registry.outside is not None and registry.outside.keeps_end(link, topic.name, &end):
        return 0
    return write_answer(link, &end, NULL, 0)


cdef bint can_replay(OrderedTopic topic) noexcept:
    """Tell whether all is here of a stream, if it is one: a replica may have found no room."""
    return topic.stream is None or not (<Stream>topic.stream).is_partial


cdef uint64_t oldest_of(OrderedTopic topic) noexcept:
    """Return the position behind which everything is that is kept."""
    if topic.stream is not None:
        return 0
    return topic.history.first_offset - 1 if topic.history.count else topic.top


cdef bint is_known_since(OrderedTopic topic, const Head* head) noexcept:
    """Tell whether everything behind a position is still there."""
    if head.epoch != topic.epoch or head.offset > topic.top:
        return False
    return (
        head.offset == topic.top or topic.stream is not None
        or topic.history.count > 0 and head.offset + 1 >= topic.history.first_offset
    )


cdef int replay(
    OrderedTopic topic, Link link, const Head* head, uint64_t since, Head* end
) except -1:
    """Write what came behind `since`, as far as a page goes; note in `end` how far that was."""
    cdef size_t cap = link.switch.link_cap
    cdef size_t page_size = head.sequence if head.sequence else cap
    cdef size_t size = 0
    cdef Message* kept
    cdef Head message
    end.flags = RECOVERED
    if topic.stream is not None:
        if link.output.size > cap:
            end.flags |= MORE
            end.offset = since
            return 0
        return write_stream(topic, link, head.request, since)
    while since < topic.top:
        if size >= page_size or link.output.size > cap:
            end.flags |= MORE
            end.offset = since
            break
        since += 1
        kept = message_at(&topic.history, since)
        message = kept.head
        message.flags |= REPLAY
        message.request = head.request
        write_answer(link, &message, payload_of(kept), message.length - HEAD_SIZE)
        if message.length > cap:
            link.oversize += message.length     # one record: the link need not be slow for it
        size += message.length
    return 0


cdef int tell_gaps(Registry registry, Link link) except -1:
    """Tell a link that has caught up of which topics it has missed records."""
    cdef OrderedTopic topic
    cdef Interest* interest
    cdef uint32_t number
    cdef size_t place
    cdef Head head
    memset(&head, 0, sizeof(head))
    head.type = GAP
    if link.dropped_broadcast_count:
        head.offset = link.dropped_broadcast_count
        link.dropped_broadcast_count = 0
        write_answer(link, &head, NULL, 0)
    for place in range(0, link.gapped.size, sizeof(number)):
        memcpy(&number, link.gapped.data + link.gapped.begin + place, sizeof(number))
        topic = registry.topic_at(number)
        interest = NULL if topic is None else topic.find(link)
        if interest is NULL or not interest.is_gapped:
            continue
        head.topic = number
        head.epoch = topic.epoch if is_sequenced(topic) else 0
        head.offset = topic.top if is_sequenced(topic) else interest.dropped_count
        interest.is_gapped = False
        interest.dropped_count = 0
        if wants(interest) or interest.is_watching:
            if not interest.is_known:
                interest.is_known = True
                tell_name(link, topic, 0)
            write_answer(link, &head, NULL, 0)
    return free_buffer(&link.gapped)

"""PUB: a message gets its place in the order, and goes to the links that want it.

Nothing here makes a Python object, but for the first message of a topic after a change.
"""

from libc.string cimport memset

from sockwave.core.topics.history cimport apply_bounds, keep, message_at
from sockwave.core.topics.known_ids cimport KnownId, find_id
from sockwave.core.topics.ordered_topic cimport is_sequenced
from sockwave.core.topics.records cimport (
    DELTA, DUPLICATE, ID, LAST, META, MSG, Parts, TEXT, split_payload,
)
from sockwave.core.topics.recovery cimport log_message
from sockwave.core.topics.registry cimport TTL_DUE, want_current
from sockwave.core.topics.relay cimport acknowledge, relay, relay_to_all
from sockwave.core.topics.streams cimport append_delta
from sockwave.errors import SockwaveError

cdef enum:
    FLAGS = TEXT | META | ID | DELTA | LAST     # that a publisher may set


cdef int publish(
    Registry registry, Link link, OrderedTopic topic, const Head* head, const uint8_t* payload,
    size_t size,
) except -1:
    """Take a message of a link."""
    cdef Head message
    cdef Parts parts
    cdef KnownId* known = NULL
    cdef bint is_ordered = is_sequenced(topic) or head.flags & DELTA
    cdef bint is_again = False
    if head.flags & ~FLAGS or head.flags & LAST and not head.flags & DELTA:
        raise SockwaveError(f"PUB: expected flags of a message, given {head.flags}")
    if not split_payload(payload, size, head.flags, &parts):
        raise SockwaveError("PUB: expected a payload with all of its parts")
    if head.sequence:
        is_again = head.sequence <= link.origin.last_sequence
        if not is_again:
            link.origin.last_sequence = head.sequence
    if topic.shared is not None or head.flags & DELTA and registry.outside is not None:
        # The broker knows whether it comes again.
        return registry.outside.submit(link, topic, head, payload, size)
    if is_ordered and parts.id_size:
        known = find_id(&registry.ids, topic.number, parts.id, parts.id_size)
    if is_again or known is not NULL:
        return note_duplicate(registry, link, topic, head, known, is_ordered)
    registry.message_count += 1
    want_current(registry, topic)
    memset(&message, 0, sizeof(message))
    message.type = MSG
    message.flags = head.flags
    message.worker = link.id
    message.topic = topic.number
    message.sequence = head.sequence
    if not is_ordered:
        topic.has_messages = True
        link.needs_ack = True
        if registry.outside is not None:
            registry.outside.publish(topic.name, head, payload, size)
        return relay(topic, &message, payload, size, link)
    return publish_in_order(registry, link, topic, head, &message, payload, size, &parts)


cdef int publish_in_order(
    Registry registry, Link link, OrderedTopic topic, const Head* head, Head* message,
    const uint8_t* payload, size_t size, const Parts* parts,
) except -1:
    """Give a message the next place of its topic, and acknowledge it: by itself, where the
    publisher's link wants the topic."""
    cdef int outcome
    if topic.stream is not None or head.flags & DELTA:
        outcome = append_delta(
            registry, link, topic, head, message, payload, size, parts
        )
        if outcome == 1:
            return 0
        if parts.id_size:
            registry.note_id(topic, parts.id, parts.id_size, message.epoch, message.offset)
    else:
        message.epoch = topic.epoch
        message.offset = topic.top + 1
        if topic.has_history:
            keep(&registry.store, &topic.history, message, payload, size, registry.now_s)
            if topic.history.ttl_s > 0:
                registry.arm(topic, TTL_DUE, registry.now_s + topic.history.ttl_s)
        topic.top += 1
        topic.has_messages = True
        if parts.id_size:
            registry.note_id(topic, parts.id, parts.id_size, message.epoch, message.offset)
        if topic.has_history and registry.log is not None:
            log_message(registry, topic, link.incarnation, message, payload, size)
        outcome = 2 * relay_to_all(topic, message, payload, size, link)
    if outcome != 2:
        acknowledge(link, topic.number, message.epoch, message.offset, head.sequence, 0)
    return 0


cdef int note_duplicate(
    Registry registry, Link link, OrderedTopic topic, const Head* head, const KnownId* known,
    bint is_ordered,
) except -1:
    """Acknowledge what was taken before: by its id, or by its number, which tells no place."""
    registry.duplicate_count += 1
    if not is_ordered:
        link.needs_ack = True
        return 0
    return acknowledge(
        link, topic.number, 0 if known is NULL else known.epoch,
        0 if known is NULL else known.offset, head.sequence, DUPLICATE,
    )


# ---- time

cdef int expire_history(Registry registry, OrderedTopic topic) except -1:
    """Drop the messages that are too old, and come again when the next one is."""
    apply_bounds(&registry.store, &topic.history, registry.now_s)
    if topic.history.count and topic.history.ttl_s > 0:
        registry.arm(
            topic, TTL_DUE,
            message_at(&topic.history, topic.history.first_offset).kept_s + topic.history.ttl_s,
        )
    return registry.forget_if_unused(topic)

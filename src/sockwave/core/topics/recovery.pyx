"""What goes into the log, and what a new sequencer makes of it.

Kept are the topics that have a history: their epochs, tops and messages, the ids that are known,
and how far each worker's messages were taken. Members and streams are the workers' own: they come
again with them, or end.
"""

from cpython.bytes cimport PyBytes_AS_STRING
from libc.string cimport memset

from sockwave.core.topics.history cimport Message, keep, payload_of
from sockwave.core.topics.known_ids cimport ID_LIFE_S, KnownId, id_bytes
from sockwave.core.topics.links cimport Origin
from sockwave.core.topics.log cimport (
    LOG_ID, LOG_MESSAGE, LOG_ORIGIN, LOG_TOPIC, Entry, Log, entry_payload,
)
from sockwave.core.topics.records cimport HEAD_SIZE, ID, Parts, split_payload


cdef int log_message(
    Registry registry, OrderedTopic topic, uint64_t incarnation, const Head* message,
    const uint8_t* payload, size_t size,
) except -1:
    """Write a message that was kept to the log, before any link hears of it."""
    cdef Log log = registry.log
    if not (
        log.end < log.limit
        and (topic.is_logged or write_topic(log, topic, message.offset - 1))
        and log.write(LOG_MESSAGE, message, incarnation, registry.now_s, payload, size)
    ):
        return rewrite(registry)    # this message is kept, and so among what is left
    topic.is_logged = True
    return log.commit()


cdef bint write_topic(Log log, OrderedTopic topic, uint64_t top) noexcept:
    cdef Head head
    memset(&head, 0, sizeof(head))
    head.topic = topic.number
    head.epoch = topic.epoch
    head.offset = top
    return log.write(
        LOG_TOPIC, &head, 0, 0, <const uint8_t*>PyBytes_AS_STRING(topic.name), len(topic.name)
    )


cdef int rewrite(Registry registry) except -1:
    """Write what is left of everything to the other area, and change over to it.

    It has room for that: an area is larger than all that the budget lets be kept.
    """
    cdef Log log = registry.log
    cdef OrderedTopic topic
    cdef Origin origin
    cdef Head head
    cdef Message* message
    cdef KnownId* known = registry.ids.oldest
    log.begin_other()
    memset(&head, 0, sizeof(head))
    for incarnation, found in registry.origins.items():
        origin = found
        head.sequence = origin.last_sequence
        log.write(LOG_ORIGIN, &head, incarnation, origin.gone_s, NULL, 0)
    for topic in registry.names.values():
        topic.is_logged = (
            (topic.history.count or topic.id_count) and topic.has_history
            and write_topic(log, topic, topic.top)
        )
    while known is not NULL:
        head.topic = known.topic
        head.epoch = known.epoch
        head.offset = known.offset
        log.write(LOG_ID, &head, 0, known.expires_s - ID_LIFE_S, id_bytes(known), known.size)
        known = known.newer
    message = registry.store.oldest
    while message is not NULL:
        log.write(
            LOG_MESSAGE, &message.head, 0, message.kept_s, payload_of(message),
            message.head.length - HEAD_SIZE,
        )
        message = message.newer
    log.commit()
    return log.end_other()


# ---- a new process

cdef int recover(Registry registry) except -1:
    """Go on from the log of the process before; raise ValueError for what is no log."""
    cdef Log log = registry.log
    cdef dict topics = {}       # number there → topic here
    cdef size_t place = 0
    cdef double now_s = registry.now_s
    cdef const Entry* entry = log.read(&place)
    cdef OrderedTopic topic
    while entry is not NULL:
        if entry.kind == LOG_TOPIC:
            name = (<const char*>entry_payload(entry))[:entry.payload_size]
            topics[entry.head.topic] = take_topic(registry, name, entry)
        elif entry.kind == LOG_ORIGIN:
            note_origin(registry, entry)
        else:
            topic = topics.get(entry.head.topic)
            registry.now_s = entry.time_s       # what was too old then has gone
            if topic is not None and entry.kind == LOG_MESSAGE:
                take_message(registry, topic, entry)
            elif topic is not None and entry.kind == LOG_ID:
                take_id(registry, topic, entry, entry_payload(entry), entry.payload_size)
        entry = log.read(&place)
    registry.now_s = now_s
    for topic in list(topics.values()):
        if topic is not None:
            registry.forget_if_unused(topic)
    registry.forget_emptied()
    return rewrite(registry)    # topics have other numbers here


cdef OrderedTopic take_topic(Registry registry, bytes name, const Entry* entry):
    cdef OrderedTopic topic = registry.intern(name)
    if topic is None:
        return None
    if topic.epoch != entry.head.epoch:
        registry.begin_log(topic)
        topic.epoch = entry.head.epoch
        topic.top = entry.head.offset
    # Until a worker declares what holds for it.
    topic.has_history = topic.has_messages = topic.is_logged = True
    topic.history.max_count = 0xFFFFFFFF
    topic.history.max_size = <size_t>-1
    return topic


cdef int take_message(Registry registry, OrderedTopic topic, const Entry* entry) except -1:
    cdef const uint8_t* payload = entry_payload(entry)
    cdef Parts parts
    cdef Head head = entry.head
    head.topic = topic.number
    if topic.history.count and head.offset != topic.history.first_offset + topic.history.count:
        return 0
    keep(&registry.store, &topic.history, &head, payload, entry.payload_size, entry.time_s)
    topic.top = max(topic.top, head.offset)
    if entry.incarnation:
        note_origin(registry, entry)
    if entry.incarnation and head.flags & ID and split_payload(
        payload, entry.payload_size, head.flags, &parts
    ):
        take_id(registry, topic, entry, parts.id, parts.id_size)
    return 0


cdef int take_id(
    Registry registry, OrderedTopic topic, const Entry* entry, const uint8_t* id, size_t size
) except -1:
    return registry.note_id(topic, id, size, entry.head.epoch, entry.head.offset)


cdef int note_origin(Registry registry, const Entry* entry) except -1:
    """Note how far the messages of a worker were taken; it may come again."""
    cdef Origin origin = registry.origins.get(entry.incarnation)
    if origin is None:
        origin = registry.origins[entry.incarnation] = Origin()
        origin.gone_s = registry.now_s
        registry.gone_origins.append((origin.gone_s, entry.incarnation))
    origin.last_sequence = max(origin.last_sequence, entry.head.sequence)
    return 0

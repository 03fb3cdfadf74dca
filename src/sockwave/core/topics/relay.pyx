"""What is written to links: answers, which are never dropped, and messages, which may be."""

from cpython.bytes cimport PyBytes_AS_STRING
from cpython.object cimport PyObject
from libc.string cimport memset

from sockwave.core.topics.records cimport ACK, NAMED, REFUSED, append_bytes, write_record


cdef int write_answer(Link link, const Head* head, const uint8_t* payload, size_t size) except -1:
    """Write a record that the link has asked for; a link that takes none is failed."""
    if link.failure is not None or link.is_ended:
        return 0
    write_record(&link.output, head, payload, size)
    link.note_output()
    return link.check_output()


cdef int tell_name(Link link, OrderedTopic topic, uint32_t request) except -1:
    """Tell a link which number a topic has; `request` is the link's own number for it, or 0."""
    cdef Head head
    memset(&head, 0, sizeof(head))
    head.type = NAMED
    head.topic = topic.number
    head.request = request
    return write_answer(link, &head, <const uint8_t*>PyBytes_AS_STRING(topic.name), len(topic.name))


cdef int acknowledge(
    Link link, uint32_t topic, uint64_t epoch, uint64_t offset, uint64_t sequence, int flags
) except -1:
    """Tell a publisher where its message stands, by the topic's number."""
    cdef Head head
    memset(&head, 0, sizeof(head))
    head.type = ACK
    head.flags = <unsigned char>flags
    head.topic = topic
    head.epoch = epoch
    head.offset = offset
    head.sequence = sequence
    return write_answer(link, &head, NULL, 0)


cdef int refuse(
    Link link, const Head* cause, OrderedTopic topic, bytes reason
) except -1:
    """Refuse what a record has asked for; the topic may be None."""
    cdef Head head
    memset(&head, 0, sizeof(head))
    head.type = REFUSED
    head.topic = 0 if topic is None else topic.number
    head.request = cause.request
    head.sequence = cause.sequence
    return write_answer(link, &head, <const uint8_t*>PyBytes_AS_STRING(reason), len(reason))


cdef bint write_message(
    OrderedTopic topic, Interest* interest, const Head* head, const uint8_t* payload, size_t size
) except -1:
    """Write a message for a link that wants it; False: it is dropped, as the link is slow."""
    cdef Link link = <Link>interest.link
    cdef size_t cap
    if link.failure is not None:
        return False
    cap = link.switch.link_cap
    if link.is_slow or link.output.size > cap:
        link.is_slow = True
        link.switch.dropped_count += 1
        interest.dropped_count += 1
        if not interest.is_gapped:
            interest.is_gapped = True
            append_bytes(&link.gapped, <const uint8_t*>&topic.number, sizeof(topic.number))
        return False
    if not interest.is_known:
        interest.is_known = True
        tell_name(link, topic, 0)
    write_record(&link.output, head, payload, size)
    if link.output.size > cap:
        link.oversize = link.output.size - cap
    link.switch.delivered_count += 1
    if not link.is_dirty:
        link.note_output()
    return True


cdef int relay(
    OrderedTopic topic, const Head* head, const uint8_t* payload, size_t size, Link besides
) except -1:
    """Write a message to all links that want it but one."""
    cdef uint32_t i
    for i in range(topic.want_count):
        if topic.interests[i].link != <PyObject*>besides:
            write_message(topic, &topic.interests[i], head, payload, size)
    return 0


cdef bint relay_to_all(
    OrderedTopic topic, const Head* head, const uint8_t* payload, size_t size, Link publisher
) except -1:
    """Write a message to all links that want it; return whether the publisher's has it, too."""
    cdef bint has_echo = False
    cdef uint32_t i
    for i in range(topic.want_count):
        if write_message(topic, &topic.interests[i], head, payload, size):
            has_echo |= topic.interests[i].link == <PyObject*>publisher
    return has_echo


cdef bint write_broadcast(
    Link link, const Head* head, const uint8_t* payload, size_t size
) except -1:
    """Write a message for everybody; False: it is dropped, as the link is slow."""
    cdef size_t cap = link.switch.link_cap
    if link.failure is not None:
        return False
    if link.is_slow or link.output.size > cap:
        link.is_slow = True
        link.switch.dropped_count += 1
        link.dropped_broadcast_count += 1
        return False
    write_record(&link.output, head, payload, size)
    if link.output.size > cap:
        link.oversize = link.output.size - cap
    return not link.note_output()

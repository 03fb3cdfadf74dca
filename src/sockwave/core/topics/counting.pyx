"""COUNT: how many subscribers a topic has, of all links together."""

from libc.string cimport memset

from sockwave.core.topics.records cimport COUNTED, COUNT_ASKED
from sockwave.core.topics.registry cimport COUNT_DUE, want_current
from sockwave.core.topics.relay cimport tell_name, write_answer

cdef double ANSWER_S = 2.0      # a worker that is stopped shall not keep others waiting


cdef class SubscriberCount:
    """A count that was asked for, while links still have to answer."""


cdef int ask_links(Registry registry, Link link, OrderedTopic topic, const Head* head) except -1:
    """Ask the links that want a topic how many subscribers they have."""
    cdef SubscriberCount count = SubscriberCount()
    cdef Head question
    cdef uint32_t i
    want_current(registry, topic)
    count.asker = link
    count.topic = topic.number
    count.request = head.request
    count.awaited = set()
    registry.last_request = registry.last_request % 0xFFFFFFFF + 1
    memset(&question, 0, sizeof(question))
    question.type = COUNT_ASKED
    question.topic = topic.number
    question.request = registry.last_request
    for i in range(topic.want_count):
        one = <Link>topic.interests[i].link
        if one.failure is not None:
            continue
        if not topic.interests[i].is_known:
            topic.interests[i].is_known = True
            tell_name(one, topic, 0)
        count.awaited.add(one)
        write_answer(one, &question, NULL, 0)
    if not count.awaited:
        return answer(count)
    registry.counts[registry.last_request] = count
    return registry.arm_alone(COUNT_DUE, registry.last_request, registry.now_s + ANSWER_S)


cdef int answer(SubscriberCount count) except -1:
    cdef Head head
    memset(&head, 0, sizeof(head))
    head.type = COUNTED
    head.topic = count.topic
    head.request = count.request
    head.offset = count.sum
    return write_answer(count.asker, &head, NULL, 0)


cdef int take_count(Registry registry, Link link, uint32_t request, uint64_t count) except -1:
    """Take a link's answer; one that comes too late changes nothing."""
    cdef SubscriberCount found = registry.counts.get(request)
    if found is None or link not in found.awaited:
        return 0
    found.awaited.discard(link)
    found.sum += count
    if not found.awaited:
        del registry.counts[request]
        answer(found)
    return 0


cdef int stop_waiting(Registry registry, uint32_t request) except -1:
    """Answer with what has come, after a while."""
    found = registry.counts.pop(request, None)
    return 0 if found is None else answer(<SubscriberCount>found)


cdef int stop_waiting_for(Registry registry, Link link) except -1:
    """Count nothing for a link that has ended."""
    for request in list(registry.counts):
        take_count(registry, link, request, 0)
    return 0

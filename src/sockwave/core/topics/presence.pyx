"""Presence: who is in a topic, from the first link that has joined to the last one that leaves."""

from json.encoder import encode_basestring_ascii

from cpython.bytes cimport PyBytes_AS_STRING
from libc.string cimport memset

from sockwave.core.topics.ordered_topic cimport Interest
from sockwave.core.topics.records cimport DIFF, MEMBERS, MORE
from sockwave.core.topics.registry cimport DIFF_DUE, GRACE_DUE
from sockwave.core.topics.relay cimport refuse, write_answer, write_message

cdef enum:
    PART_SIZE = 1 << 20         # a snapshot, or a difference, is cut into records of this size
    MAX_MEMBER_COUNT = 1_000_000        # of all topics together

cdef double DIFFERENCE_S = 0.1  # from one difference of a topic to the next


cdef class Member:
    """One member of one topic."""

    cdef int add(self, uint16_t link) except -1:
        if not self.link:
            self.link = link
        elif self.link != link:
            if self.other_links is None:
                self.other_links = set()
            self.other_links.add(link)
        return 0

    cdef int discard(self, uint16_t link) except -1:
        if self.link == link:
            self.link = self.other_links.pop() if self.other_links else 0
        elif self.other_links is not None:
            self.other_links.discard(link)
        return 0


cdef class Members:
    """The members of one topic."""

    def __cinit__(self):
        self.by_key = {}
        self.told = {}
        self.leaving = {}


cdef int note_change(
    Registry registry, OrderedTopic topic, Members members, bytes key, bytes before
) except -1:
    """Have the next difference tell of a member, whose data have been `before`, or None."""
    if key not in members.told:
        members.told[key] = before
    return registry.arm(topic, DIFF_DUE, max(registry.now_s, members.told_s + DIFFERENCE_S))


cdef int join(
    Registry registry, Link link, OrderedTopic topic, const Head* head, bytes key, bytes data
) except -1:
    """Have a link join with a member, or give the member other data."""
    cdef Members members = topic.members
    cdef Member member
    if not topic.has_presence:
        return refuse(link, head, topic, b"the topic has no presence: expected presence=True")
    member = None if members is None else members.by_key.get(key)
    if member is None and registry.member_count >= MAX_MEMBER_COUNT:
        return refuse(link, head, topic, b"there are too many members")
    if members is None:
        members = topic.members = Members()
        members.told_s = registry.now_s - DIFFERENCE_S
    if member is None:
        member = members.by_key[key] = Member()
        registry.member_count += 1
        note_change(registry, topic, members, key, None)
    elif member.data != data:
        note_change(registry, topic, members, key, member.data)
    members.leaving.pop(key, None)
    member.data = data
    member.add(link.id)
    if registry.outside is not None and link.is_worker:
        registry.outside.member_joined(topic, key, data)
    if topic in link.memberships:
        (<set>link.memberships[topic]).add(key)
    else:
        link.memberships[topic] = {key}
    return 0


cdef int leave(Registry registry, Link link, OrderedTopic topic, bytes key) except -1:
    """Have a link leave with a member: at once, or after the grace, it is one no more."""
    cdef set keys = link.memberships.get(topic)
    if keys is None or key not in keys:
        return 0
    keys.discard(key)
    if not keys:
        del link.memberships[topic]
    take_link(registry, link, topic, key)
    return drop_members(registry, topic)


cdef int leave_all(Registry registry, Link link, OrderedTopic topic) except -1:
    """Have a link leave with all of its members."""
    for key in link.memberships.pop(topic, ()):
        take_link(registry, link, topic, key)
    return drop_members(registry, topic)


cdef int take_link(Registry registry, Link link, OrderedTopic topic, bytes key) except -1:
    cdef Members members = topic.members
    cdef Member member = members.by_key[key]
    member.discard(link.id)
    if registry.outside is not None and link.is_worker:
        registry.outside.member_left(topic, key, member)
    if member.link:
        return 0
    if topic.grace_s > 0:
        members.leaving[key] = registry.now_s + topic.grace_s
        return registry.arm(topic, GRACE_DUE, registry.now_s + topic.grace_s)
    return remove(registry, topic, members, key)


cdef int remove(Registry registry, OrderedTopic topic, Members members, bytes key) except -1:
    cdef Member member = members.by_key.pop(key)
    registry.member_count -= 1
    return note_change(registry, topic, members, key, member.data)


cdef int let_go(Registry registry, OrderedTopic topic) except -1:
    """Remove the members whose grace is over."""
    cdef Members members = topic.members
    if members is None:
        return 0
    while members.leaving:
        key, due_s = next(iter(members.leaving.items()))
        if due_s > registry.now_s:
            registry.arm(topic, GRACE_DUE, due_s)
            break
        del members.leaving[key]
        remove(registry, topic, members, key)
    return drop_members(registry, topic)


cdef int drop_members(Registry registry, OrderedTopic topic) except -1:
    """Forget the table of a topic without members, once all watchers know that."""
    cdef Members members = topic.members
    if members is not None and not members.by_key and not members.told:
        topic.members = None
        registry.forget_if_unused(topic)
    return 0


# ---- what is told

cdef int tell_difference(Registry registry, OrderedTopic topic) except -1:
    """Tell all watchers what has changed since the last difference."""
    cdef Members members = topic.members
    cdef Member member
    cdef list joined = []
    cdef list left = []
    cdef size_t size = 0
    if members is None:
        return 0
    for key, before in members.told.items():
        member = members.by_key.get(key)
        after = None if member is None else member.data
        if after == before:
            continue
        one = write_entry(key, before if after is None else after)
        (left if after is None else joined).append(one)
        size += len(one)
        if size >= PART_SIZE:
            write_difference(topic, joined, left)
            joined, left, size = [], [], 0
    members.told = {}
    members.told_s = registry.now_s
    if joined or left:
        write_difference(topic, joined, left)
    return drop_members(registry, topic)


cdef bytes write_entry(bytes key, bytes data):
    return encode_basestring_ascii(key.decode()).encode() + b":" + (data or b"null")


cdef int write_difference(OrderedTopic topic, list joined, list left) except -1:
    cdef bytes payload = b'{"join":{%s},"leave":{%s}}' % (b",".join(joined), b",".join(left))
    cdef const uint8_t* data = <const uint8_t*>PyBytes_AS_STRING(payload)
    cdef Interest* interest
    cdef Head head
    cdef size_t i
    memset(&head, 0, sizeof(head))
    head.type = DIFF
    head.topic = topic.number
    for i in range(topic.interest_count):
        interest = &topic.interests[i]
        if interest.is_watching:
            write_message(topic, interest, &head, data, len(payload))
    return 0


cdef int write_members(OrderedTopic topic, Link link, const Head* request) except -1:
    """Answer a request with all members."""
    cdef Members members = topic.members
    cdef Member member
    cdef list entries = []
    cdef size_t size = 0
    if members is not None:
        for key, found in members.by_key.items():
            member = found
            entries.append(write_entry(key, member.data))
            size += len(<bytes>entries[len(entries) - 1])
            if size >= PART_SIZE:
                write_part(topic, link, request, entries, MORE)
                entries, size = [], 0
    return write_part(topic, link, request, entries, 0)


cdef int write_part(
    OrderedTopic topic, Link link, const Head* request, list entries, int flags
) except -1:
    cdef bytes payload = b"{%s}" % b",".join(entries)
    cdef Head head
    memset(&head, 0, sizeof(head))
    head.type = MEMBERS
    head.flags = <uint8_t>flags
    head.topic = topic.number
    head.request = request.request
    return write_answer(link, &head, <const uint8_t*>PyBytes_AS_STRING(payload), len(payload))

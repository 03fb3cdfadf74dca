"""What the sequencer knows: links, topics, settings, and what is due."""

import os
from collections import deque

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING
from libc.string cimport memcpy, memset

from sockwave.core.topics.deadlines cimport Deadline, add_deadline, free_deadlines
from sockwave.core.topics.history cimport apply_bounds, clear_history, message_at
from sockwave.core.topics.known_ids cimport (
    ID_LIFE_S, KnownId, add_id, begin_ids, free_ids, take_expired,
)
from sockwave.core.topics.ordered_topic cimport is_sequenced, is_wanted_by_name
from sockwave.core.topics.records cimport FORGOTTEN, Head, consume, free_buffer
from sockwave.core.topics.relay cimport write_answer
from sockwave.core.topics.wildcards cimport is_pattern

cdef enum:
    # Of messages that are sent again, the ids are known for so long.
    KNOWN_ID_COUNT = 1_000_000

cdef double UNWATCHED_S = 10.0


cdef uint64_t draw_epoch() except 0:
    """Return 64 random bits, not all of them 0."""
    cdef uint64_t epoch = 0
    cdef bytes drawn
    while not epoch:
        drawn = os.urandom(sizeof(epoch))
        memcpy(&epoch, PyBytes_AS_STRING(drawn), sizeof(epoch))
    return epoch


cdef class TopicSettings:
    """What the application has declared for one topic, or for all that match a pattern."""


cdef TopicSettings PLAIN = TopicSettings()


cdef TopicSettings read_settings(object fields):
    """Read the settings of one pattern. Raises ValueError or TypeError for what can be none."""
    cdef TopicSettings settings = TopicSettings()
    count = fields.get("history_count")
    size = fields.get("history_size")
    ttl_s = fields.get("history_ttl")
    if min(count or 0, size or 0, ttl_s or 0, fields.get("grace") or 0) < 0:
        raise ValueError("settings: expected no number below 0")
    settings.has_history = (count, size, ttl_s) != (None, None, None) and count != 0
    settings.max_count = 0xFFFFFFFF if count is None else min(count, 0xFFFFFFFF)
    settings.max_size = <size_t>-1 if size is None else min(size, 1 << 62)
    settings.ttl_s = ttl_s or 0.0
    settings.has_presence = bool(fields.get("presence"))
    settings.grace_s = fields.get("grace") or 0.0
    return settings


@cython.no_gc_clear    # the topics are needed until the end: their messages are in one list
cdef class Registry:
    """What the sequencer knows."""

    def __cinit__(self, clock, topic_count, history_budget, append_size):
        self.clock = clock
        self.now_s = clock()
        self.epoch = draw_epoch()
        self.links = {}
        self.origins = {}
        self.gone_origins = deque()
        self.names = {}
        self.topics = [None]
        self.free_numbers = []
        self.declared = {}
        self.settings = Patterns()
        self.wanted = Patterns()
        self.pattern_links = {}
        self.counts = {}
        self.topic_limit = topic_count
        self.append_size = append_size
        self.store.budget_size = history_budget
        begin_ids(&self.ids, KNOWN_ID_COUNT)

    def __dealloc__(self):
        # The topics' own histories: an interpreter that ends may have taken `topics` apart.
        if self.topics is not None:
            for topic in self.topics:
                if topic is not None:
                    clear_history(&self.store, &(<OrderedTopic>topic).history)
        free_buffer(&self.store.emptied)
        free_ids(&self.ids)
        free_deadlines(&self.deadlines)

    cdef int look_at_clock(self) except -1:
        self.now_s = self.clock()
        return 0

    # ---- topics

    cdef OrderedTopic topic_at(self, uint32_t number):
        """Return the topic that has a number; None: there is none any more."""
        return self.topics[number] if number < <size_t>len(self.topics) else None

    cdef OrderedTopic intern(self, bytes name):
        """Return the topic of a name, from now on known; None: there are too many."""
        cdef OrderedTopic topic = self.names.get(name)
        cdef uint32_t number
        if topic is not None:
            return topic
        if <size_t>len(self.names) >= self.topic_limit:
            return None
        number = self.free_numbers.pop() if self.free_numbers else len(self.topics)
        self.last_serial += 1
        topic = OrderedTopic(name, number, self.last_serial, draw_epoch())
        if number == <size_t>len(self.topics):
            self.topics.append(topic)
        else:
            self.topics[number] = topic
        self.names[name] = topic
        topic.generation = self.wanted.generation - 1
        self.configure(topic)
        return topic

    cdef int declare(self, str pattern, TopicSettings settings) except -1:
        """Have settings hold for a pattern, or a name, from now on."""
        self.settings.add(pattern, settings)
        if self.outside is not None:
            self.outside.settings_changed()
        if settings.has_presence and self.outside is not None:
            self.outside.use_presence()
        if is_pattern(pattern):
            for topic in self.names.values():
                self.configure(topic)
        elif (topic := self.names.get(pattern.encode())) is not None:
            self.configure(topic)
        return 0

    cdef int configure(self, OrderedTopic topic) except -1:
        """Apply the settings that hold for a topic."""
        cdef TopicSettings settings = self.settings.best(topic.name.decode()) or PLAIN
        cdef bint was_sequenced = is_sequenced(topic)
        cdef object log = None
        if topic.has_history and not settings.has_history:
            clear_history(&self.store, &topic.history)
        if not (settings.has_history or settings.has_presence) and topic.stream is None:
            log, topic.shared = topic.shared, None
        topic.has_history = settings.has_history
        topic.has_presence = settings.has_presence
        topic.grace_s = settings.grace_s
        topic.history.max_count = settings.max_count
        topic.history.max_size = settings.max_size
        topic.history.ttl_s = settings.ttl_s
        apply_bounds(&self.store, &topic.history, self.now_s)
        if topic.history.count and settings.ttl_s > 0:
            self.arm(
                topic, TTL_DUE,
                message_at(&topic.history, topic.history.first_offset).kept_s + settings.ttl_s,
            )
        if is_sequenced(topic) and not was_sequenced:
            self.begin_log(topic)   # of the messages before, none knew its place
        if log is not None:
            self.outside.drop_log(topic, log)
        return 0

    cdef int begin_log(self, OrderedTopic topic) except -1:
        """Have the topic's places begin anew, under an epoch that none has seen."""
        cdef object log = topic.shared
        clear_history(&self.store, &topic.history)
        topic.epoch = draw_epoch()
        topic.top = 0
        topic.is_logged = False
        topic.shared = None
        if self.outside is not None and (topic.has_history or topic.has_presence):
            self.outside.share_log(topic)
        if log is not None:
            self.outside.drop_log(topic, log)
        return 0

    cdef int forget_if_unused(self, OrderedTopic topic) except -1:
        """Forget a topic of which nothing is left. Links that want it by a pattern alone are told
        that its number says nothing any more."""
        cdef Head head
        cdef uint32_t i
        if (
            topic.name_count or topic.history.count or topic.id_count
            or topic.members is not None or topic.stream is not None
            or self.topic_at(topic.number) is not topic
        ):
            return 0
        if topic.shared is not None:
            self.outside.drop_log(topic, topic.shared)
        self.topics[topic.number] = None
        self.free_numbers.append(topic.number)
        del self.names[topic.name]
        clear_history(&self.store, &topic.history)
        memset(&head, 0, sizeof(head))
        head.type = FORGOTTEN
        head.topic = topic.number
        for i in range(topic.interest_count):
            if topic.interests[i].is_known:
                write_answer(<Link>topic.interests[i].link, &head, NULL, 0)
        topic.interest_count = topic.want_count = 0
        return 0

    cdef int forget_emptied(self) except -1:
        """Forget the topics that are unused since the budget has taken their last message."""
        cdef uint32_t number
        cdef OrderedTopic topic
        while self.store.emptied.size:
            memcpy(&number, self.store.emptied.data + self.store.emptied.begin, sizeof(number))
            consume(&self.store.emptied, sizeof(number))
            topic = self.topic_at(number)
            if topic is not None:
                self.forget_if_unused(topic)
        return 0

    # ---- ids

    cdef int note_id(
        self, OrderedTopic topic, const uint8_t* id, size_t size, uint64_t epoch, uint64_t offset
    ) except -1:
        """Know the id of a message from now on, for a while."""
        cdef KnownId* known
        self.forget_ids(1)
        known = add_id(&self.ids, topic.number, id, size, self.now_s + ID_LIFE_S)
        known.epoch = epoch
        known.offset = offset
        topic.id_count += 1
        return 0

    cdef int forget_ids(self, size_t new_count) except -1:
        """Forget the ids that have expired, and those without which there is no room for more."""
        cdef uint32_t number = take_expired(&self.ids, self.now_s, new_count)
        cdef OrderedTopic topic
        while number:
            topic = self.topic_at(number)
            topic.id_count -= 1
            self.forget_if_unused(topic)
            number = take_expired(&self.ids, self.now_s, new_count)
        return 0

    # ---- who wants what

    cdef int want(self, OrderedTopic topic, Link link, bint by_name, bint by_pattern) except -1:
        """Change whether a link wants a topic; note since when no link wants a stream."""
        cdef bint was_wanted = topic.want_count > 0
        cdef bint was_named = self.outside is not None and is_wanted_by_name(topic)
        cdef Interest* interest
        if by_name or by_pattern:
            interest = topic.provide(link)
        else:
            interest = topic.find(link)
        if interest is NULL:
            return 0
        topic.set_wants(interest, by_name, by_pattern)
        if self.outside is not None and not by_name:
            self.outside.stop_keeping(topic, link)
        if was_wanted and not topic.want_count:
            topic.unwanted_since_s = self.now_s
            if topic.stream is not None:
                self.arm(topic, UNWATCHED_DUE, self.now_s + UNWATCHED_S)
        if self.outside is not None and is_wanted_by_name(topic) != was_named:
            self.outside.topic_wanted(topic, not was_named)
        return 0

    cdef int look_up_patterns(self, OrderedTopic topic) except -1:
        """Find out which links want the topic by a pattern."""
        cdef set links = set()
        cdef uint32_t i = 0
        cdef Interest* interest
        if self.wanted.count:
            for found in self.wanted.match(topic.name.decode()):
                links.update(found)
        for one in [<Link>topic.interests[i].link for i in range(topic.interest_count)]:
            interest = topic.find(<Link>one)
            if interest.by_pattern and one not in links:
                self.want(topic, <Link>one, interest.by_name, False)
                topic.remove_unneeded(<Link>one)
        for one in links:
            interest = topic.provide(<Link>one)
            self.want(topic, <Link>one, interest.by_name, True)
        topic.generation = self.wanted.generation
        return 0

    cdef int want_pattern(self, Link link, str pattern) except -1:
        if pattern in link.wanted_patterns:
            return 0
        link.wanted_patterns.add(pattern)
        link.has_had_patterns = True
        links = self.pattern_links.get(pattern)
        if links is None:
            links = self.pattern_links[pattern] = set()
            if self.outside is not None:
                self.outside.pattern_wanted(pattern, True)
        links.add(link)
        self.wanted.add(pattern, links)
        return 0

    cdef int unwant_pattern(self, Link link, str pattern) except -1:
        if pattern not in link.wanted_patterns:
            return 0
        link.wanted_patterns.discard(pattern)
        links = self.pattern_links[pattern]
        links.discard(link)
        if links:
            self.wanted.add(pattern, links)     # the same again: topics look it up anew
        else:
            self.wanted.remove(pattern)
            del self.pattern_links[pattern]
            if self.outside is not None:
                self.outside.pattern_wanted(pattern, False)
        return 0

    # ---- what is due

    cdef int arm(self, OrderedTopic topic, DeadlineKind kind, double due_s) except -1:
        """Have a topic looked at when something of it is due, unless it is already."""
        cdef Deadline deadline
        if topic.pending >> <int>kind & 1:
            return 0
        deadline.due_s = due_s
        deadline.kind = kind
        deadline.number = topic.number
        deadline.serial = topic.serial
        add_deadline(&self.deadlines, &deadline)
        topic.pending |= 1 << <int>kind
        return 0

    cdef int arm_alone(self, DeadlineKind kind, uint32_t number, double due_s) except -1:
        """Note when something is due that is no topic's."""
        cdef Deadline deadline
        deadline.due_s = due_s
        deadline.kind = kind
        deadline.number = number
        deadline.serial = 0
        return add_deadline(&self.deadlines, &deadline)

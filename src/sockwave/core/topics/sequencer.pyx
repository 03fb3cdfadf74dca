"""The sequencer: it orders the topics of one host's workers, without any socket or thread."""

import json
import time

from libc.string cimport memset

from sockwave.core.topics.counting cimport ask_links, stop_waiting, stop_waiting_for, take_count
from sockwave.core.topics.deadlines cimport Deadline, take_due
from sockwave.core.topics.links cimport Origin
from sockwave.core.topics.log cimport Log
from sockwave.core.topics.numbers cimport find_number, remove_number, set_number
from sockwave.core.topics.ordered_topic cimport Interest, is_wanted_by_name
from sockwave.core.topics.outside cimport Outside
from sockwave.core.topics.presence cimport (
    join, leave, leave_all, let_go, tell_difference, write_members,
)
from sockwave.core.topics.publishing cimport expire_history, publish
from sockwave.core.topics.records cimport (
    ACK, BROADCAST, COUNT, COUNTING, END, FORGET, HELLO, ID, IS_PATTERN, JOIN, LEAVE, META, NAME,
    PING, PONG, PUB, Parts, SETTINGS, SNAPSHOT, SUB, TEXT, UNSUB, UNWATCH, WATCH, WELCOME,
    split_payload,
)
from sockwave.core.topics.recovery cimport recover
from sockwave.core.topics.registry cimport (
    COUNT_DUE, DIFF_DUE, GRACE_DUE, PING_DUE, STREAM_DUE, TTL_DUE, UNWATCHED_DUE, read_settings,
)
from sockwave.core.topics.relay cimport refuse, tell_name, write_answer, write_broadcast
from sockwave.core.topics.replay cimport subscribe, tell_gaps
from sockwave.core.topics.streams cimport abort_stream, check_watched, forget_stream
from sockwave.core.topics.wildcards cimport check_pattern, check_topic_name
from sockwave.errors import SockwaveError

cdef enum:
    VERSION = 1                 # of the protocol
    MAX_LINK_COUNT = 0xFFFF
    MAX_ORIGIN_COUNT = 0x10000
    MAX_PATTERN_COUNT = 0x10000     # of settings
    # A link that has sent nothing in between is closed instead of the next ping.
    MAX_UNANSWERED_COUNT = 4
    READ_SIZE = 256 << 10
    LOG_ROOM_SIZE = 256 << 20   # virtual: memory is taken as it is written

cdef double PING_S = 5.0
cdef double ORIGIN_LIFE_S = 300.0   # for so long a worker that has lost its link may send again

# Stands in a link's numbers for a topic that is one too many.
cdef char refused_topic

cdef tuple BAD_CONTENT = (AttributeError, KeyError, TypeError, ValueError, RecursionError)


cdef class Sequencer(Switch):
    """Orders topics. `connect` gives the links by which workers and publishers reach it.

    `log` is the descriptor of a memory file, in which what is kept outlives the process; a new
    sequencer goes on from it. Raises ValueError if it has something else in it, MemoryError if it
    cannot be mapped.
    """

    def __cinit__(
        self, *, topic_count=100_000, history_budget=256 << 20, append_size=1 << 20,
        link_cap=8 << 20, clock=time.monotonic, log=None,
    ):
        self.registry = Registry(clock, topic_count, history_budget, append_size)
        if log is not None:
            # Twice the budget, as an entry is larger than what a message counts; and all ids.
            self.registry.log = Log(log, 2 * history_budget + LOG_ROOM_SIZE)
            recover(self.registry)
        self.link_cap = link_cap
        self.dirty = []
        self.read_buffer = bytearray(READ_SIZE)

    def attach(self, Outside bridge):
        """Have a bridge connect this sequencer to those of other hosts, from now on."""
        cdef OrderedTopic topic
        bridge.use(self.registry, self.connect)
        self.registry.outside = bridge
        for topic in self.registry.names.values():
            if topic.has_history or topic.has_presence:
                self.registry.begin_log(topic)      # its places are the broker's from now on
            if is_wanted_by_name(topic):
                bridge.topic_wanted(topic, True)
        for pattern in self.registry.pattern_links:
            bridge.pattern_wanted(pattern, True)

    # ---- links

    def connect(self):
        """Return a new link. Raises SockwaveError where there are too many."""
        cdef Registry registry = self.registry
        cdef Link link
        if len(registry.links) >= MAX_LINK_COUNT:
            raise SockwaveError(f"expected at most {MAX_LINK_COUNT} links")
        registry.last_link_id = registry.last_link_id % MAX_LINK_COUNT + 1
        while registry.last_link_id in registry.links:
            registry.last_link_id = registry.last_link_id % MAX_LINK_COUNT + 1
        link = Link(self, registry.last_link_id)
        if not self.is_pinging:
            self.is_pinging = True
            registry.look_at_clock()
            registry.arm_alone(PING_DUE, 0, registry.now_s + PING_S)
        registry.links[link.id] = link
        return link

    def take_dirty(self):
        """Return the links that have got output, or have failed, since the last call."""
        cdef list dirty = self.dirty
        cdef Link link
        self.dirty = []
        for link in dirty:
            link.is_dirty = False
        return dirty

    @property
    def epoch(self):
        """The incarnation of this sequencer: 64 random bits."""
        return self.registry.epoch

    @property
    def stats(self):
        """How much there is, and how often what has happened."""
        cdef Registry registry = self.registry
        return {
            "links": len(registry.links),
            "topics": len(registry.names),
            "members": registry.member_count,
            "ids": registry.ids.count,
            "history_count": registry.store.count,
            "history_bytes": registry.store.size - registry.stream_size,
            "stream_bytes": registry.stream_size,
            "messages": registry.message_count,
            "delivered": self.delivered_count,
            "dropped": self.dropped_count,
            "duplicates": registry.duplicate_count,
            "evicted": registry.store.evicted_count,
        }

    # ---- records

    cdef int begin_take(self) except -1:
        return self.registry.look_at_clock()

    cdef int end_take(self, Link link) except -1:
        """Acknowledge what was published in plain topics, all of it by one record."""
        cdef Head head
        if link.needs_ack:
            link.needs_ack = False
            memset(&head, 0, sizeof(head))
            head.type = ACK
            head.sequence = link.origin.last_sequence
            write_answer(link, &head, NULL, 0)
        return self.registry.forget_emptied()

    cdef int take_record(
        self, Link link, const Head* head, const uint8_t* payload, size_t size
    ) except -1:
        """Act upon one record. Raise SockwaveError for one that is no worker's."""
        cdef void* found
        if head.type == PUB and link.has_greeted:
            found = find_number(&link.numbers, head.topic)
            if found is not NULL and found is not &refused_topic:
                return publish(
                    self.registry, link, <OrderedTopic>found, head, payload, size
                )
        try:
            return self.take_other(link, head, payload, size)
        except BAD_CONTENT as error:
            raise SockwaveError(f"expected a record of type {head.type}: {error}") from None

    cdef int take_other(
        self, Link link, const Head* head, const uint8_t* payload, size_t size
    ) except -1:
        cdef int type = head.type
        cdef void* found
        if not link.has_greeted:
            return self.greet(link, head, payload, size)
        if type == PONG:
            return 0
        if type == BROADCAST:
            return self.broadcast(link, head, payload, size)
        if type == COUNTING:
            return take_count(self.registry, link, head.request, head.offset)
        if type == SETTINGS:
            return self.declare(payload, size)
        if type == NAME:
            return self.name(link, head, (<const char*>payload)[:size])
        if type == HELLO:
            raise SockwaveError("expected HELLO once")
        if head.topic in link.patterns:
            return self.act_on_pattern(link, link.patterns[head.topic], head)
        found = find_number(&link.numbers, head.topic) if head.topic else NULL
        if found is NULL:
            raise SockwaveError(f"expected the number of a topic, given {head.topic}")
        if type == FORGET:
            return self.forget(link, head.topic)
        if found is &refused_topic:
            return self.refuse_unknown(link, head)
        return self.act(link, <OrderedTopic>found, head, payload, size)

    cdef int refuse_unknown(self, Link link, const Head* head) except -1:
        """Refuse what would need a topic that is one too many."""
        if head.type == PUB and head.sequence > link.origin.last_sequence:
            link.origin.last_sequence = head.sequence
        return refuse(
            link, head, None,
            b"there are too many topics: expected at most %d (topic_count)"
            % self.registry.topic_limit,
        )

    cdef int greet(
        self, Link link, const Head* head, const uint8_t* payload, size_t size
    ) except -1:
        """Take HELLO, the first record of a link."""
        cdef Registry registry = self.registry
        cdef Head answer
        cdef Link other
        if head.type != HELLO or head.request != VERSION:
            raise SockwaveError(
                f"expected HELLO of version {VERSION}, given type {head.type}, "
                f"version {head.request}"
            )
        said = json.loads((<const char*>payload)[:size])
        if said["kind"] not in ("worker", "publisher"):
            raise ValueError(f"expected a worker or a publisher, given {said['kind']!r}")
        link.is_worker = said["kind"] == "worker"
        link.incarnation = head.epoch
        link.origin = registry.origins.get(head.epoch)
        if link.origin is None:
            if len(registry.origins) >= MAX_ORIGIN_COUNT and registry.gone_origins:
                self.forget_origin()
            link.origin = registry.origins[head.epoch] = Origin()
        elif link.origin.link_count:
            # Its old link, which has broken without our knowing that yet.
            for other in registry.links.values():
                if other.origin is link.origin and other is not link:
                    other.fail("expected one link, given another one for the same worker")
        link.origin.link_count += 1
        link.has_greeted = True
        memset(&answer, 0, sizeof(answer))
        answer.type = WELCOME
        answer.worker = link.id
        answer.epoch = registry.epoch
        write_answer(link, &answer, NULL, 0)
        if link.is_worker:
            if self.broker is None:
                self.broker = said.get("broker")
            if registry.outside is not None:
                registry.outside.welcome(link)
        return 0

    cdef int declare(self, const uint8_t* payload, size_t size) except -1:
        """Take settings; those of other patterns go on to hold."""
        cdef Registry registry = self.registry
        for pattern, fields in json.loads((<const char*>payload)[:size]):
            settings = read_settings(fields)
            check_pattern(pattern)
            if registry.declared.get(pattern) == fields:
                continue
            if len(registry.declared) >= MAX_PATTERN_COUNT and pattern not in registry.declared:
                raise ValueError(f"expected settings of at most {MAX_PATTERN_COUNT} patterns")
            registry.declared[pattern] = fields
            registry.declare(pattern, settings)
        return 0

    cdef int name(self, Link link, const Head* head, bytes name) except -1:
        """Have a number of the link's stand for a topic, or for a pattern."""
        cdef OrderedTopic topic
        cdef Interest* interest
        if (
            not head.topic or head.topic in link.patterns
            or find_number(&link.numbers, head.topic) is not NULL
        ):
            raise SockwaveError(f"NAME: expected a new number, given {head.topic}")
        if head.flags & IS_PATTERN:
            link.patterns[head.topic] = check_pattern(name.decode())
            return 0
        check_topic_name(name.decode())
        topic = self.registry.intern(name)
        if topic is None:
            set_number(&link.numbers, head.topic, &refused_topic)
            return refuse_name(link, head, self.registry.topic_limit)
        interest = topic.provide(link)
        set_number(&link.numbers, head.topic, <void*>topic)
        interest.name_count += 1
        interest.is_known = True
        topic.name_count += 1
        return tell_name(link, topic, head.topic)

    cdef int forget(self, Link link, uint32_t number) except -1:
        """Have a number stand for nothing any more."""
        cdef void* found = remove_number(&link.numbers, number)
        cdef OrderedTopic topic
        cdef Interest* interest
        if found is &refused_topic:
            return 0
        topic = <OrderedTopic>found
        topic.name_count -= 1
        interest = topic.find(link)
        interest.name_count -= 1
        if not interest.name_count:
            interest.is_known = False       # a pattern may match it again: it is named anew then
            self.leave_topic(link, topic)
            # The topic may outlive the link, which finds it no more when it ends.
            topic.remove_unneeded(link)
        return self.registry.forget_if_unused(topic)

    cdef int leave_topic(self, Link link, OrderedTopic topic) except -1:
        """Have a link be no part of a topic any more, unless by a pattern."""
        cdef Interest* interest = topic.find(link)
        interest.is_watching = False
        self.registry.want(topic, link, False, interest.by_pattern)
        if topic in link.memberships:
            leave_all(self.registry, link, topic)
        return 0

    cdef int act(
        self, Link link, OrderedTopic topic, const Head* head, const uint8_t* payload, size_t size
    ) except -1:
        """Act upon a record about a topic."""
        cdef Registry registry = self.registry
        cdef Interest* interest
        cdef size_t key_size
        cdef int type = head.type
        if type == SUB:
            return subscribe(registry, link, topic, head)
        if type == UNSUB:
            interest = topic.find(link)
            return registry.want(topic, link, False, interest.by_pattern)
        if type == JOIN:
            key_size = payload[0] | <size_t>payload[1] << 8 if size >= 2 else size
            if size < 2 + key_size:
                raise ValueError("expected a key")
            key = (<const char*>payload)[2:2 + key_size]
            data = (<const char*>payload)[2 + key_size:size]
            key.decode()
            if data:
                json.loads(data, parse_constant=refuse_constant)
            return join(registry, link, topic, head, key, data)
        if type == LEAVE:
            return leave(registry, link, topic, (<const char*>payload)[:size])
        if type == WATCH:
            if not head.flags & SNAPSHOT:
                # Others hear now of what has changed: so the next difference begins where the
                # snapshot ends.
                tell_difference(registry, topic)
                topic.find(link).is_watching = True
            return write_members(topic, link, head)
        if type == UNWATCH:
            topic.find(link).is_watching = False
            return 0
        if type == COUNT:
            return ask_links(registry, link, topic, head)
        raise SockwaveError(f"expected a record of a worker, given type {type}")

    cdef int act_on_pattern(self, Link link, str pattern, const Head* head) except -1:
        """Act upon a record about a pattern."""
        cdef Head end
        if head.type == SUB:
            if head.flags:
                raise SockwaveError("SUB: expected no position with a pattern")
            self.registry.want_pattern(link, pattern)
            memset(&end, 0, sizeof(end))
            end.type = END
            end.request = head.request
            if self.registry.outside is not None and self.registry.outside.keeps_end(
                link, pattern, &end
            ):
                return 0
            return write_answer(link, &end, NULL, 0)
        if head.type != UNSUB and head.type != FORGET:
            raise SockwaveError(f"expected the number of a topic, given that of {pattern!r}")
        if head.type == FORGET:
            del link.patterns[head.topic]
            if pattern in link.patterns.values():
                return 0
        return self.registry.unwant_pattern(link, pattern)

    cdef int broadcast(
        self, Link link, const Head* head, const uint8_t* payload, size_t size
    ) except -1:
        """Relay a message to all other workers."""
        cdef Head message
        cdef Parts parts
        cdef Link other
        if head.flags & ~(TEXT | META | ID) or not split_payload(
            payload, size, head.flags, &parts
        ):
            raise SockwaveError("BROADCAST: expected a payload with all of its parts")
        memset(&message, 0, sizeof(message))
        message.type = BROADCAST
        message.flags = head.flags
        message.worker = link.id
        message.sequence = head.sequence
        for other in self.registry.links.values():
            if other is not link and other.is_worker:
                write_broadcast(other, &message, payload, size)
        if self.registry.outside is not None:
            self.registry.outside.publish(b"", head, payload, size)
        return 0

    # ---- ends of links

    cdef int drained(self, Link link) except -1:
        return tell_gaps(self.registry, link)

    cdef int end_link(self, Link link) except -1:
        """Let go of all that is a link's: its wants, its members, its streams."""
        cdef Registry registry = self.registry
        cdef OrderedTopic topic
        cdef Interest* interest
        registry.look_at_clock()
        registry.links.pop(link.id, None)
        for pattern in list(link.wanted_patterns):
            registry.unwant_pattern(link, pattern)
        for topic in list(link.streams):
            abort_stream(registry, topic)
        for topic in list(link.memberships):
            leave_all(registry, link, topic)
        for topic in self.topics_of(link):
            interest = topic.find(link)
            if interest is not NULL:
                registry.want(topic, link, False, False)
                interest = topic.find(link)
                topic.name_count -= interest.name_count
                topic.remove_at(<uint32_t>(interest - topic.interests))
                registry.forget_if_unused(topic)
        stop_waiting_for(registry, link)
        if link.origin is not None:
            link.origin.link_count -= 1
            link.origin.gone_s = registry.now_s
            registry.gone_origins.append((registry.now_s, link.incarnation))
        return 0

    cdef list topics_of(self, Link link):
        """List the topics that know a link."""
        cdef list found = []
        cdef size_t i
        if link.has_had_patterns:
            return list(self.registry.names.values())
        if link.numbers.slots is not NULL:
            for i in range(link.numbers.mask + 1):
                if link.numbers.slots[i].number and (
                    link.numbers.slots[i].value is not &refused_topic
                ):
                    found.append(<OrderedTopic>link.numbers.slots[i].value)
        return found

    # ---- time

    def tick(self):
        """Do what is due."""
        cdef Registry registry = self.registry
        cdef OrderedTopic topic
        cdef Deadline due
        registry.look_at_clock()
        registry.forget_ids(0)
        while take_due(&registry.deadlines, registry.now_s, &due):
            topic = None
            if due.serial:
                topic = registry.topic_at(due.number)
                if topic is None or topic.serial != due.serial:
                    continue
                topic.pending &= ~(1 << due.kind)
            self.handle_due(due.kind, due.number, topic)
        registry.forget_emptied()

    cdef int handle_due(self, uint32_t kind, uint32_t number, OrderedTopic topic) except -1:
        cdef Registry registry = self.registry
        if kind == TTL_DUE:
            return expire_history(registry, topic)
        if kind == DIFF_DUE:
            return tell_difference(registry, topic)
        if kind == GRACE_DUE:
            return let_go(registry, topic)
        if kind == UNWATCHED_DUE:
            return check_watched(registry, topic)
        if kind == STREAM_DUE:
            return forget_stream(registry, topic)
        if kind == COUNT_DUE:
            return stop_waiting(registry, number)
        return self.ping()

    cdef int ping(self) except -1:
        """Ask each link whether it is there, and fail those that have been silent for long.

        Pings are counted, and not seconds: no worker is held to what a sequencer could not hear
        that was stopped itself.
        """
        cdef Registry registry = self.registry
        cdef Head head
        cdef Link link
        memset(&head, 0, sizeof(head))
        head.type = PING
        for link in registry.links.values():
            if link.has_greeted and not link.is_worker:
                continue        # a publisher reads between two messages, perhaps, and holds nothing
            if link.unanswered_count >= MAX_UNANSWERED_COUNT:
                link.fail("expected an answer to pings, of which it has had four")
                continue
            link.unanswered_count += 1
            if link.has_greeted:
                write_answer(link, &head, NULL, 0)
        while (
            registry.gone_origins
            and registry.gone_origins[0][0] + ORIGIN_LIFE_S <= registry.now_s
        ):
            self.forget_origin()
        self.is_pinging = bool(registry.links)
        if not self.is_pinging:
            return 0
        return registry.arm_alone(PING_DUE, 0, registry.now_s + PING_S)

    cdef int forget_origin(self) except -1:
        """Forget the worker that has been without a link for longest."""
        cdef Registry registry = self.registry
        cdef Origin origin
        gone_s, incarnation = registry.gone_origins.popleft()
        origin = registry.origins.get(incarnation)
        if origin is not None and not origin.link_count and origin.gone_s == gone_s:
            del registry.origins[incarnation]
        return 0

    def next_due(self):
        """Return when, by the clock, something is due; None: nothing is."""
        cdef Registry registry = self.registry
        due_s = None
        if registry.deadlines.count:
            due_s = registry.deadlines.heap[0].due_s
        if registry.ids.oldest is not NULL and (
            due_s is None or registry.ids.oldest.expires_s < due_s
        ):
            due_s = registry.ids.oldest.expires_s
        return due_s


def refuse_constant(constant):
    """Refuse what Python reads as JSON, and others do not: NaN and its like."""
    raise ValueError(f"expected JSON, given {constant}")


cdef int refuse_name(Link link, const Head* head, size_t limit) except -1:
    """Refuse a topic that is one too many; `request` tells which number of the link's it is."""
    cdef Head cause = head[0]
    cause.request = head.topic
    return refuse(
        link, &cause, None, b"there are too many topics: expected at most %d (topic_count)" % limit
    )

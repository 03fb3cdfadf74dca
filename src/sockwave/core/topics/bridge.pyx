"""The sequencer's end of the way to other hosts: what leaves, what comes, which topics come.

There is no socket and no broker here: docs/scaling.md has the format of what they carry. What comes
is not trusted: it is checked before anything of it is kept, and a bad message costs itself.
"""

import secrets

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.string cimport memcmp, memset

from sockwave.core.topics.links cimport Link
from sockwave.core.topics.ordered_topic cimport (
    OrderedTopic, is_kept_whole, is_sequenced, is_wanted_by_name,
)
from sockwave.core.topics.parcels cimport (
    BAD_CONTENT, describe, is_part, is_sound, read_parcel, read_place, write_payload,
)
from sockwave.core.topics.parts cimport PartialMessages
from sockwave.core.topics.placements cimport Placements, bounds_of_settings
from sockwave.core.topics.records cimport (
    BROADCAST, BROKER, HEAD_SIZE, ID, MAX_RECORD_SIZE, META, MSG, Parts, SINCE, TEXT, free_buffer,
    split_payload,
)
from sockwave.core.topics.registry cimport TopicSettings, read_settings, want_current
from sockwave.core.topics.relay cimport relay, write_answer, write_broadcast
from sockwave.core.topics.shared_log cimport SharedLog
from sockwave.core.topics.shared_logs cimport SharedLogs
from sockwave.core.topics.shared_presence cimport SharedPresence
from sockwave.core.topics.shared_streams cimport SharedStreams
from sockwave.core.topics.wildcards cimport check_topic_name

cdef enum:
    # What waits for the broker; beyond it, messages are dropped.
    QUEUE_SIZE = 8 << 20
    MAX_NAME_SIZE = 255
    # A tuple, a bytes object and their places: so much a message takes besides its own bytes.
    MESSAGE_COST = 160


cdef class Bridge(Outside):
    """The way to other hosts. `schedule` is called when there is something for the broker to take,
    once until `take_changes` is called; `queue_size` bounds the bytes that wait for it."""

    def __cinit__(self, schedule, queue_size=QUEUE_SIZE):
        self.schedule = schedule
        self.queue_size = queue_size
        self.host = secrets.token_hex(8)
        self.host_name = self.host.encode()
        self.messages = []
        self.placements = Placements(self.note_new, queue_size)
        self.logs = SharedLogs(self.note_new, self.placements)
        self.presence = SharedPresence(self.note_new, self.host_name)
        self.streams = SharedStreams(
            self.note_new, self.placements, self.logs, self.presence, self.host_name
        )
        self.changes = {}
        self.confirmed = set()
        self.kept_ends = {}
        self.is_expected = True
        self.told = b""
        self.partial = PartialMessages()
        memset(&self.scratch, 0, sizeof(self.scratch))

    def __dealloc__(self):
        free_buffer(&self.scratch)

    cdef int use(self, object registry, object connect) except -1:
        self.registry = registry
        self.logs.registry = self.placements.registry = self.registry
        self.presence.registry = self.streams.registry = self.registry
        self.presence.connect = connect
        if any(fields.get("presence") for fields in self.registry.declared.values()):
            self.presence.use()
        return 0

    cdef int note(self) except -1:
        """Have the broker's client come for what is new."""
        if not self.is_scheduled:
            self.is_scheduled = True
            self.schedule()
        return 0

    def note_new(self):
        """Have the broker's client come for what is new."""
        self.note()

    @property
    def queued_size(self):
        """How many bytes wait for the broker, or for its answers."""
        return self.message_size + self.placements.queued_size

    # ---- which topics come

    cdef int topic_wanted(self, OrderedTopic topic, bint is_wanted) except -1:
        self.changes[topic.name] = is_wanted
        if not is_wanted:
            self.release(topic.name)
            self.streams.unwanted(topic.name)
            if topic.shared is not None and topic.name not in self.confirmed:
                # The broker's client has no topic to leave, after which publishers do not wait.
                self.placements.settle(topic, topic.shared, True)
        return self.note()

    cdef int pattern_wanted(self, str pattern, bint is_wanted) except -1:
        self.changes[pattern] = is_wanted
        if not is_wanted:
            self.release(pattern)
        return self.note()

    def take_changes(self):
        """Return which names (bytes) and patterns (str) are wanted now, or no more, of those that
        have changed since the last call."""
        self.is_scheduled = False
        changes, self.changes = self.changes, {}
        return changes

    def wanted(self):
        """List all names (bytes) and patterns (str) that are wanted."""
        cdef OrderedTopic topic
        if self.registry is None:
            return []
        return [
            topic.name for topic in self.registry.names.values() if is_wanted_by_name(topic)
        ] + list(self.registry.pattern_links)

    cdef bint keeps_end(self, Link link, object name, const Head* end) except -1:
        if name in self.confirmed or not self.expects(name):
            return False
        self.kept_ends.setdefault(name, []).append(
            (link, PyBytes_FromStringAndSize(<const char*>end, sizeof(Head)))
        )
        return True

    def is_confirmed(self, name):
        """Tell whether the messages of a topic, or of a pattern, come from other hosts."""
        return name in self.confirmed

    def confirm(self, name):
        """Note that the messages of a topic, or of a pattern, come from other hosts from here on.
        """
        cdef OrderedTopic topic
        self.confirmed.add(name)
        self.release(name)
        if isinstance(name, str):
            # What came by it before has been followed for a while by nobody.
            for topic in self.registry.names.values():
                if topic.shared is not None and topic.epoch and not is_wanted_by_name(topic):
                    self.logs.begin_read(topic, False)
        elif (topic := self.registry.names.get(name)) is not None and topic.shared is not None:
            self.logs.begin_read(topic, is_kept_whole(topic))
            self.streams.answer_waiting(name)   # it has become a stream meanwhile
        else:
            self.streams.look(name)

    def unconfirm(self, name):
        """Note that they come no more."""
        cdef OrderedTopic topic = self.registry.names.get(name)
        self.confirmed.discard(name)
        if topic is not None and topic.shared is not None:
            self.logs.leave(topic)

    cdef int release(self, object name) except -1:
        """Answer the links that have waited for a topic."""
        cdef bytes end
        for link, end in self.kept_ends.pop(name, ()):
            write_answer(<Link>link, <const Head*>PyBytes_AS_STRING(end), NULL, 0)
        return 0

    def expect(self):
        """Note that the broker is there: topics are confirmed as they come."""
        self.is_expected = self.is_to_declare = True

    def lose(self):
        """Note that the broker has gone, or was not found: nobody waits for it."""
        self.is_expected = False
        self.confirmed.clear()
        self.logs.lose()
        self.presence.lose()
        self.streams.lose()
        for name in list(self.kept_ends):
            self.release(name)

    # ---- a broker of several shards

    def have_shards(self, is_away):
        """Note that the broker is a cluster: `is_away` tells of the name of a topic, or of a
        pattern, whether a shard is away from which it comes. Nobody waits for that."""
        self.is_away = self.placements.is_away = is_away

    cdef bint expects(self, object name) except -1:
        """Tell whether the messages of a topic, or of a pattern, are going to come."""
        return self.is_expected and (self.is_away is None or not self.is_away(name))

    def lose_shard(self, is_lost):
        """Note that the topics have gone of which `is_lost` says so, and with them all patterns of
        which it does; the empty name is that of broadcasts, and of what hosts tell each other."""
        for name in [name for name in self.confirmed if is_lost(name)]:
            self.confirmed.discard(name)
        self.logs.lose_shard(is_lost)
        if is_lost(b""):
            self.presence.lose()
        self.streams.lose_shard(is_lost)
        for name in [name for name in self.kept_ends if is_lost(name)]:
            self.release(name)

    # ---- topics whose places are the broker's

    cdef int share_log(self, OrderedTopic topic) except -1:
        topic.shared = SharedLog()
        topic.epoch = 0
        return 0

    cdef int drop_log(self, OrderedTopic topic, object log) except -1:
        self.placements.settle(topic, log, True)
        return self.logs.answer_waiting(topic, log)

    cdef bint keeps_subscription(
        self, OrderedTopic topic, Link link, const Head* head
    ) except -1:
        cdef SharedLog log = topic.shared
        if log is None:
            return not topic.stream and not topic.has_presence and self.streams.keeps_subscription(
                topic, link, head, topic.name in self.confirmed, self.expects(topic.name)
            )
        # Who asks for what was missed is answered when that is known: nothing is published before.
        cdef bint has_all = log.is_whole or not is_kept_whole(topic)
        if log.is_live and has_all or log.is_refused:
            return False
        if not head.flags & SINCE and (has_all or not topic.stream) and not self.expects(
            topic.name
        ):
            return False
        self.logs.keep_subscription(topic, link, head)
        if topic.name in self.confirmed and not (log.is_reading and has_all):
            self.logs.begin_read(topic, is_kept_whole(topic))
        return True

    cdef int stop_keeping(self, OrderedTopic topic, Link link) except -1:
        if topic.shared is None:
            return self.streams.forget_link(topic.name, link)
        return (<SharedLog>topic.shared).forget_link(link)

    cdef int submit(
        self, Link link, OrderedTopic topic, const Head* head, const uint8_t* payload, size_t size
    ) except -1:
        if topic.stream is not None or topic.shared is None:
            return self.streams.submit(link, topic, head, payload, size)
        return self.placements.submit(link, topic, head, payload, size)

    # ---- streams

    cdef int abort_stream(self, OrderedTopic topic) except -1:
        return self.streams.abort(topic)

    cdef int check_watched(self, OrderedTopic topic) except -1:
        return self.streams.check_watched(topic)

    cdef int know_producer(self, OrderedTopic topic, bytes host) except -1:
        return self.streams.know_producer(topic, host)

    def hear(self, bytes message):
        """Take what another host has said of its members, or of streams."""
        if not self.streams.hear(message):
            self.presence.hear(message)

    # ---- what is declared

    cdef int settings_changed(self) except -1:
        self.is_to_declare = True
        return self.note()

    def declare_again(self):
        """Have the broker told again what the application has declared."""
        self.settings_changed()

    def take_declarations(self):
        """Return what programs that are no hosts are to know now of topics: the name or pattern,
        and what is kept, as messages, bytes, seconds (0: for ever); None: it is plain. Where no
        topic is anything else, there is nothing to know."""
        cdef TopicSettings settings
        cdef list found = []
        cdef bint is_needed = False
        if not self.is_to_declare:
            return found
        self.is_to_declare = False
        for pattern in self.registry.declared:
            settings = read_settings(self.registry.declared[pattern])
            bounds = bounds_of_settings(settings)
            is_needed = is_needed or bounds is not None
            found.append((pattern, bounds))
        return found if is_needed else []

    # ---- members

    cdef int use_presence(self) except -1:
        return self.presence.use()

    cdef int member_joined(self, OrderedTopic topic, bytes key, bytes data) except -1:
        return self.presence.joined(topic.name, key, data)

    cdef int member_left(self, OrderedTopic topic, bytes key, object member) except -1:
        return self.presence.left(topic, key, member)

    # ---- what leaves

    cdef int publish(
        self, bytes name, const Head* head, const uint8_t* payload, size_t size
    ) except -1:
        cdef Parts parts
        cdef bytes begin, meta
        split_payload(payload, size, head.flags, &parts)
        if self.messages and self.message_size + parts.message_size > self.room():
            self.dropped_count += 1
            return 0
        begin = b"1t " if head.flags & TEXT else b"1b "
        begin += self.host_name
        if head.flags & (META | ID):
            meta = describe(payload, head.flags, &parts)
            if meta is None:
                self.bad_count += 1
                return 0
            begin += b" " + meta
        message = begin + b"\n" + (<const char*>parts.message)[:parts.message_size]
        self.messages.append((name, message))
        self.message_size += PyBytes_GET_SIZE(message) + MESSAGE_COST
        self.published_count += 1
        return self.note()

    cdef size_t room(self) noexcept:
        """Return how many bytes may wait: while the broker is there, more, as they wait for the end
        of the turn, perhaps behind a large message."""
        return self.queue_size + (MAX_RECORD_SIZE if self.is_expected else 0)

    def take_messages(self):
        """Return the messages that leave, as (name, bytes): they are the caller's from then on."""
        messages, self.messages = self.messages, []
        self.message_size = 0
        return messages

    def drop_waiting(self):
        """Drop the messages that wait for the broker."""
        self.dropped_count += len(self.messages)
        self.take_messages()

    # ---- what comes

    def take(self, bytes name, bytes message):
        """Take a message of another host; return whether it was one of a topic that is wanted."""
        return self.take_message(
            <const uint8_t*>PyBytes_AS_STRING(name), PyBytes_GET_SIZE(name),
            <const uint8_t*>PyBytes_AS_STRING(message), PyBytes_GET_SIZE(message),
        )

    def broadcast(self, bytes message):
        """Take a broadcast of another host."""
        self.take_broadcast(
            <const uint8_t*>PyBytes_AS_STRING(message), PyBytes_GET_SIZE(message)
        )

    def count_bad(self):
        """Count something that has come and was no message."""
        self.bad_count += 1

    cdef bint take_message(
        self, const uint8_t* name, size_t name_size, const uint8_t* data, size_t size
    ) except -1:
        cdef Parcel parcel
        cdef Head head
        cdef OrderedTopic topic
        cdef bytes whole
        if is_part(data, size):
            whole = self.join((<const char*>name)[:name_size], data, size)
            return False if whole is None else self.take(
                (<const char*>name)[:name_size], whole
            )
        if size > 3 and (data[1] == b"o" or data[1] == b"s"):
            return self.take_placed(name, name_size, data, size)
        if not self.open_parcel(data, size, &parcel):
            return False
        topic = self.find_topic((<const char*>name)[:name_size], False)
        if topic is None:
            return False
        want_current(self.registry, topic)
        if not topic.want_count:
            self.registry.forget_if_unused(topic)
            return False
        memset(&head, 0, sizeof(head))
        head.type = MSG
        head.topic = topic.number
        if self.unpack(&parcel, &head) == 0:
            topic.has_messages = True
            self.heard_count += 1
            relay(
                topic, &head, self.scratch.data + self.scratch.begin if parcel.meta_size
                else parcel.message, self.scratch.size if parcel.meta_size else parcel.size, None,
            )
        return True

    cdef bint take_placed(
        self, const uint8_t* name, size_t name_size, const uint8_t* data, size_t size
    ) except -1:
        """Take a message that has its place in a log of the broker's, or the news that it has."""
        cdef uint64_t epoch, offset
        cdef OrderedTopic topic
        cdef size_t begin = read_place(data, size, &epoch, &offset)
        if not begin:
            self.bad_count += 1
            return False
        topic = self.registry.names.get((<const char*>name)[:name_size])
        if topic is not None and topic.shared is None and data[1] == b"s" and not is_sequenced(
            topic
        ):
            if not self.streams.heard_first(topic, epoch, offset):
                return False
        topic = self.find_topic((<const char*>name)[:name_size], True, data[1] == b"s")
        if topic is None:
            return False
        want_current(self.registry, topic)
        if not topic.want_count and not (<SharedLog>topic.shared).is_live:
            self.registry.forget_if_unused(topic)
            return False
        self.logs.heard(
            topic, epoch, offset, NULL if size == begin else data + begin, size - begin
        )
        return True

    cdef OrderedTopic find_topic(self, bytes name, bint has_log, bint is_stream=False):
        """Return a topic that some link may want; None: there is none, or it takes no such messages
        of other hosts: those of a topic have a place in a log, or none has."""
        cdef OrderedTopic topic = self.registry.names.get(name)
        if topic is None:
            if not self.registry.wanted.count:
                return None
            decoded = None
            try:
                decoded = check_topic_name(name.decode(), MAX_NAME_SIZE)
            except BAD_CONTENT:
                self.bad_count += 1
            if decoded is None or not self.registry.wanted.match(decoded):
                return None
            topic = self.registry.intern(name)
            if topic is None:
                self.bad_count += 1
                return None
            if is_stream and not is_sequenced(topic):
                self.streams.heard_first(topic, 0, 0)
        if (
            (topic.stream is not None) != is_stream or (topic.shared is not None) != has_log
            or is_sequenced(topic) and not has_log
        ):
            self.bad_count += 1
            return None
        return topic

    cdef int take_broadcast(self, const uint8_t* data, size_t size) except -1:
        cdef Parcel parcel
        cdef Head head
        cdef Link link
        cdef bytes whole
        if is_part(data, size):
            whole = self.join(b"", data, size)
            if whole is not None:
                self.broadcast(whole)
            return 0
        if not self.open_parcel(data, size, &parcel):
            return 0
        memset(&head, 0, sizeof(head))
        head.type = BROADCAST
        if self.unpack(&parcel, &head) != 0:
            return 0
        self.heard_count += 1
        for link in self.registry.links.values():
            if link.is_worker:
                write_broadcast(
                    link, &head, self.scratch.data + self.scratch.begin if parcel.meta_size
                    else parcel.message, self.scratch.size if parcel.meta_size else parcel.size,
                )
        return 0

    cdef bytes join(self, bytes name, const uint8_t* data, size_t size):
        """Take a part of a large message; return all of it with the last one, else None."""
        cdef size_t host_size = PyBytes_GET_SIZE(self.host_name)
        cdef bytes whole
        if size > host_size + 4 and data[3 + host_size] == b" " and not memcmp(
            data + 3, PyBytes_AS_STRING(self.host_name), host_size
        ):
            self.echo_count += 1
            return None
        whole = None
        try:
            whole = self.partial.take(name, (<const char*>data)[:size])
        except ValueError:
            self.bad_count += 1
        if whole is not None and whole.startswith(b"1p"):
            self.bad_count += 1
            return None
        return whole

    cdef bint open_parcel(self, const uint8_t* data, size_t size, Parcel* parcel) except -1:
        """Read a message; False: it is bad, or one of our own that comes back."""
        if size > MAX_RECORD_SIZE - HEAD_SIZE or not read_parcel(data, size, parcel):
            self.bad_count += 1
            return False
        if parcel.host_size == <size_t>PyBytes_GET_SIZE(self.host_name) and not memcmp(
            parcel.host, PyBytes_AS_STRING(self.host_name), parcel.host_size
        ):
            self.echo_count += 1
            return False
        if not is_sound(parcel):
            self.bad_count += 1
            return False
        return True

    cdef int unpack(self, const Parcel* parcel, Head* head) except -1:
        """Set the flags, and put the payload together in `scratch` where there is a meta; 1: that
        is bad."""
        if write_payload(parcel, head, &self.scratch):
            self.bad_count += 1
            return 1
        return 0

    # ---- how the way is

    def tell(self, bytes state):
        """Tell all workers how the way to other hosts is, in JSON."""
        cdef Link link
        self.told = state
        if self.registry is not None:
            for link in self.registry.links.values():
                if link.is_worker:
                    self.welcome(link)

    cdef int welcome(self, Link link) except -1:
        cdef Head head
        if not self.told:
            return 0
        memset(&head, 0, sizeof(head))
        head.type = BROKER
        return write_answer(
            link, &head, <const uint8_t*>PyBytes_AS_STRING(self.told),
            PyBytes_GET_SIZE(self.told),
        )

"""The topics of a server, on this worker: who hears what, and how it is handed to them.

A message is made at most once for each kind of subscribers, and leaves as a broadcast does: framed
and compressed once, with everything else of this turn of the loop.
"""

from libc.stdint cimport uint8_t

from sockwave.core.io.slow_peer cimport CLOSE_SLOW, CONFLATE, is_expendable, policy_of
from sockwave.core.protocol.framing cimport check_compress, payload_of
from sockwave.core.session.closing cimport CONNECTED, closed_error
from sockwave.core.session.shared cimport SharedMessage, share_message
from sockwave.core.topics.publication cimport Publication
from sockwave.core.topics.rendering cimport LOST, WHOLE
from sockwave.core.topics.subscribers cimport (
    COMMANDS, PLAIN, end_walk, join, leave, leave_at,
)
from sockwave.core.topics.wildcards cimport check_pattern, check_topic_name, is_pattern

from sockwave.deliveries import Subscribed, json_envelope
from sockwave.errors import SockwaveError

#: The subprotocol whose clients subscribe and publish by commands: docs/sockwave.1.md.
COMMANDS_SUBPROTOCOL = "sockwave.1"


cdef class TopicTable:
    """The topics of a server, on this worker."""

    def __cinit__(self, host, limits, str slow):
        self.host = host
        self.topics = {}
        self.patterns = Patterns()
        self.subscribed = Subscribing(Subscribed(None, False))
        self.policy = policy_of(slow, None, 0)
        self.subscription_count = limits.subscription_count
        self.pattern_count = limits.pattern_count
        self.name_size = limits.topic_name_size
        self.topic_count = limits.topic_count

    # ---- subscribing

    def subscribe(self, Connection connection, name):
        """Let a connection hear a topic, or all that a pattern matches; return an awaitable of a
        Subscribed."""
        cdef Subscribers topic = self.topics.get(name) if type(name) is str else None
        if connection.state != CONNECTED:
            raise closed_error(connection)
        if topic is None:
            topic = self.make(name)
        topic.is_used = True
        if topic.is_sequenced or self.uplink is not None and self.uplink.is_remote:
            return self.host.subscribe(connection, topic)
        self.enter(connection, topic)
        return self.subscribed

    def subscribe_with(self, Connection connection, name, since, member, data):
        """The same, behind what was missed `since` a position, as a member."""
        cdef Subscribers topic = self.topics.get(name) if type(name) is str else None
        if connection.state != CONNECTED:
            raise closed_error(connection)
        if topic is None:
            topic = self.make(name)
        topic.is_used = True
        return self.host.subscribe(connection, topic, since, member, data)

    def attend(self, Connection connection):
        """Take the commands of a connection that speaks `sockwave.1`."""
        self.host.attend(connection)

    cpdef bint admit(self, Connection connection, Subscribers topic) except -1:
        """Raise SockwaveError where a connection cannot have one more topic; return whether it
        hears this one already."""
        if connection.subscriptions is None:
            connection.subscriptions = Subscriptions(
                connection.chosen_subprotocol == COMMANDS_SUBPROTOCOL
            )
        if (<Subscriptions>connection.subscriptions).find(connection, topic) >= 0:
            return True
        self.check_room(connection, topic)
        return False

    cdef int enter(self, Connection connection, Subscribers topic) except -1:
        """Add a connection to the subscribers of a topic, unless it is one."""
        if not self.admit(connection, topic):
            self.add(connection, topic)
        return 0

    def subscriptions_of(self, Connection connection):
        """Return the Subscriptions of a connection that has been admitted."""
        return connection.subscriptions

    def suspend(self, Connection connection, Subscribers topic):
        """Take a connection out of a topic, to which it will come back."""
        leave(connection, topic)

    def look_if_empty(self, Subscribers topic):
        """See whether a topic has any subscriber left."""
        if not topic.size() and self.topics.get(topic.name) is topic:
            self.emptied(topic)

    def plain_connections(self, Subscribers topic):
        """List the connections that hear a topic by its name, and do not speak `sockwave.1`."""
        return [
            <Connection>topic.places[i].connection for i in range(topic.count)
            if topic.places[i].connection is not NULL and topic.places[i].kind == PLAIN
        ]

    def send_commands(self, Subscribers topic, str frame):
        """Send a frame of `sockwave.1` to all who hear a topic here and speak that."""
        cdef SharedMessage shared = share_message(frame, None, CLOSE_SLOW, None)
        cdef uint32_t i
        cdef uint32_t end = topic.count
        topic.walk_count += 1
        try:
            for i in range(end):
                if topic.places[i].connection is not NULL and topic.places[i].kind == COMMANDS:
                    shared.send_to(<Connection>topic.places[i].connection)
        finally:
            end_walk(topic)

    cpdef int add(self, Connection connection, Subscribers topic) except -1:
        """Add a connection, which `admit` has let in, to the subscribers of a topic."""
        cdef Subscriptions mine = connection.subscriptions
        if topic.is_pattern and not topic.count:
            self.patterns.add(topic.name, topic)
        join(connection, topic, COMMANDS if mine.has_commands else PLAIN)
        if topic.settings.has_presence:
            self.host.presence.look_after(topic)
        return 0

    cdef int check_room(self, Connection connection, Subscribers topic) except -1:
        cdef Subscriptions mine = connection.subscriptions
        most = topic.settings.max_subscribers
        if mine.count + (0 if mine.replays is None else len(mine.replays)) >= (
            self.subscription_count
        ):
            self.refuse(
                connection, "subscription_count",
                f"expected at most {self.subscription_count} topics of one connection",
            )
        if topic.is_pattern and mine.pattern_count >= self.pattern_count:
            self.refuse(
                connection, "pattern_count",
                f"expected at most {self.pattern_count} patterns of one connection",
            )
        if most is not None and topic.size() >= most:
            raise SockwaveError(
                f"subscribe: topic {topic.name!r} has room for {most} subscribers (max_subscribers)"
            )
        return 0

    def refuse(self, Connection connection, str limit, str sentence):
        """Count that a limit was applied, and raise SockwaveError."""
        self.host.count_limit(limit)
        raise SockwaveError(f"subscribe: {sentence} ({limit})")

    cpdef bint unsubscribe(self, Connection connection, name) except -1:
        """Let a connection no longer hear a topic or pattern; return whether it did."""
        cdef Subscribers topic = self.topics.get(name) if type(name) is str else None
        cdef Subscriptions mine = connection.subscriptions
        cdef bint was_one
        if topic is None or mine is None:
            if type(name) is not str:
                check_pattern(name, self.name_size)
            return False
        was_one = leave(connection, topic)
        if mine.replays is not None and topic.name in mine.replays:
            self.host.replays.end(connection, topic.name)
            was_one = True
        if mine.members is not None and topic.name in mine.members:
            self.host.presence.leave(connection, topic)
        if was_one and not topic.size():
            self.emptied(topic)
        return was_one

    def leave_all(self, Connection connection):
        """Take a connection out of all its topics: it has ended."""
        cdef Subscriptions mine = connection.subscriptions
        cdef Subscribers topic
        if mine.replays:
            for name in list(mine.replays):
                self.host.replays.end(connection, name)
        if mine.members:
            for name in list(mine.members):
                self.host.presence.leave(connection, self.topics[name])
        while mine.count:
            topic = <Subscribers>mine.held[mine.count - 1].topic
            leave_at(mine, mine.count - 1)
            if not topic.size():
                self.emptied(topic)
        connection.subscriptions = None

    cdef int emptied(self, Subscribers topic) except -1:
        """A topic has no subscriber here any more."""
        if topic.is_pattern:
            self.patterns.remove(topic.name)
        if topic.settings.has_presence:
            self.host.presence.deserted(topic)
        if self.uplink is not None and (self.uplink.is_remote or topic.is_sequenced):
            self.uplink.unwant(topic)       # and `sweep` forgets it
        else:
            del self.topics[topic.name]
        return 0

    def names_of(self, Connection connection):
        """List the topics and patterns that a connection hears, in alphabetical order."""
        cdef Subscriptions mine = connection.subscriptions
        return [] if mine is None else sorted(mine.names())

    # ---- topics

    cdef Subscribers make(self, object name):
        """Return what is new here: a topic or a pattern that nobody has heard yet."""
        cdef Subscribers topic
        check_pattern(name, self.name_size)
        if len(self.topics) >= self.topic_count:
            self.host.count_limit("topic_count")
            raise SockwaveError(f"topic: expected at most {self.topic_count} topics (topic_count)")
        topic = Subscribers(name, is_pattern(name), self.host.settings_for(name))
        self.topics[name] = topic
        return topic

    def provide(self, name):
        """Return a topic or a pattern, which is made if it is new."""
        cdef Subscribers topic = self.topics.get(name) if type(name) is str else None
        return self.make(name) if topic is None else topic

    cpdef Subscribers find(self, object name):
        """Return a topic, which is made if it is new."""
        cdef Subscribers topic = self.topics.get(name) if type(name) is str else None
        if topic is None:
            check_topic_name(name, self.name_size)
            topic = self.make(name)
        topic.is_used = True
        return topic

    def sweep(self):
        """List the topics that were not used since the last call, and have no subscriber."""
        cdef Subscribers topic
        cdef list unused = []
        for topic in self.topics.values():
            if not topic.is_used and not topic.size():
                unused.append(topic)
            topic.is_used = False
        return unused

    def forget(self, Subscribers topic):
        """Forget a topic that has no subscriber."""
        if self.topics.get(topic.name) is topic:
            del self.topics[topic.name]

    # ---- publishing

    def publish(
        self, name, message, Session besides=None, str id=None, *, compress=None, slow=None,
        key=None,
    ):
        """Publish a message; return a Publication."""
        cdef Subscribers topic = self.topics.get(name) if type(name) is str else None
        cdef Rendering rendering
        cdef Publication publication
        cdef const uint8_t* data
        cdef size_t size
        cdef int opcode
        if topic is None:
            check_topic_name(name, self.name_size)
            topic = self.make(name)
        elif topic.is_pattern:
            check_topic_name(name)      # raises
        topic.is_used = True
        if topic.is_sequenced:
            return self.host.publishing.publish_sequenced(
                topic, message, besides, id, compress, slow, key
            )
        if id is not None:
            raise ValueError(
                f"id: expected with a topic that has a history, given for {name!r}, which has none"
            )
        check_compress(compress)
        payload_of(message, &data, &size, &opcode)
        if self.uplink is not None and self.uplink.is_refusing:
            self.host.reach.check_publishing()  # raises
        rendering = self.render(topic, message)
        rendering.compress = compress
        if slow is not None or key is not None:
            rendering.policy = policy_of(slow, key, rendering.policy)
            rendering.key = key
        publication = Publication.__new__(Publication)
        publication.local_count = self.deliver(topic, rendering, besides)
        publication.is_done = True
        if self.uplink is not None and self.uplink.is_remote:
            self.host.publishing.relay(topic, message, compress, slow, key)
        elif not topic.size() and self.topics.get(name) is topic:
            del self.topics[name]
        return publication

    def append(self, name, delta):
        """Append to a stream; return a Publication."""
        cdef Subscribers topic = self.topics.get(name) if type(name) is str else None
        if topic is None or not topic.is_stream or self.submissions is None:
            return self.host.publishing.append(name, delta)
        return self.submissions.append(topic, delta)

    cdef Rendering render(self, Subscribers topic, object message):
        """Prepare a message of a topic for its subscribers."""
        cdef Rendering rendering = Rendering.__new__(Rendering)
        rendering.topic = topic.name
        rendering.envelope = topic.settings.envelope
        rendering.message = message
        rendering.content = WHOLE
        rendering.policy = self.policy if topic.policy < 0 else topic.policy
        if rendering.policy == CONFLATE:
            self.find_key(topic, rendering)
        return rendering

    cdef Rendering render_raw(self, Subscribers topic, int content, bytes raw, bint is_text):
        """Prepare a message for its subscribers, as the sequencer has sent it."""
        cdef Rendering rendering = Rendering.__new__(Rendering)
        rendering.topic = topic.name
        rendering.envelope = topic.settings.envelope
        rendering.raw = raw
        rendering.is_text = is_text
        rendering.content = content
        rendering.policy = self.policy if topic.policy < 0 else topic.policy
        if content == WHOLE:
            if rendering.policy == CONFLATE:
                self.find_key(topic, rendering)
            return rendering
        if is_expendable(rendering.policy):
            rendering.policy = CLOSE_SLOW       # a stream with a piece missing is none
        if rendering.envelope is None and content != LOST:
            rendering.envelope = json_envelope  # else a client could not tell what has come
        return rendering

    cdef int find_key(self, Subscribers topic, Rendering rendering) except -1:
        """Find what a message that waits for a slow client is replaced by: the next of its key."""
        key = topic.settings.key
        rendering.key = topic.name if key is None else (topic.name, key(rendering.message_of()))
        return 0

    cdef int apply(self, Rendering rendering, dict meta) except -1:
        """Send a message as its publisher has said."""
        key = meta.get("key")
        rendering.compress = meta.get("compress")
        rendering.policy = policy_of(meta.get("slow"), key, rendering.policy)
        if key is not None:
            rendering.key = key
        return 0

    cdef bint send_to(self, Connection connection, Rendering rendering) except -1:
        """Send a message to one connection alone; return whether it was queued."""
        cdef Subscriptions mine = connection.subscriptions
        cdef SharedMessage shared
        shared = rendering.of_kind(COMMANDS if mine is not None and mine.has_commands else PLAIN)
        return shared is not None and shared.send_to(connection)

    cpdef Py_ssize_t count(self, Subscribers topic) except -1:
        """Count the connections that hear a topic here, by its name or by a pattern."""
        cdef uint32_t i
        cdef set heard
        cdef list matches = self.matches_of(topic) if self.patterns.count else None
        if not matches:
            return topic.size()
        heard = set()
        for subscribers in [topic, *matches]:
            for i in range((<Subscribers>subscribers).count):
                heard.add(<size_t>(<Subscribers>subscribers).places[i].connection)
        heard.discard(0)
        return len(heard)

    cdef list matches_of(self, Subscribers topic):
        """Return the patterns with subscribers that match a topic."""
        if topic.generation != self.patterns.generation or topic.matches is None:
            topic.matches = self.patterns.match(topic.name)
            topic.generation = self.patterns.generation
        return topic.matches

    cdef Py_ssize_t deliver(
        self, Subscribers topic, Rendering rendering, Session besides
    ) except -1:
        """Hand a message to all who hear its topic here, but `besides`; return for how many it was
        queued. Who hears it twice, by patterns, gets it once."""
        cdef list matches = None
        cdef Py_ssize_t count
        cdef uint64_t stamp = 0
        if self.patterns.count:
            matches = self.matches_of(topic)
            if matches:
                self.stamp += 1
                stamp = self.stamp
        count = self.walk(topic, rendering, besides, stamp)
        if stamp:
            for pattern in matches:
                count += self.walk(pattern, rendering, besides, stamp)
        return count

    cdef Py_ssize_t walk(
        self, Subscribers subscribers, Rendering rendering, Session besides, uint64_t stamp
    ) except -1:
        """Hand a message to the subscribers of one topic or pattern. They may come and go
        meanwhile, as a listener hears of the end of a slow client."""
        cdef Connection connection
        cdef Subscriptions mine
        cdef SharedMessage shared
        cdef Py_ssize_t count = 0
        cdef uint32_t i
        cdef uint32_t end = subscribers.count
        subscribers.walk_count += 1
        try:
            for i in range(end):
                if subscribers.places[i].connection is NULL:
                    continue
                connection = <Connection>subscribers.places[i].connection
                if connection is besides:
                    continue
                if stamp:
                    mine = connection.subscriptions
                    if mine.stamp == stamp:
                        continue
                    mine.stamp = stamp
                    if mine.replays is not None and rendering.topic in mine.replays:
                        continue        # it gets this one behind those that it has missed
                if subscribers.places[i].kind == PLAIN:
                    shared = rendering.plain
                else:
                    shared = rendering.commands
                if shared is None:
                    shared = rendering.of_kind(subscribers.places[i].kind)
                    if shared is None:
                        continue
                count += shared.send_to(connection)
        finally:
            end_walk(subscribers)
        return count

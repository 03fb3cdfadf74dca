"""The members that topics have on all hosts: each host tells the others of its own.

What a host says begins with `1m HOST NUMBER KIND\\n`. NUMBER counts its changes: who has missed one
asks for all of its members. Each host beats, about once a second; of one that does not for some
time, all members leave. Nothing of what comes is trusted.
"""

import json

from libc.string cimport memset

from sockwave.core.topics.presence cimport join, leave
from sockwave.core.topics.records cimport Head, free_buffer
from sockwave.core.topics.wildcards cimport check_topic_name

cdef enum:
    MAX_HOST_COUNT = 1000
    MAX_NAME_SIZE = 255
    MAX_KEY_SIZE = 255
    MAX_DATA_SIZE = 4096
    # Bytes of members in one message, about.
    PART_SIZE = 64 << 10
    # So many beats of ours after it was heard, a host has gone: a beat is 0.8 seconds.
    MAX_SILENT_COUNT = 4

cdef bytes ALL = b"*"

cdef tuple BAD_CONTENT = (AttributeError, TypeError, ValueError, RecursionError)


cdef class OtherHost:
    """One other host, and how much of its members we know."""


cdef class SharedPresence:
    """The members of all hosts. `note` is called when there is something for the broker's client;
    `host` is the name of this one, 16 hex digits."""

    def __cinit__(self, note, bytes host):
        self.note = note
        self.host = host
        self.own = {}
        self.changes = {}
        self.others = {}
        self.asked = []

    cdef int use(self) except -1:
        """Note that some topic has presence: from now on we tell, and hear."""
        if not self.is_used:
            self.is_used = self.is_to_ask = self.is_to_show = True
            self.note()
        return 0

    # ---- our own members

    cdef int joined(self, bytes topic, bytes key, bytes data) except -1:
        """A worker of ours has joined with a member, or has given it other data."""
        if self.own.get((topic, key)) == data:
            return 0
        self.own[topic, key] = data
        return self.note_change(topic, key, data)

    cdef int note_change(self, bytes topic, bytes key, bytes data) except -1:
        """Have others told of a member; None: it has left."""
        if self.is_connected:
            self.changes[topic, key] = data     # else they are told of all, later
            self.note()
        return 0

    cdef int left(self, OrderedTopic topic, bytes key, Member member) except -1:
        """A worker of ours has left with a member, which others may have yet."""
        cdef Link link
        if (topic.name, key) not in self.own:
            return 0
        for number in (member.link, *(member.other_links or ())):
            link = self.registry.links.get(number)
            if link is not None and link.is_worker:
                return 0
        del self.own[topic.name, key]
        return self.note_change(topic.name, key, None)

    def connected(self):
        """Note that the broker is there: what was said meanwhile has not come."""
        cdef OtherHost other
        self.is_connected = True
        self.is_to_ask = self.is_to_show = True
        self.was_shown = False
        for other in self.others.values():
            other.silent_count = 0

    def lose(self):
        """Note that the broker has gone: others will be told all, later."""
        self.is_connected = False
        self.asked.clear()
        self.changes.clear()
        self.number += 1                    # others may not have heard the last one

    def take_messages(self):
        """Return what other hosts are to be told now."""
        cdef list messages = []
        if not self.is_connected or not self.is_used:
            return messages
        for name in (ALL,) if self.is_to_ask else self.asked:
            messages.append(b"1m %b %d a\n%b" % (self.host, self.number, name))
        self.is_to_ask = False
        self.asked.clear()
        if self.changes:
            changes, self.changes = self.changes, {}
            for part in cut(changes):
                self.number += 1
                messages.append(b"1m %b %d c\n%b" % (self.host, self.number, part))
        if self.is_to_show and not self.was_shown:
            self.is_to_show = False
            self.was_shown = True
            parts = cut(self.own) or [b"[]"]
            for index, part in enumerate(parts):
                messages.append(
                    b"1m %b %d s %d %d\n%b" % (self.host, self.number, index, len(parts), part)
                )
        return messages

    def beat(self):
        """Return what tells others that we are there, once a tick; those that have been silent for
        long have gone."""
        cdef OtherHost other
        self.was_shown = False
        self.registry.look_at_clock()
        for name, other in list(self.others.items()):
            other.silent_count += 1
            other.is_asked = False
            if other.silent_count > MAX_SILENT_COUNT:
                self.forget(name)
        if self.beaten is not None:
            self.beaten()
        if self.is_to_show:
            self.note()
        return b"1m %b %d h\n" % (self.host, self.number)

    def excuse(self):
        """Note that the broker was not heard since the last tick: others were silent for no reason
        of theirs."""
        cdef OtherHost other
        for other in self.others.values():
            other.silent_count = max(other.silent_count - 1, 0)

    def farewell(self):
        """Return what tells others that we are no more."""
        return b"1m %b %d x\n" % (self.host, self.number)

    # ---- the members of others

    def hear(self, bytes message):
        """Take what another host has said."""
        if not self.is_used:
            return
        self.registry.look_at_clock()
        try:
            self.take(message)
        except BAD_CONTENT:
            self.bad_count += 1

    cdef int take(self, bytes message) except -1:
        """Raise an error of BAD_CONTENT for what no host says."""
        cdef OtherHost other
        cdef uint64_t number
        cdef list words
        line, _, said = message.partition(b"\n")
        words = line.split(b" ")
        if len(words) < 4 or words[0] != b"1m" or len(words[1]) != 16:
            raise ValueError("expected what a host says of its members")
        name, number, kind = words[1], read_number(words[2]), words[3]
        if name == self.host:
            return 0
        if kind == b"x":
            return self.forget(name)
        if kind == b"a":
            if said == ALL or said == self.host:
                self.is_to_show = True
                self.note()
            return 0
        other = self.provide(name)
        other.silent_count = 0
        if kind == b"h":
            return self.take_beat(name, other, number)
        if kind == b"c":
            return self.take_changes(name, other, number, said)
        if kind != b"s" or len(words) != 6:
            raise ValueError("expected a kind that is known")
        return self.take_part(other, words, said)

    cdef OtherHost provide(self, bytes name):
        """Return what we know of a host, from now on something."""
        cdef OtherHost other = self.others.get(name)
        if other is not None:
            return other
        if len(self.others) >= MAX_HOST_COUNT:
            raise ValueError(f"expected at most {MAX_HOST_COUNT} hosts")
        int(name, 16)
        other = self.others[name] = OtherHost()
        other.link = self.connect()
        other.link.has_greeted = True       # it is not asked whether it is there: it beats
        return other

    cdef int take_beat(self, bytes name, OtherHost other, uint64_t number) except -1:
        if not other.is_known or number != other.number:
            self.ask(name, other)
        return 0

    cdef int take_changes(
        self, bytes name, OtherHost other, uint64_t number, bytes said
    ) except -1:
        if not other.is_known or number != other.number + 1:
            return self.ask(name, other)    # it comes among all
        found = read_members(said)
        other.number = number
        return self.apply(other, found)

    cdef int take_part(self, OtherHost other, list words, bytes said) except -1:
        """Take a part of all of a host's members; what is not among them has left."""
        cdef uint64_t index = read_number(words[4])
        cdef uint64_t count = read_number(words[5])
        cdef OrderedTopic topic
        if index == 0:
            other.staged = {}
            other.staged_count = 0
        if other.staged is None or index != other.staged_count or index >= count:
            other.staged = None
            raise ValueError("expected the next part of a host's members")
        other.staged.update(read_members(said))
        other.staged_count += 1
        if other.staged_count < count:
            return 0
        found, other.staged = other.staged, None
        other.number = read_number(words[2])
        other.is_known = True
        for topic, keys in other.link.memberships.items():
            for key in keys:
                found.setdefault((topic.name, key), None)
        return self.apply(other, found)

    cdef int ask(self, bytes name, OtherHost other) except -1:
        """Ask a host for all of its members, once a beat."""
        if not other.is_asked:
            other.is_asked = True
            self.asked.append(name)
            self.note()
        return 0

    cdef int apply(self, OtherHost other, dict found) except -1:
        """Have members join and leave with another host."""
        cdef OrderedTopic topic
        cdef Head head
        memset(&head, 0, sizeof(head))
        for (name, key), data in found.items():
            topic = self.registry.names.get(name)
            if data is None:
                if topic is not None:
                    leave(self.registry, other.link, topic, key)
                continue
            if topic is None:
                topic = self.registry.intern(name)
            if topic is not None and topic.has_presence:
                join(self.registry, other.link, topic, &head, key, data)
        return free_buffer(&other.link.output)      # nobody reads there what is refused

    cdef int forget(self, bytes name) except -1:
        """A host has gone: its members leave."""
        cdef OtherHost other = self.others.pop(name, None)
        if other is not None:
            other.link.end()
            if self.gone is not None:
                self.gone(name)
        return 0


cdef list cut(dict members):
    """Return JSON of members, in parts: a list of topic, key, and data as a text, which is missing
    where the member has left."""
    cdef list parts = []
    cdef list entries = []
    cdef size_t size = 0
    for (name, key), data in members.items():
        entry = [name.decode(), key.decode()]
        if data is not None:
            entry.append(data.decode())
        one = json.dumps(entry, separators=(",", ":")).encode()
        entries.append(one)
        size += len(one)
        if size >= PART_SIZE:
            parts.append(b"[%b]" % b",".join(entries))
            entries, size = [], 0
    if entries:
        parts.append(b"[%b]" % b",".join(entries))
    return parts


cdef dict read_members(bytes said):
    """Return (topic, key) → data, or None, of what `cut` has made. Raises TypeError or ValueError
    for anything else."""
    cdef dict found = {}
    for name, key, *rest in json.loads(said):
        name, key = check_topic_name(name, MAX_NAME_SIZE).encode(), key.encode()
        if not 1 <= len(key) <= MAX_KEY_SIZE or len(rest) > 1:
            raise ValueError("expected a key, and data")
        data = None
        if rest:
            data = rest[0].encode()
            if len(data) > MAX_DATA_SIZE:
                raise ValueError("expected less data")
            if data:
                json.loads(data, parse_constant=refuse_constant)
        found[name, key] = data
    return found


def refuse_constant(constant):
    """Refuse what Python reads as JSON, and others do not: NaN and its like."""
    raise ValueError(f"expected JSON, given {constant}")


cdef uint64_t read_number(bytes word) except? 0:
    if not word.isdigit() or len(word) > 18:
        raise ValueError("expected a number")
    return int(word)

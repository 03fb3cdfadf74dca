"""Streams that the broker keeps for all hosts: who begins, watches and ends them.

A delta gets its place from the broker, as a message of a topic with a history does, and what a host
has of a stream is a replica like those of logs. But no setting says that a topic is a stream: where
one is wanted, the broker is asked whether it is. The stream ends with the worker that has begun it,
of which its host tells, or with that host, of which any other one does.

What hosts say of streams begins with `1m HOST NUMBER KIND\\n`, as what they say of members. Nothing
of what comes is trusted.
"""

import json

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from libc.string cimport memset

from sockwave.core.topics.ordered_topic cimport is_sequenced, is_wanted_by_name
from sockwave.core.topics.parcels cimport BAD_CONTENT
from sockwave.core.topics.records cimport (
    ABORTED, DELTA, ID, LAST, Parts, SINCE, TEXT, split_payload,
)
from sockwave.core.topics.registry cimport UNWATCHED_DUE, draw_epoch, want_current
from sockwave.core.topics.relay cimport refuse
from sockwave.core.topics.replay cimport subscribe
from sockwave.core.topics.shared_log cimport SharedLog
from sockwave.core.topics.streams cimport (
    Stream, UNWATCHED_S, dissolve_stream, note_end, objection_of, tell_unwatched,
)
from sockwave.core.topics.wildcards cimport check_topic_name

cdef enum:
    MAX_NAME_SIZE = 255
    # Names in one message of hosts: some tens of KiB.
    NAMES_COUNT = 200
    # So often other hosts are asked whether they watch a stream before it counts as unwatched.
    ASK_COUNT = 3
    # The end of a stream that the broker refuses is sent again every five seconds, for five
    # minutes: by then there may be memory, and a broker that allows none is not asked for ever.
    END_BEAT_COUNT = 6
    END_COUNT = 60

# Other hosts have so long to say that they watch a stream.
cdef double ASK_S = 0.7


cdef class SharedStreams:
    """The streams of all hosts. `note` is called when there is something for the broker's client;
    `host` is the name of this one, 16 hex digits."""

    def __cinit__(
        self, note, Placements placements, SharedLogs logs, SharedPresence presence, bytes host
    ):
        self.note = note
        self.placements = placements
        self.logs = logs
        self.presence = presence
        self.host = host
        self.looked = set()
        self.looks = {}
        self.waiting = {}
        self.asked = []
        self.watched = {}
        self.gone_hosts = []
        self.refusals = {}
        self.refused_ends = []
        presence.gone = self.host_gone
        presence.beaten = self.send_ends_again

    # ---- beginning

    cdef int begin(self, OrderedTopic topic) except -1:
        """Have a topic be a stream from now on, of which nothing is known yet."""
        topic.stream = Stream()
        topic.shared = SharedLog()
        topic.epoch = topic.top = 0
        topic.unwanted_since_s = self.registry.now_s
        self.registry.arm(topic, UNWATCHED_DUE, self.registry.now_s + UNWATCHED_S)
        self.is_used = True
        return self.presence.use()      # whether its producer's host is there, beats tell

    cdef bint heard_first(self, OrderedTopic topic, uint64_t epoch, uint64_t offset) except -1:
        """Take the news that a plain topic is a stream; False: nobody here wants it.

        Its first delta is the beginning of all, where the broker has told that there was none
        before; else the log is read.
        """
        cdef SharedLog log
        want_current(self.registry, topic)
        if not topic.want_count:
            return False
        self.begin(topic)
        log = topic.shared
        if not is_wanted_by_name(topic):
            return True
        if offset == 1:
            topic.epoch = epoch
            log.is_live = log.is_whole = True
        else:
            self.logs.begin_read(topic, True)
        return True

    # ---- appending

    cdef int submit(
        self, Link link, OrderedTopic topic, const Head* head, const uint8_t* payload, size_t size
    ) except -1:
        """Take a delta for the broker, or the end of a stream."""
        cdef Submission submission
        cdef Stream stream = topic.stream
        cdef SharedLog log
        cdef Parts parts
        cdef dict meta = {}
        cdef tuple key = (link.incarnation, head.sequence)
        if head.sequence and self.placements.has(link, key):
            return 0
        reason = None
        if not head.flags & DELTA:
            reason = objection_of(b"delta")
        elif stream is None and topic.has_messages:
            reason = objection_of(b"messages")
        elif stream is not None and stream.is_ended:
            reason = objection_of(b"ended")
        elif not head.flags & ABORTED and self.placements.is_full(size):
            reason = b"the broker does not take what waits for it: expected to append later"
        if reason is not None:
            return refuse(link, head, topic, reason)
        split_payload(payload, size, head.flags, &parts)
        if stream is None:
            self.begin(topic)
            stream, log = topic.stream, topic.shared
            if topic.name in self.looked and is_wanted_by_name(topic):
                log.is_live = log.is_whole = True   # it begins here, unless another host is quicker
        submission = Submission.__new__(Submission)
        submission.is_delta = True
        if not stream.is_begun and not topic.epoch:
            # Whose delta is the first one is the producer. Whoever is not is told so by its place.
            stream.is_begun = submission.is_first = True
            stream.epoch = draw_epoch()
            stream.producer = link
            link.streams.add(topic)
            meta["producer"] = self.host.decode()
        if head.flags & ID:
            submission.id = (<const char*>parts.id)[:parts.id_size]
            meta["id"] = submission.id.decode("utf-8", "replace")
        if head.flags & LAST:
            submission.end = b"a" if head.flags & ABORTED else b"f"
            submission.epoch = stream.epoch if head.flags & ABORTED else 0
            meta["end"] = "aborted" if head.flags & ABORTED else "finished"
        if parts.message_size:
            submission.kind = b"t" if head.flags & TEXT else b"b"
        submission.size = parts.message_size
        return self.placements.put(
            link, topic, head, key, submission, meta, &parts,
        )

    def take_deltas(self):
        """Return the deltas that leave now, as tuples: key, name, parcel, id, the epoch that the
        stream has (if it is the first, and there is none) and the highest offset that is known of
        it, whether another epoch will do, whether it may begin the stream, its kind, the size of
        its message, and how it ends the stream. The parcel of one that has come is empty: it has
        this place, and only its producer is asked for."""
        cdef Submission submission
        cdef OrderedTopic topic
        cdef Stream stream
        cdef list taken = []
        for key in self.placements.take_unsent(True):
            submission = self.placements.submissions.get(key) or self.placements.heard[key]
            topic = self.registry.names.get(submission.name)
            stream = None if topic is None else topic.stream
            epoch, placed, joins = 0, 0, True
            if submission.epoch:            # it has come, or is the end of this stream alone
                epoch, placed, joins = submission.epoch, submission.offset, False
                if stream is not None and stream.epoch == epoch:
                    placed = max(placed, stream.placed)
            elif stream is not None and stream.epoch:
                epoch, placed, joins = stream.epoch, stream.placed, not stream.is_placed
            elif stream is not None and topic.epoch:
                epoch, placed, joins = topic.epoch, topic.top, False
            taken.append((
                key, submission.name, submission.parcel, submission.id, epoch, placed, joins,
                submission.is_first and not submission.offset, submission.kind, submission.size,
                submission.end,
            ))
        return taken

    @property
    def append_size(self):
        """How many bytes of deltas a stream has at most."""
        return self.registry.append_size

    def answered(self, tuple key, uint64_t epoch, uint64_t offset, *, bint is_producer):
        """Note the place that the broker has given to a delta, and whether its worker is the one
        that has begun the stream."""
        cdef Submission submission = self.placements.submissions.get(key)
        cdef OrderedTopic topic
        cdef Stream stream
        if submission is None:
            submission = self.placements.heard.pop(key, None)   # its message was quicker
        self.refusals.pop(key, None)
        if submission is not None:
            topic = self.find_topic(submission, is_producer)
            stream = None if topic is None else topic.stream
            if stream is not None:
                stream.note_place(epoch, offset)
                if submission.is_first and not is_producer and stream.is_of(submission.link):
                    stream.let_go(topic)            # another one has begun it
                if submission.end and not stream.is_ended:
                    self.registry.look_at_clock()
                    note_end(self.registry, topic, stream, submission.end == b"a", 0)
                elif is_producer and not stream.is_ended:
                    self.take_over(topic, submission.link)
        self.placements.answered(key, epoch, offset)

    cdef OrderedTopic find_topic(self, Submission submission, bint is_producer):
        """Return the topic of a delta that has its place; None: there is none. A stream that has
        been forgotten here, as no link wanted it, begins again where its producer is a worker of
        ours: it has to end with that."""
        cdef OrderedTopic topic = self.registry.names.get(submission.name)
        if not is_producer or submission.end or topic is not None and topic.stream is not None:
            return topic
        topic = self.registry.intern(submission.name)
        if topic is None:
            return None
        if is_sequenced(topic):             # it has been declared with a history since
            self.registry.forget_if_unused(topic)
            return None
        self.registry.look_at_clock()
        self.begin(topic)
        if is_wanted_by_name(topic):
            self.logs.begin_read(topic, True)
        return topic

    cdef int take_over(self, OrderedTopic topic, Link link) except -1:
        """Note that the worker of a link produces a stream: it may have had another sequencer. If
        the link has ended meanwhile, so does the stream."""
        cdef Stream stream = topic.stream
        stream.is_ours = True
        if stream.is_of(link):
            return 0
        stream.let_go(topic)                # of another worker, which might have begun it
        stream.producer = link
        link.streams.add(topic)
        return self.abort(topic) if link.is_ended else 0

    def refused(self, tuple key, bytes code):
        """Note that a delta cannot be appended, and why, in a word."""
        cdef Submission submission = self.placements.submissions.get(key)
        cdef OrderedTopic topic = (
            None if submission is None else self.registry.names.get(submission.name)
        )
        cdef Stream stream = None if topic is None else topic.stream
        if stream is not None and submission.epoch in (0, stream.epoch):
            self.registry.look_at_clock()
            if code == b"lost":
                self.logs.lose_stream(topic)
            elif code == b"ended" and not stream.is_ended and not (
                (<SharedLog>topic.shared).is_live
            ):
                note_end(self.registry, topic, stream, True, 0)
            elif submission.is_first and not stream.is_placed:
                self.dissolve(topic)
        if submission is not None and self.keeps_end(key, submission, code):
            return
        self.refusals.pop(key, None)
        if code != b"ended" and stream is not None and submission.end == b"a" and (
            submission.epoch == stream.epoch
        ):
            stream.is_aborting = False
        self.placements.refuse_with(key, objection_of(code, self.registry.append_size))

    cdef bint keeps_end(self, tuple key, Submission submission, bytes code) except -1:
        """Tell whether the end of a stream whose producer has gone is sent again, as the broker has
        refused it for a reason of its own: nobody else sends it while this host is there."""
        cdef int count = self.refusals.get(key, 0) + 1
        if submission.end != b"a" or code in (b"ended", b"lost") or count >= END_COUNT:
            return False
        self.refusals[key] = count
        self.refused_ends.append(key)
        return True

    def send_ends_again(self):
        """Hand the broker what it has refused of the ends of streams, at every few beats."""
        self.beat_count += 1
        if self.beat_count % END_BEAT_COUNT or not self.refused_ends:
            return
        ends, self.refused_ends = self.refused_ends, []
        self.placements.unsent_deltas += ends
        self.note()

    cdef int abort(self, OrderedTopic topic) except -1:
        """End a stream of ours whose producer has gone."""
        cdef Stream stream = topic.stream
        cdef Link link = stream.producer
        cdef Head head
        stream.let_go(topic)
        if stream.is_ended or stream.is_aborting or not stream.is_ours:
            return 0    # before the broker tells whose it is, another host may have begun it
        stream.is_aborting = True
        memset(&head, 0, sizeof(head))
        head.flags = DELTA | LAST | ABORTED
        return self.submit(link, topic, &head, NULL, 0)

    cdef int dissolve(self, OrderedTopic topic) except -1:
        """Have a topic be a plain one again; where links want it, the broker is asked whether it is
        a stream all the same."""
        if is_wanted_by_name(topic):
            self.look(topic.name)
        return dissolve_stream(self.registry, topic)

    # ---- whether a topic is a stream

    cdef bint keeps_subscription(
        self, OrderedTopic topic, Link link, const Head* head, bint is_confirmed, bint is_expected
    ) except -1:
        """Tell whether a link that wants a plain topic is answered later: when it is known whether
        it is a stream."""
        if topic.name in self.looked or not (
            is_expected or head.flags & SINCE
        ):
            return False
        self.waiting.setdefault(topic.name, []).append(
            (link, PyBytes_FromStringAndSize(<const char*>head, sizeof(Head)))
        )
        if is_confirmed:
            self.look(topic.name)
        return True

    cdef int look(self, bytes name) except -1:
        """Have the broker asked whether a topic is a stream: its messages come from now on."""
        if name not in self.looks:
            self.looks[name] = False
            self.note()
        return 0

    def take_looks(self):
        """Return the names of topics of which the broker is to tell whether they are streams."""
        cdef list names = [name for name, is_asked in self.looks.items() if not is_asked]
        for name in names:
            self.looks[name] = True
        return names

    def seen(self, list names, list streams):
        """Note which topics are streams: True, or False, for each name; None: that will be told
        later, and nobody is to wait for it."""
        cdef OrderedTopic topic
        cdef SharedLog log
        for name, is_stream in zip(names, streams):
            if name not in self.looks:
                continue
            if is_stream is None:
                self.looked.add(name)
                self.answer_waiting(name)
                continue
            del self.looks[name]
            topic = self.registry.names.get(name)
            if topic is not None and is_wanted_by_name(topic):
                self.looked.add(name)
                if is_stream and topic.shared is None:
                    self.begin(topic)
                log = topic.shared
                if topic.stream is not None and not log.is_live and not log.is_reading:
                    self.logs.begin_read(topic, True)
            self.answer_waiting(name)

    cdef int answer_waiting(self, bytes name) except -1:
        cdef OrderedTopic topic = self.registry.names.get(name)
        cdef Link link
        cdef bytes head
        self.registry.look_at_clock()
        for link, head in self.waiting.pop(name, ()):
            if topic is not None and not link.is_ended:
                subscribe(self.registry, link, topic, <const Head*>PyBytes_AS_STRING(head))
        return 0

    cdef int forget_link(self, bytes name, Link link) except -1:
        """Answer a link no more: it does not want the topic any longer."""
        waiting = self.waiting.get(name)
        if waiting is not None:
            self.waiting[name] = [one for one in waiting if one[0] is not link]
        return 0

    cdef int unwanted(self, bytes name) except -1:
        """Nobody here wants a topic by its name any more: what becomes of it is not known."""
        self.looked.discard(name)
        self.looks.pop(name, None)
        self.waiting.pop(name, None)
        return 0

    cdef int lose(self) except -1:
        """The broker has gone: nobody waits for it, and all is asked again."""
        self.refused_ends.clear()           # all is sent again that has no place
        self.looked.clear()
        self.looks.clear()
        self.asked.clear()
        self.watched.clear()
        for name in list(self.waiting):
            self.answer_waiting(name)
        return 0

    cdef int lose_shard(self, object is_lost) except -1:
        """A part of the broker has gone: the same of its topics."""
        self.refused_ends = [
            key for key in self.refused_ends if key not in self.placements.unsent_deltas
        ]
        for name in [name for name in self.looked if is_lost(name)]:
            self.looked.discard(name)
        for name in [name for name in self.looks if is_lost(name)]:
            del self.looks[name]
        if is_lost(b""):
            self.asked.clear()
            self.watched.clear()
        for name in [name for name in self.waiting if is_lost(name)]:
            self.answer_waiting(name)
        return 0

    # ---- whether its producer is there

    cdef int know_producer(self, OrderedTopic topic, bytes host) except -1:
        """Note which host has begun a stream: should it not be heard, the stream is aborted."""
        cdef bint is_known = host == self.host
        if not is_known:
            try:
                self.presence.provide(host)
            except BAD_CONTENT:
                self.bad_count += 1
        return 0

    def found_producer(self, bytes host):
        """Note which host produces a stream that the broker has, whether it is wanted here or not.
        """
        self.is_used = True
        self.presence.use()
        self.know_producer(None, host)

    def host_gone(self, bytes name):
        """Note that another host has gone: its streams are aborted, by whoever is first."""
        if self.is_used:
            self.gone_hosts.append(name)
            self.note()

    def take_gone_hosts(self):
        """Return the names of hosts whose streams are to be aborted now."""
        gone, self.gone_hosts = self.gone_hosts, []
        return gone

    # ---- whether anybody watches it

    cdef int check_watched(self, OrderedTopic topic) except -1:
        """Look at a stream that no link has wanted for a while. One of ours: ask other hosts for
        their subscribers, and tell its producer once nobody has any. Else nobody here needs it."""
        cdef Registry registry = self.registry
        cdef Stream stream = topic.stream
        if stream.producer is None:
            return self.dissolve(topic)
        if not self.presence.is_connected:
            stream.ask_count = 0            # other hosts cannot say anything
            return registry.arm(topic, UNWATCHED_DUE, registry.now_s + UNWATCHED_S)
        if stream.ask_count < ASK_COUNT:
            stream.ask_count += 1
            self.asked.append(topic.name)
            self.note()
            return registry.arm(topic, UNWATCHED_DUE, registry.now_s + ASK_S)
        stream.ask_count = 0
        registry.arm(topic, UNWATCHED_DUE, registry.now_s + UNWATCHED_S)
        if stream.is_told:
            return 0                        # once for each while
        stream.is_told = True
        return tell_unwatched(topic, stream)

    def take_messages(self):
        """Return what other hosts are to be told now."""
        cdef list messages = []
        asked, self.asked = self.asked, []
        watched, self.watched = self.watched, {}
        for i in range(0, len(asked), NAMES_COUNT):
            messages.append(b"1m %b 0 q\n%b" % (
                self.host,
                json.dumps([name.decode() for name in asked[i:i + NAMES_COUNT]]).encode(),
            ))
        entries = [[name.decode(), age] for name, age in watched.items()]
        for i in range(0, len(entries), NAMES_COUNT):
            messages.append(
                b"1m %b 0 w\n%b" % (self.host, json.dumps(entries[i:i + NAMES_COUNT]).encode())
            )
        return messages

    def hear(self, bytes message):
        """Take what another host has said; False: it says nothing of streams."""
        cdef bytes begin = message[:64].partition(b"\n")[0]
        if begin[:3] != b"1m " or begin[-2:] not in (b" q", b" w"):
            return False
        if begin[3:19] == self.host:
            return True
        self.registry.look_at_clock()
        try:
            if begin[-1:] == b"q":
                self.answer_asked(message[len(begin) + 1:])
            else:
                self.take_watched(message[len(begin) + 1:])
        except BAD_CONTENT:
            self.bad_count += 1
        return True

    cdef int answer_asked(self, bytes said) except -1:
        """Another host asks whether its streams are watched here, or were a moment ago."""
        cdef OrderedTopic topic
        for name in read_names(said):
            topic = self.registry.names.get(name)
            age = None
            if topic is not None:
                want_current(self.registry, topic)
                if topic.want_count:
                    age = 0.0
                elif topic.stream is not None:
                    age = self.registry.now_s - topic.unwanted_since_s
            elif self.registry.wanted.count and self.registry.wanted.match(name.decode()):
                age = 0.0
            if age is not None and age < UNWATCHED_S:
                self.watched[name] = round(age, 3)
        if self.watched:
            self.note()
        return 0

    cdef int take_watched(self, bytes said) except -1:
        """Another host has, or had, subscribers of streams that may be ours."""
        cdef OrderedTopic topic
        cdef Stream stream
        cdef double age
        for name, age in json.loads(said):
            topic = self.registry.names.get(name.encode())
            stream = None if topic is None else topic.stream
            if stream is None or stream.producer is None or topic.want_count:
                continue
            if not 0 <= age < UNWATCHED_S:
                raise ValueError("expected a number of seconds")
            stream.is_told = False
            stream.ask_count = 0
            topic.unwanted_since_s = max(
                topic.unwanted_since_s, self.registry.now_s - age
            )
        return 0


cdef list read_names(bytes said):
    """Return the names of topics in a JSON list. Raises an error of BAD_CONTENT for what is none.
    """
    cdef list names = json.loads(said)
    return [check_topic_name(name, MAX_NAME_SIZE).encode() for name in names]

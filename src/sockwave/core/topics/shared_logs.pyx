"""Logs that the broker keeps for all hosts, and what this host has of them: replicas.

A message of such a topic gets its place from the broker, which puts it into its log and on the
topic's channel in one step. What comes by the channel follows what we have, or the log is read
behind that first; so all that is done for a log of our own is done for the replica. There is no
broker here: its client takes what is to be sent, and brings what was answered. Nothing of what
comes is trusted.
"""

import json

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.stdint cimport uint32_t
from libc.string cimport memset

from sockwave.core.topics.history cimport clear_history, keep, message_at
from sockwave.core.topics.ordered_topic cimport Interest, is_wanted_by_name, wants
from sockwave.core.topics.parcels cimport (
    BAD_CONTENT, Parcel, is_sound, read_origin, read_parcel, write_payload,
)
from sockwave.core.topics.placements cimport Submission, bounds_of
from sockwave.core.topics.records cimport ABORTED, DELTA, GAP, LAST, MSG, TEXT, free_buffer
from sockwave.core.topics.registry cimport TTL_DUE, want_current
from sockwave.core.topics.relay cimport relay_to_all, tell_name, write_answer
from sockwave.core.topics.replay cimport subscribe
from sockwave.core.topics.streams cimport (
    Stream, abort_replica, clear_stream, dissolve_stream, keep_piece, note_end, spoil_stream,
)


cdef class SharedLogs:
    """The logs that the broker keeps, as one host has them. `note` is called when there is
    something for the broker's client."""

    def __cinit__(self, note, Placements placements):
        self.note = note
        self.placements = placements
        self.reads = []
        self.stream_reads = []
        memset(&self.scratch, 0, sizeof(self.scratch))

    def __dealloc__(self):
        free_buffer(&self.scratch)

    # ---- reading

    cdef int begin_read(self, OrderedTopic topic, bint is_whole) except -1:
        """Read the log: behind what we have, or all of it, where we have less than `is_whole`."""
        cdef SharedLog log = topic.shared
        log.is_reading = True
        log.is_live = log.is_refused = False
        log.place = topic.top if log.is_whole or not is_whole else 0
        log.silent_until = 0
        if is_whole and not log.is_whole:
            clear_history(&self.registry.store, &topic.history)
            if topic.stream is not None:
                clear_stream(self.registry, topic.stream)
            log.is_whole = True
        return self.ask_page(topic, log)

    cdef int ask_page(self, OrderedTopic topic, SharedLog log) except -1:
        self.last_number += 1
        log.read_number = self.last_number
        (self.reads if topic.stream is None else self.stream_reads).append(topic.name)
        self.note()
        return 0

    def read_all(self, *, bint of_streams=False):
        """Read all logs again that this host follows, or all streams: the broker may have lost
        them."""
        cdef OrderedTopic topic
        cdef SharedLog log
        for topic in self.registry.names.values():
            log = topic.shared
            if log is not None and log.is_live and (topic.stream is not None) == of_streams:
                self.begin_read(topic, log.is_whole)

    def read_again(self, bytes name):
        """Read a log again, if this host follows it: more may have been stored than has come."""
        cdef OrderedTopic topic = self.registry.names.get(name)
        cdef SharedLog log = None if topic is None else topic.shared
        if log is not None and log.is_live:
            self.begin_read(topic, log.is_whole)

    def take_reads(self):
        """Return of which logs a page is wanted, as tuples: name, number, epoch and offset behind
        which it begins, and what is to be kept of the log."""
        names, self.reads = self.reads, []
        return self.find_readings(names, False)

    def take_stream_reads(self):
        """Return of which streams a page is wanted, as tuples: name, number, and epoch and offset
        behind which it begins."""
        names, self.stream_reads = self.stream_reads, []
        return self.find_readings(names, True)

    cdef list find_readings(self, list names, bint are_streams):
        """List what is wanted of those of these logs, or streams, that are read yet."""
        cdef OrderedTopic topic
        cdef SharedLog log
        cdef list found = []
        for name in names:
            topic = self.registry.names.get(name)
            log = None if topic is None else topic.shared
            if log is None or not log.is_reading or are_streams and topic.stream is None:
                continue
            page = (name, log.read_number, topic.epoch, log.place)
            found.append(page if are_streams else (*page, bounds_of(topic)))
        return found

    def read(
        self, bytes name, uint64_t number, uint64_t epoch, uint64_t top, double now_ms, list entries
    ):
        """Take a page of a log: its epoch and its last offset, the broker's clock, and messages as
        tuples of an offset, when it was published, and a parcel."""
        cdef OrderedTopic topic = self.registry.names.get(name)
        cdef SharedLog log = None if topic is None else topic.shared
        if log is None or not log.is_reading or log.read_number != number:
            return                          # of a read that is over
        self.registry.look_at_clock()
        if topic.epoch != epoch:
            # Another log: nothing of it has been told to any link.
            log.is_lost = log.is_lost or topic.epoch != 0
            log.silent_until = top
            if topic.stream is not None:
                self.begin_stream(topic, log)
            log.place = topic.top = 0
            clear_history(&self.registry.store, &topic.history)
            topic.epoch = epoch
        self.take_page(topic, log, top, now_ms, entries)

    def unread(self, bytes name, uint64_t number):
        """Note that the broker refuses to tell what is in a log: nobody waits for it."""
        cdef OrderedTopic topic = self.registry.names.get(name)
        cdef SharedLog log = None if topic is None else topic.shared
        if log is None or not log.is_reading or log.read_number != number:
            return
        log.is_reading = log.is_whole = False
        log.is_refused = True
        self.answer_waiting(topic, log)
        self.placements.settle(topic, log, True)

    def gone(self, bytes name, uint64_t number):
        """Note that a stream of which a page was asked for is not there."""
        cdef OrderedTopic topic = self.registry.names.get(name)
        cdef SharedLog log = None if topic is None else topic.shared
        if log is None or not log.is_reading or log.read_number != number:
            return
        self.registry.look_at_clock()
        log.is_reading = False
        self.lose_stream(topic)

    cdef int begin_stream(self, OrderedTopic topic, SharedLog log) except -1:
        """Begin the replica of a stream; one that the broker has no more is aborted."""
        cdef Stream stream = topic.stream
        cdef bint is_told = True
        cdef uint32_t i
        if topic.epoch:
            if not stream.is_ended:
                abort_replica(self.registry, topic)
            stream.let_go(topic)
            clear_stream(self.registry, stream)
            topic.stream = Stream()
        log.is_lost = False
        # Links that have been told before that there was no stream get all of it.
        for i in range(topic.want_count):
            is_told = is_told and log.awaits(<Link>topic.interests[i].link)
        if not is_told:
            log.silent_until = 0
        return 0

    cdef int lose_stream(self, OrderedTopic topic) except -1:
        """The broker has nothing of a stream: it has ended long ago, or is lost."""
        cdef Stream stream = topic.stream
        cdef SharedLog log = topic.shared
        if stream.is_begun and not stream.is_placed and not topic.epoch:
            log.is_whole = True             # ours, which is about to begin
            return self.go_live(topic, log)
        if not stream.is_ended and (topic.epoch or stream.is_placed):
            if not topic.epoch:
                topic.epoch, topic.top = stream.epoch, 0
            log.is_live = log.is_whole = True
            abort_replica(self.registry, topic)
            self.answer_waiting(topic, log)
            return self.placements.settle(topic, log, True)
        return dissolve_stream(self.registry, topic)

    cdef int take_page(
        self, OrderedTopic topic, SharedLog log, uint64_t top, double now_ms, list entries
    ) except -1:
        cdef uint64_t before = log.place
        cdef uint64_t offset
        cdef double time_ms
        cdef bytes parcel
        want_current(self.registry, topic)
        for offset, time_ms, parcel in entries:
            if offset <= log.place or offset > top:
                self.bad_count += 1
                continue
            if offset > log.place + 1:
                self.skip_to(topic, log, offset - 1)
            if not self.accept(
                topic, offset, <const uint8_t*>PyBytes_AS_STRING(parcel), PyBytes_GET_SIZE(parcel),
                max(now_ms - time_ms, 0.0) / 1000, not log.is_lost and offset > log.silent_until,
            ):
                self.skip_to(topic, log, offset)
            log.place = offset
        if log.place < top and log.place == before:
            self.skip_to(topic, log, top)   # the rest has gone
        if log.place < top:
            return self.ask_page(topic, log)
        return self.end_read(topic, log, log.place != before)

    cdef int skip_to(self, OrderedTopic topic, SharedLog log, uint64_t offset) except -1:
        """Messages up to a place are missing for good: only what follows them is of use."""
        clear_history(&self.registry.store, &topic.history)
        if topic.stream is not None:
            spoil_stream(self.registry, topic)
        if offset > topic.top:
            log.is_lost = log.is_lost or offset > log.silent_until
            topic.top = offset
        log.place = offset
        return 0

    cdef int end_read(self, OrderedTopic topic, SharedLog log, bint has_moved) except -1:
        """All of the log has been read: go on with what has come meanwhile."""
        if self.take_ahead(topic, log, has_moved):
            log.place = topic.top
            return self.ask_page(topic, log)
        log.is_reading = False
        return self.go_live(topic, log)

    cdef bint take_ahead(self, OrderedTopic topic, SharedLog log, bint has_moved) except -1:
        """Take what has come while we read; return whether the log has to be read again.

        Without `has_moved` the log has no more: what does not follow then is in no log.
        """
        cdef uint64_t epoch, offset
        cdef bytes parcel
        cdef bint needs_more = log.is_behind
        ahead, log.ahead = log.ahead, []
        log.ahead_size = 0
        log.is_behind = False
        for epoch, offset, parcel in ahead:
            if epoch == topic.epoch and offset <= topic.top:
                continue
            if not needs_more and epoch == topic.epoch and offset == topic.top + 1 and (
                parcel is not None
            ):
                if not self.accept(
                    topic, offset, <const uint8_t*>PyBytes_AS_STRING(parcel),
                    PyBytes_GET_SIZE(parcel), 0, not log.is_lost,
                ):
                    needs_more = True       # the log tells whether it is there
            elif has_moved or epoch == topic.epoch and offset == topic.top + 1:
                needs_more = True
            else:
                self.bad_count += 1
        return needs_more

    cdef int go_live(self, OrderedTopic topic, SharedLog log) except -1:
        """The replica follows the channel from here on: tell all who have waited for that."""
        cdef Interest* interest
        cdef Head head
        cdef uint32_t i
        log.is_live = True
        if log.is_lost:
            log.is_lost = False
            memset(&head, 0, sizeof(head))
            head.type = GAP
            head.topic = topic.number
            head.epoch = topic.epoch
            head.offset = topic.top
            for i in range(topic.interest_count):
                interest = &topic.interests[i]
                if wants(interest):
                    if not interest.is_known:
                        interest.is_known = True
                        tell_name(<Link>interest.link, topic, 0)
                    write_answer(<Link>interest.link, &head, NULL, 0)
        self.answer_waiting(topic, log)
        self.placements.settle(topic, log, False)
        if self.placements.unsent or self.placements.unsent_deltas:
            self.note()
        return 0

    cdef int answer_waiting(self, OrderedTopic topic, SharedLog log) except -1:
        cdef Link link
        cdef bytes head
        waiting, log.waiting = log.waiting, []
        for link, head in waiting:
            subscribe(self.registry, link, topic, <const Head*>PyBytes_AS_STRING(head))
        return 0

    cdef int keep_subscription(self, OrderedTopic topic, Link link, const Head* head) except -1:
        """Answer a link once all is there that it may have missed."""
        (<SharedLog>topic.shared).waiting.append(
            (link, PyBytes_FromStringAndSize(<const char*>head, sizeof(Head)))
        )
        return 0

    # ---- what comes by the channel

    cdef int heard(
        self, OrderedTopic topic, uint64_t epoch, uint64_t offset, const uint8_t* data, size_t size
    ) except -1:
        """Take a message of a topic's channel; without data it is to be read, as it is large."""
        cdef SharedLog log = topic.shared
        if log.is_reading:
            return log.put_ahead(epoch, offset, data, size)
        if not log.is_live:
            if is_wanted_by_name(topic):
                return 0                    # it is read when the channel is confirmed
            # By a pattern alone: what was before is of no use to any link.
            topic.epoch, topic.top = epoch, offset - 1
            log.is_live = True
        if topic.stream is not None and not topic.epoch and offset == 1:
            topic.epoch = epoch             # it begins
        if epoch == topic.epoch and offset <= topic.top:
            return 0
        self.registry.look_at_clock()
        if epoch != topic.epoch or offset != topic.top + 1 or data is NULL:
            log.put_ahead(epoch, offset, data, size)
            return self.begin_read(topic, False)
        if not self.accept(topic, offset, data, size, 0, True):
            return self.begin_read(topic, False)    # the log tells whether it is there
        return 0

    cdef bint accept(
        self, OrderedTopic topic, uint64_t offset, const uint8_t* data, size_t size, double age_s,
        bint is_news,
    ) except -1:
        """Take the next message of a log; False: it is bad."""
        cdef Registry registry = self.registry
        cdef SharedLog log = topic.shared
        cdef Submission submission = None
        cdef Link link = None
        cdef Parcel parcel
        cdef Head head
        cdef uint64_t incarnation, sequence
        cdef const uint8_t* payload
        cdef bint has_echo = False, is_answered
        cdef tuple key = None
        memset(&head, 0, sizeof(head))
        if not read_parcel(data, size, &parcel) or not is_sound(&parcel) or write_payload(
            &parcel, &head, &self.scratch
        ):
            self.bad_count += 1
            return False
        payload, size = parcel.message, parcel.size
        if parcel.meta_size:
            payload, size = self.scratch.data + self.scratch.begin, self.scratch.size
        head.type = MSG
        head.topic = topic.number
        head.epoch = topic.epoch
        head.offset = offset
        if self.placements.submissions and read_origin(&parcel, &incarnation, &sequence):
            key = (incarnation, sequence)
            submission = self.placements.find(topic, key)
            if submission is not None:
                link = submission.link
                head.worker, head.sequence = link.id, sequence
        if topic.stream is not None:
            self.take_delta(topic, offset, &parcel, &head, age_s)
        elif log.is_whole:
            keep(&registry.store, &topic.history, &head, payload, size, registry.now_s - age_s)
            if topic.history.count and topic.history.ttl_s > 0:
                registry.arm(
                    topic, TTL_DUE,
                    message_at(&topic.history, topic.history.first_offset).kept_s
                    + topic.history.ttl_s,
                )
        topic.has_messages = True
        self.heard_count += 1
        if offset > topic.top:
            topic.top = offset
            if is_news:
                want_current(registry, topic)
                has_echo = relay_to_all(topic, &head, payload, size, link)
        if link is not None:
            is_answered = submission.offset != 0
            submission.epoch, submission.offset = topic.epoch, offset
            if has_echo:
                self.placements.remove(key)
            else:
                self.placements.finish(key)
            if submission.is_delta and not is_answered:
                self.placements.note_heard(key, submission)
        if log.unheard:
            self.placements.settle(topic, log, False)
        return True

    cdef int take_delta(
        self, OrderedTopic topic, uint64_t offset, const Parcel* parcel, Head* head, double age_s
    ) except -1:
        """Have a message be the next delta of a stream, or its end."""
        cdef Stream stream = topic.stream
        cdef SharedLog log = topic.shared
        cdef bytes end = b"", producer = b""
        if parcel.meta_size:
            end, producer = read_stream_meta((<const char*>parcel.meta)[:parcel.meta_size])
        head.flags |= DELTA
        if end:
            head.flags |= LAST | (ABORTED if end == b"aborted" else 0)
        if producer and offset == 1:
            self.registry.outside.know_producer(topic, producer)
        if log.is_whole:
            keep_piece(
                self.registry, topic, offset, parcel.message, parcel.size, head.flags & TEXT
            )
        if end:
            note_end(self.registry, topic, stream, end == b"aborted", age_s)
        return 0

    # ---- the channel comes and goes

    cdef int leave(self, OrderedTopic topic) except -1:
        """The topic comes no more by its name: what this host has of it gets old."""
        cdef SharedLog log = topic.shared
        clear_history(&self.registry.store, &topic.history)
        log.is_whole = log.is_reading = False
        if topic.stream is not None:
            clear_stream(self.registry, topic.stream)
        if not topic.want_count:
            log.is_live = False
            topic.epoch = topic.top = 0
        self.placements.settle(topic, log, True)
        return self.registry.forget_if_unused(topic)

    cdef int lose(self) except -1:
        """The broker has gone: nobody waits for it, and all is sent again that has no place."""
        cdef OrderedTopic topic
        if self.registry is None:
            return 0
        self.reads.clear()
        self.stream_reads.clear()
        for topic in list(self.registry.names.values()):
            self.lose_topic(topic)
        return self.placements.lose()

    cdef int lose_shard(self, object is_lost) except -1:
        """A part of the broker has gone: the same of its topics. A page that was asked for is of a
        read that is over."""
        cdef OrderedTopic topic
        if self.registry is None:
            return 0
        for topic in list(self.registry.names.values()):
            if topic.shared is not None and is_lost(topic.name):
                self.lose_topic(topic)
        return self.placements.lose_shard(is_lost)

    cdef int lose_topic(self, OrderedTopic topic) except -1:
        cdef SharedLog log = topic.shared
        if log is None:
            return 0
        log.is_live = log.is_reading = False
        log.ahead.clear()
        log.ahead_size = 0
        if not topic.want_count:
            return self.leave(topic)
        if not is_wanted_by_name(topic):
            self.placements.settle(topic, log, True)    # by a pattern, it may be read no more
        return self.answer_waiting(topic, log)


cdef tuple read_stream_meta(bytes said):
    """Return how a delta ends its stream, and which host has begun it, as far as that is said."""
    cdef object found = {}
    try:
        found = json.loads(said)
    except BAD_CONTENT:
        pass
    end = found.get("end") if isinstance(found, dict) else None
    producer = found.get("producer") if isinstance(found, dict) else None
    return (
        end.encode() if end in ("finished", "aborted") else b"",
        producer.encode() if isinstance(producer, str) and len(producer) == 16 else b"",
    )

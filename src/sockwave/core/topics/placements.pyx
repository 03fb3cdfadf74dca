"""Messages to which the broker is to give their places: they are kept until they have them.

A message keeps the number that it has with its worker: by that the broker knows it when it is sent
again, by us or by the sequencer that follows us. So none is published twice.
"""

import json

from cpython.bytes cimport PyBytes_GET_SIZE

from sockwave.core.topics.ordered_topic cimport is_wanted_by_name
from sockwave.core.topics.parcels cimport describe
from sockwave.core.topics.records cimport (
    DELTA, ID, MAX_RECORD_SIZE, META, Parts, TEXT, split_payload,
)
from sockwave.core.topics.relay cimport acknowledge, refuse

cdef enum:
    MESSAGE_COST = 320          # what a submission takes besides its own bytes
    LARGE_SIZE = 1 << 20        # a larger message takes a while, and others may follow it
    # Of a topic without a history, so much is kept that hosts can fill gaps.
    GAP_COUNT = 100
    GAP_SIZE = 4 << 20
    GAP_TTL_S = 60


cdef class Submission:
    """A message that was handed to the broker, or will be."""


cdef size_t cost_of(Submission submission) noexcept:
    return PyBytes_GET_SIZE(submission.parcel) + MESSAGE_COST


cdef size_t large_cost_of(Submission submission) noexcept:
    return cost_of(submission) if PyBytes_GET_SIZE(submission.parcel) > LARGE_SIZE else 0


cdef tuple bounds_of(OrderedTopic topic):
    """Return what the broker is to keep of a topic: messages, bytes, seconds (0: for ever)."""
    if topic.has_history:
        return topic.history.max_count, topic.history.max_size, topic.history.ttl_s
    return GAP_COUNT, GAP_SIZE, float(GAP_TTL_S)


cdef tuple bounds_of_settings(TopicSettings settings):
    """Return the same of what is declared; None: of such topics the broker keeps nothing."""
    if settings.has_history:
        return settings.max_count, settings.max_size, settings.ttl_s
    return (GAP_COUNT, GAP_SIZE, float(GAP_TTL_S)) if settings.has_presence else None


cdef class Placements:
    """The messages that wait for their places. `note` is called when there is something for the
    broker's client; `queue_size` bounds what waits for the broker."""

    def __cinit__(self, note, queue_size):
        self.note = note
        self.queue_size = queue_size
        self.submissions = {}
        self.heard = {}
        self.unsent = []
        self.unsent_deltas = []

    cdef int submit(
        self, Link link, OrderedTopic topic, const Head* head, const uint8_t* payload, size_t size
    ) except -1:
        """Take a message for the broker, which gives it its place. The publisher is answered when
        its message comes, or when the broker has answered, where it does not come to this host."""
        cdef Submission submission
        cdef Parts parts
        cdef bytes meta = None
        cdef tuple key = (link.incarnation, head.sequence)
        if head.sequence and self.has(link, key):
            return 0
        if head.flags & DELTA:
            return refuse(
                link, head, topic,
                b"the topic has a history or presence: expected a message, given a delta"
            )
        if self.is_full(size):
            return refuse(
                link, head, topic,
                b"the broker does not take what waits for it: expected to be published later",
            )
        split_payload(payload, size, head.flags, &parts)
        if head.flags & (META | ID):
            meta = describe(payload, head.flags, &parts)
            if meta is None:
                return refuse(link, head, topic, b"expected what other hosts know of a message")
        submission = Submission.__new__(Submission)
        submission.id = (<const char*>parts.id)[:parts.id_size] if parts.id_size else b""
        submission.bounds = bounds_of(topic)
        return self.keep(link, topic, head, key, submission, meta, &parts, self.unsent)

    cdef int keep(
        self, Link link, OrderedTopic topic, const Head* head, tuple key, Submission submission,
        bytes meta, const Parts* parts, list unsent,
    ) except -1:
        """Keep a message until it has its place, among those that are to be sent. Without a
        sequence of its worker's, it has a number of ours in its key."""
        cdef bytes begin = b"1t " if head.flags & TEXT else b"1b "
        if head.sequence:
            begin += b"%016x.%d" % (link.incarnation, head.sequence)
        else:
            begin += b"-"
            self.last_number += 1
            key = (0, self.last_number)
        if meta is not None:
            begin += b" " + meta
        submission.link, submission.name, submission.head = link, topic.name, head[0]
        submission.parcel = begin + b"\n" + (<const char*>parts.message)[:parts.message_size]
        self.submissions[key] = submission
        unsent.append(key)
        self.queued_size += cost_of(submission)
        self.large_size += large_cost_of(submission)
        self.note()
        return 0

    def take_submissions(self):
        """Return the messages that leave now, as tuples: key, name, parcel, id, and the bounds of
        the history: messages, bytes, seconds (0: none).

        Those of topics that come to this host wait until these come: none is missed that is ours.
        """
        cdef Submission submission
        cdef list taken = []
        for key in self.take_unsent(False):
            submission = self.submissions[key]
            taken.append((
                key, submission.name, submission.parcel, submission.id, submission.bounds,
            ))
        return taken

    cdef list take_unsent(self, bint is_delta):
        """Return the keys of the messages, or of the deltas, that leave now."""
        cdef Submission submission
        cdef OrderedTopic topic
        cdef list taken = []
        cdef list left = []
        for key in self.unsent_deltas if is_delta else self.unsent:
            submission = self.submissions.get(key) or self.heard.get(key)
            if submission is None:
                continue
            topic = self.registry.names.get(submission.name)
            if self.is_away is not None and self.is_away(submission.name) or (
                topic is not None and topic.shared is not None and is_wanted_by_name(topic)
                and not (<SharedLog>topic.shared).is_live
                and not (<SharedLog>topic.shared).is_refused
            ):
                left.append(key)
            else:
                taken.append(key)
        if is_delta:
            self.unsent_deltas = left
        else:
            self.unsent = left
        return taken

    def answered(self, tuple key, uint64_t epoch, uint64_t offset):
        """Note the place that the broker has given to a message."""
        cdef Submission submission = self.submissions.get(key)
        cdef OrderedTopic topic
        cdef SharedLog log
        if submission is None:
            return                          # it has come meanwhile
        submission.epoch, submission.offset = epoch, offset
        topic = self.registry.names.get(submission.name)
        if topic is not None and topic.shared is not None and offset:
            log = topic.shared
            log.placed = max(log.placed, offset) if log.placed_epoch == epoch else offset
            log.placed_epoch = epoch
            if not log.is_refused and (
                log.is_live or log.is_reading or is_wanted_by_name(topic)
            ) and not (
                topic.epoch == epoch and offset <= topic.top
            ):
                log.unheard.append(key)
                return
        self.finish(key)

    def placed(self, bytes name):
        """Return the newest position that this host knows of a topic, as epoch and offset: where
        the broker has less, it has lost something. (0, 0): it knows none."""
        cdef OrderedTopic topic = self.registry.names.get(name)
        cdef SharedLog log = None if topic is None else topic.shared
        if log is None:
            return 0, 0
        if topic.epoch and topic.epoch != log.placed_epoch:
            return topic.epoch, topic.top
        return log.placed_epoch, max(log.placed, topic.top)

    def refused(self, tuple key, str error):
        """Note that the broker has not taken a message, and why."""
        self.refuse_with(key, b"the broker: " + error.encode())

    cdef int refuse_with(self, tuple key, bytes reason) except -1:
        """Note that a message has no place, and why."""
        cdef Submission submission = self.submissions.get(key)
        if submission is None:
            self.heard.pop(key, None)
            return 0
        self.remove(key)
        return refuse(
            submission.link, &submission.head, self.registry.names.get(submission.name), reason
        )

    # ---- deltas of streams

    cdef bint has(self, Link link, tuple key) except -1:
        """Tell whether a message waits already: then the old link of its worker has broken."""
        cdef Submission submission = self.submissions.get(key)
        if submission is not None:
            submission.link = link
            return True
        submission = self.heard.get(key)
        if submission is None:
            return False
        submission.link = link
        self.tell_place(submission)
        return True

    cdef bint is_full(self, size_t size) noexcept:
        return bool(self.submissions) and (
            self.queued_size + size > self.queue_size + MAX_RECORD_SIZE
        )

    cdef int put(
        self, Link link, OrderedTopic topic, const Head* head, tuple key, Submission submission,
        dict meta, const Parts* parts,
    ) except -1:
        """Keep a delta until it has its place; of `submission`, what deltas have is set."""
        cdef bytes said = json.dumps(meta, separators=(",", ":")).encode() if meta else None
        submission.id = submission.id or b""
        submission.kind = submission.kind or b""
        submission.end = submission.end or b""
        return self.keep(link, topic, head, key, submission, said, parts, self.unsent_deltas)

    cdef int note_heard(self, tuple key, Submission submission) except -1:
        """Note that a delta has come that the broker has not answered: if that answer is lost, the
        broker is asked whose stream it is, without what is in the delta."""
        submission.parcel = b""
        self.heard[key] = submission
        return 0

    cdef Submission find(self, OrderedTopic topic, tuple key):
        """Return the message of a topic that has a key; None: it is none of ours, or has its place.
        """
        cdef Submission submission = self.submissions.get(key)
        return submission if submission is not None and submission.name == topic.name else None

    cdef int remove(self, tuple key) except -1:
        cdef Submission submission = self.submissions.pop(key)
        self.queued_size -= cost_of(submission)
        self.large_size -= large_cost_of(submission)
        return 0

    cdef int finish(self, tuple key) except -1:
        """Tell the publisher where its message stands."""
        cdef Submission submission = self.submissions[key]
        self.remove(key)
        return self.tell_place(submission)

    cdef int tell_place(self, Submission submission) except -1:
        cdef OrderedTopic topic = self.registry.names.get(submission.name)
        return acknowledge(
            submission.link, 1 if topic is None else topic.number, submission.epoch,
            submission.offset, submission.head.sequence, 0,
        )

    cdef int settle(self, OrderedTopic topic, SharedLog log, bint is_left) except -1:
        """Answer publishers whose messages have come, or will not come to this host any more."""
        cdef Submission submission
        unheard, log.unheard = log.unheard, []
        for key in unheard:
            submission = self.submissions.get(key)
            if submission is None:
                continue
            if is_left or submission.epoch != topic.epoch or submission.offset <= topic.top:
                self.finish(key)
            else:
                log.unheard.append(key)
        return 0

    cdef int lose(self) except -1:
        """The broker has gone: all is sent again that has no place, or no answer."""
        cdef Submission submission
        self.unsent, self.unsent_deltas = [], list(self.heard)
        for key, submission in self.submissions.items():
            if not submission.offset:
                (self.unsent_deltas if submission.is_delta else self.unsent).append(key)
        return 0

    cdef int lose_shard(self, object is_lost) except -1:
        """A part of the broker has gone: the same of its topics, in the order of all."""
        cdef Submission submission
        cdef set unsent = {*self.unsent, *self.unsent_deltas}
        self.unsent, self.unsent_deltas = [], []
        for key, submission in self.heard.items():
            if key in unsent or is_lost(submission.name):
                self.unsent_deltas.append(key)
        for key, submission in self.submissions.items():
            if key in unsent or not submission.offset and is_lost(submission.name):
                (self.unsent_deltas if submission.is_delta else self.unsent).append(key)
        return 0

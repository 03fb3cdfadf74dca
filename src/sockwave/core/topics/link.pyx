"""A worker's end of its link to the sequencer: records out of calls, and calls out of records.

There is no socket here. `records` has the wire; docs/topics.md says what is promised. A message of
a topic that is sequenced is delivered when the sequencer sends it back, to its publisher's worker
too: so all workers agree on the order.
"""

import secrets

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from cpython.unicode cimport PyUnicode_DecodeUTF8
from libc.string cimport memset

from sockwave.core.topics.catching_up cimport Replay
from sockwave.core.topics.numbers cimport find_number, free_numbers, remove_number, set_number
from sockwave.core.topics.publication cimport Publication
from sockwave.core.topics.records cimport (
    ACK, BAD_LENGTH, BAD_TYPE, BROADCAST, BROKER, COUNT, COUNTED, COUNTING, COUNT_ASKED, DIFF, END,
    FORGET, FORGOTTEN, GAP, HEAD_SIZE, HELLO, INCOMPLETE, JOIN, LEAVE, MEMBERS, MORE, MSG,
    NAMED, PING, PONG, REFUSED, SETTINGS, SNAPSHOT, UNSUB, UNWATCH, UNWATCHED, WATCH, WELCOME,
    append_bytes, check_head, consume, free_buffer, trim_buffer,
)
from sockwave.core.topics.wants cimport ASKED, UNWANTED, WANTED, ask_for_missed, settle_waiters

from sockwave.errors import SockwaveError

cdef enum:
    VERSION = 1
    KEPT_CAPACITY = 1 << 20


cdef class SequencerLink(Uplink):
    """A worker's end of its link to the sequencer, without the socket.

    `schedule` is called when there is something to send, once until `output.read` is called.
    """

    def __cinit__(self, TopicTable table, host, schedule=None, **_):
        self.table = table
        self.host = host
        self.output = LinkOutput(schedule)
        self.submissions = Submissions(self.output)
        self.reception = Reception(table, host, self.output, self.submissions)
        self.incarnation = secrets.randbits(64) | 1
        memset(&self.input, 0, sizeof(self.input))
        memset(&self.numbers, 0, sizeof(self.numbers))

    def __dealloc__(self):
        free_buffer(&self.input)
        free_numbers(&self.numbers)

    # ---- which topics come

    cdef int unwant(self, Subscribers topic) except -1:
        if topic.want_state == UNWANTED or topic.replay_count:
            return 0
        topic.want_state = UNWANTED
        topic.epoch = topic.offset = 0
        if topic.request:
            self.output.requests.pop(topic.request, None)
            topic.request = 0
        settle_waiters(topic)
        if self.output.is_open:
            self.output.write(UNSUB, 0, topic, 0, 0, 0, 0, NULL, 0)
            self.output.pump()
        return 0

    def forget(self, Subscribers topic):
        """Let a topic's numbers go: nobody here uses it any more."""
        if topic.number:
            self.output.own_numbers.pop(topic.number, None)
            if self.output.is_open:
                self.output.write(FORGET, 0, topic, 0, 0, 0, 0, NULL, 0)
                self.output.pump()
            topic.number = 0
        if topic.remote_number:
            remove_number(&self.numbers, topic.remote_number)
            topic.remote_number = 0

    @property
    def dropped_count(self):
        """How many messages of plain topics were dropped on either way."""
        return self.reception.missed_count + self.submissions.dropped_count

    # ---- presence, and counts

    def join(self, Subscribers topic, bytes key, bytes data):
        """Tell the sequencer of a member whose first connection here has come, or of its data."""
        if self.output.is_open:
            self.output.write_bytes(JOIN, 0, topic, 0, len(key).to_bytes(2, "little") + key + data)
            self.output.pump()

    def leave(self, Subscribers topic, bytes key):
        """Tell the sequencer of a member whose last connection here has gone."""
        if self.output.is_open:
            self.output.write_bytes(LEAVE, 0, topic, 0, key)
            self.output.pump()

    def watch(self, Subscribers topic, answer, *, bint is_snapshot=False):
        """Ask who is there: `answer` gets parts of JSON objects, and whether more follow. Without
        `is_snapshot`, differences come from then on. Raises SockwaveError if the link is down."""
        self.check_open()
        request = self.output.new_request(answer)
        self.output.write(WATCH, SNAPSHOT if is_snapshot else 0, topic, request, 0, 0, 0, NULL, 0)
        self.output.pump()

    def unwatch(self, Subscribers topic):
        """Hear no more differences."""
        if self.output.is_open:
            self.output.write(UNWATCH, 0, topic, 0, 0, 0, 0, NULL, 0)
            self.output.pump()

    def count(self, Subscribers topic, answer):
        """Ask how many subscribers all workers have: `answer` gets the number."""
        self.check_open()
        request = self.output.new_request(answer)
        self.output.write(COUNT, 0, topic, request, 0, 0, 0, NULL, 0)
        self.output.pump()

    def check_open(self):
        """Raise SockwaveError while the sequencer is away."""
        if not self.output.is_open:
            raise SockwaveError("the sequencer is away: expected to be asked again later")

    # ---- the link comes and goes

    def greet(self, bytes about, bytes settings):
        """Say HELLO, and what the application has declared."""
        self.output.forget()
        free_buffer(&self.input)
        self.output.write(
            HELLO, 0, None, VERSION, self.incarnation, 0, 0,
            <const uint8_t*>PyBytes_AS_STRING(about), PyBytes_GET_SIZE(about),
        )
        self.output.write_bytes(SETTINGS, 0, None, 0, settings)
        self.output.pump()

    def declare(self, bytes settings):
        """Tell the sequencer what the application has declared meanwhile."""
        if self.output.is_open:
            self.output.write_bytes(SETTINGS, 0, None, 0, settings)
            self.output.pump()

    cdef int opened(self) except -1:
        """The sequencer is there: ask again for what is wanted, and send again what it may not
        have."""
        cdef Subscribers topic
        self.output.is_open = True
        for topic in list(self.table.topics.values()):
            if topic.want_state != UNWANTED:
                ask_for_missed(self.output, topic)
        for request in list(self.output.requests.values()):
            if isinstance(request, Replay):
                (<Replay>request).ask()
        self.host.link_opened()
        self.submissions.resend()
        return self.output.pump()

    def lost(self):
        """The sequencer has gone; there will be another."""
        cdef Subscribers topic
        self.output.is_open = False
        self.output.forget()
        free_buffer(&self.input)
        free_numbers(&self.numbers)
        for topic in self.table.topics.values():
            topic.number = topic.remote_number = 0
            if topic.want_state == WANTED:
                topic.want_state = ASKED
            topic.request = 0
        for number, who in list(self.output.requests.items()):
            if isinstance(who, Replay):
                (<Replay>who).is_asking = False
                continue
            del self.output.requests[number]
            if not isinstance(who, Subscribers):
                who.lost()

    def give_up(self, error):
        """The server ends: nothing that waits is published any more."""
        self.output.is_open = False
        self.submissions.give_up(error)
        for who in list(self.output.requests.values()):
            if isinstance(who, Replay):
                (<Replay>who).give_up(error)
            elif not isinstance(who, Subscribers):
                who.lost()
        self.output.requests.clear()

    # ---- reading

    def take(self, const uint8_t[::1] data):
        """Take bytes that the sequencer has sent. Raises SockwaveError for what is no record of
        its."""
        if data.shape[0]:
            self.take_bytes(&data[0], data.shape[0])

    cdef int take_bytes(self, const uint8_t* data, size_t size) except -1:
        cdef Py_ssize_t taken
        if self.input.size:
            append_bytes(&self.input, data, size)
            taken = self.take_records(self.input.data + self.input.begin, self.input.size)
            consume(&self.input, taken)
            return trim_buffer(&self.input, KEPT_CAPACITY)
        taken = self.take_records(data, size)
        return append_bytes(&self.input, data + taken, size - taken)

    cdef Py_ssize_t take_records(self, const uint8_t* data, size_t size) except -1:
        """Handle the whole records that bytes begin with; return their size."""
        cdef Head head
        cdef size_t place = 0
        cdef int found
        while place < size:
            found = check_head(data + place, size - place, &head, True)
            if found == INCOMPLETE:
                break
            if found == BAD_LENGTH or found == BAD_TYPE:
                raise SockwaveError(
                    f"the sequencer: expected a record, given type {head.type}, {head.length} bytes"
                )
            self.take_record(&head, data + place + HEAD_SIZE, head.length - HEAD_SIZE)
            place += head.length
        return place

    cdef int take_record(self, const Head* head, const uint8_t* payload, size_t size) except -1:
        cdef Subscribers topic
        if head.type == MSG:
            topic = self.topic_of(head)
            return 0 if topic is None else self.reception.heard_message(topic, head, payload, size)
        if head.type == ACK:
            publication = self.submissions.take(head.sequence) if head.topic else None
            if publication is not None:
                (<Publication>publication).finish(head.epoch, head.offset, 0)
            return 0
        if head.type == END:
            return self.reception.heard_end(head)
        if head.type == NAMED:
            return self.heard_name(head, payload, size)
        if head.type == WELCOME:
            self.output.worker = head.worker
            return self.opened()
        if head.type == PING:
            self.output.write(PONG, 0, None, 0, 0, 0, 0, NULL, 0)
            return self.output.pump()
        if head.type == REFUSED:
            return self.heard_refusal(head, payload, size)
        if head.type == BROADCAST:
            return self.reception.heard_broadcast(head, payload, size)
        if head.type == COUNTED:
            who = self.output.requests.pop(head.request, None)
            if who is not None:
                who.came(head.offset)
            return 0
        if head.type == GAP and not head.topic:
            # Broadcasts, for which this worker was too slow.
            self.reception.missed_count += head.offset
            return 0
        if head.type == BROKER:
            self.host.reach.broker_told((<const char*>payload)[:size])
            return 0
        topic = self.topic_of(head)
        if topic is None:
            return 0                        # forgotten here, while this was on its way
        if head.type == GAP:
            return self.reception.heard_gap(topic, head)
        if head.type == MEMBERS:
            who = self.output.requests.get(head.request)
            if not head.flags & MORE:
                self.output.requests.pop(head.request, None)
            if who is not None:
                who.came((<const char*>payload)[:size], bool(head.flags & MORE))
        elif head.type == DIFF:
            self.host.presence.differ(topic, (<const char*>payload)[:size])
        elif head.type == COUNT_ASKED:
            self.output.write(
                COUNTING, 0, None, head.request, 0, self.table.count(topic), 0, NULL, 0
            )
            return self.output.pump()
        elif head.type == UNWATCHED:
            self.host.listeners.unwatched(topic)
        elif head.type == FORGOTTEN:
            remove_number(&self.numbers, head.topic)
            topic.remote_number = 0
            topic.epoch = topic.offset = 0
            self.host.publishing.topic_forgotten(topic)
        return 0

    cdef Subscribers topic_of(self, const Head* head):
        cdef void* found = find_number(&self.numbers, head.topic) if head.topic else NULL
        return None if found is NULL else <Subscribers>found

    cdef int heard_name(self, const Head* head, const uint8_t* payload, size_t size) except -1:
        """The sequencer will call a topic by a number of its own."""
        cdef Subscribers topic = self.output.own_numbers.get(head.request) if head.request else None
        if topic is None:
            try:
                topic = self.table.find(PyUnicode_DecodeUTF8(<const char*>payload, size, NULL))
            except (SockwaveError, ValueError) as error:
                self.host.report(error)     # too many topics: its messages are not for us
        if topic is None:
            return 0
        if topic.remote_number:
            remove_number(&self.numbers, topic.remote_number)
        topic.remote_number = head.topic
        return set_number(&self.numbers, head.topic, <void*>topic)

    cdef int heard_refusal(self, const Head* head, const uint8_t* payload, size_t size) except -1:
        """The sequencer has not done what it was asked for."""
        cdef Publication publication
        error = SockwaveError(PyUnicode_DecodeUTF8(<const char*>payload, size, "replace"))
        publication = self.submissions.take(head.sequence) if head.sequence else None
        if publication is not None:
            return publication.fail(error, self.host.report)
        who = self.output.requests.pop(head.request, None) if head.request else None
        if isinstance(who, Replay):
            (<Replay>who).give_up(error)
        elif isinstance(who, Subscribers):
            self.not_wanted(who, error)
        elif who is not None:
            who.lost()
        else:
            self.host.report(error)
        return 0

    cdef int not_wanted(self, Subscribers topic, object error) except -1:
        """The sequencer has no room for a topic: whoever waits for it hears of it."""
        topic.request = 0
        topic.want_state = UNWANTED
        waiters, topic.waiters = topic.waiters, None
        for waiter in waiters or ():
            if not waiter.done():
                waiter.set_exception(error)
                waiter.exception()          # a task that does not wait is not told of it
        if not waiters:
            self.host.report(error)
        return 0

"""What one connection has missed of a topic, on its way to it."""

from sockwave.core.session.closing cimport CONNECTED, closed_error
from sockwave.core.topics.records cimport MORE, RECOVERED, SINCE, SUB
from sockwave.core.topics.subscribers cimport Subscriptions
from sockwave.core.topics.wants cimport confirm_at

from sockwave.deliveries import Position, Subscribed
from sockwave.errors import SockwaveError

cdef enum:
    # What a client is sent at a time of what it has missed: with the backlog from which on `send`
    # waits, less than 256 KiB are held for it.
    PAGE_SIZE = 64 << 10


cdef class Replay:
    """What one connection has missed of a topic, on its way to it: in pages, as fast as the client
    takes them. With the last one, the connection joins the topic's subscribers."""

    def __cinit__(
        self, LinkOutput output, TopicTable table, host, Connection connection, Subscribers topic,
        since, future, after,
    ):
        self.output = output
        self.table = table
        self.host = host
        self.connection = connection
        self.topic = topic
        self.future = future
        self.after = after
        if since is not None:
            self.has_since = True
            self.epoch, self.offset = since
        self.was_given = self.has_since
        self.is_recovered = True

    def start(self):
        """Ask for the first page."""
        self.request = self.output.new_request(self)
        self.ask()
        self.output.pump()

    cdef int ask(self) except -1:
        self.is_asking = True
        return self.output.write(
            SUB, SINCE if self.has_since else 0, self.topic, self.request, self.epoch, self.offset,
            PAGE_SIZE, NULL, 0,
        )

    def _go_on(self, _=None):
        """Ask for the next page, now that the client has taken the one before."""
        if self.is_over or self.is_asking:
            return
        if self.output.is_open:
            self.ask()
            self.output.pump()
        # else: `opened` asks, once the sequencer is back

    cdef int ended(self, const Head* head) except -1:
        """A page has come to its end."""
        self.is_asking = False
        cdef bint is_new_log = (
            self.has_since and not head.flags & RECOVERED and head.epoch != self.epoch
        )
        if not head.flags & RECOVERED:
            self.is_recovered = False
        self.has_since = True
        self.epoch, self.offset = head.epoch, head.offset
        if self.connection.state != CONNECTED:
            return self.give_up(closed_error(self.connection))
        if is_new_log and head.offset:
            self.epoch = self.offset = 0    # all that is kept: of this log it has nothing yet
            return self.ask()
        if head.flags & MORE or self.topic.request:
            # While a gap is being filled for all, its messages are not live.
            waiter = self.connection.when_drained()
            if head.flags & MORE and hasattr(waiter, "add_done_callback"):
                waiter.add_done_callback(self._go_on)
            elif head.flags & MORE:
                self._go_on()
            else:
                self.host.call_later(self._go_on)
            return 0
        self.finish()
        confirm_at(self.topic, head.epoch, head.offset)
        self.table.add(self.connection, self.topic)
        result = Subscribed(
            Position(head.epoch, head.offset) if head.epoch else None,
            self.was_given and self.is_recovered,
        )
        if not self.future.done():
            self.future.set_result(result)
        if self.after is not None:
            self.after(result)
        return 0

    cdef int finish(self) except -1:
        """It is over, one way or the other."""
        cdef Subscriptions mine = self.connection.subscriptions
        if self.is_over:
            return 0
        self.is_over = True
        self.output.requests.pop(self.request, None)
        if mine is not None and mine.replays is not None:
            mine.replays.pop(self.topic.name, None)
        self.topic.replay_count -= 1
        self.host.replay_over(self.request != 0)
        return 0

    cdef int give_up(self, object error) except -1:
        """It cannot go on: `error` says why."""
        self.finish()
        if not self.future.done():
            self.future.set_exception(error)
            self.future.exception()         # a task that does not wait is not told of it
        return 0

    def cancel(self):
        """End it: the connection has left the topic, or has ended."""
        self.give_up(closed_error(self.connection) if self.connection.state != CONNECTED else (
            SockwaveError(f"subscribe: the connection has left {self.topic.name!r} meanwhile")
        ))

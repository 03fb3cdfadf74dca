"""Server-sent events: HTML Living Standard, section 9.2."""

import weakref
from asyncio import CancelledError, current_task
from math import isfinite

from sockwave.core.events.waiter cimport Done

from sockwave.core.events.waiter import DONE
from sockwave.errors import ClientDisconnected
from sockwave.json_codec import encode_json

# The default of a parameter for which None is a value like others.
cdef object MISSING = object()

# 9.2.6: a line that begins with a colon is a comment, which clients ignore.
cdef bytes COMMENT = b":\n\n"


cdef str check_line(str name, object value):
    """Return the value of a field, which is one line; raise TypeError or ValueError."""
    if not isinstance(value, str):
        raise TypeError(f"{name}: expected str, given {type(value).__name__}")
    if "\n" in value or "\r" in value:
        raise ValueError(f"{name}: expected one line, given {value!r}")
    return value


cdef str id_line(object id):
    if isinstance(id, int) and not isinstance(id, bool):
        id = str(id)
    # 9.2.6: "If the field value does not contain U+0000 NULL, then set the last event ID buffer to
    # the field value. Otherwise, ignore the field."
    if "\0" in check_line("id", id):
        raise ValueError(f"id: expected no NUL, given {id!r}")
    return f"id: {id}\n"


cdef str retry_line(object retry):
    if not isinstance(retry, int) or isinstance(retry, bool):
        raise TypeError(f"retry: expected int, milliseconds, given {type(retry).__name__}")
    if retry < 0:
        raise ValueError(f"retry: expected 0 or more milliseconds, given {retry}")
    return f"retry: {int(retry)}\n"


cdef str data_lines(object data):
    """Return a `data` field for each line, which the client puts together again."""
    if isinstance(data, (dict, list)):
        data = encode_json(data)
    if not isinstance(data, str):
        raise TypeError(f"data: expected str, or dict or list as JSON, given {type(data).__name__}")
    lines = data.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    return "".join([f"data: {line}\n" for line in lines])


def format_event(data, event, id, retry):
    """Return an event as it goes on the wire; raise TypeError or ValueError for what is none."""
    text = ""
    if event is not None:
        text += f"event: {check_line('event', event)}\n"
    if id is not None:
        text += id_line(id)
    if retry is not None:
        text += retry_line(retry)
    if data is not None:
        text += data_lines(data)
    if not text or data is None and event is not None:
        # 9.2.6: "If the data buffer is an empty string", the event is not dispatched.
        raise ValueError("data: expected str, dict or list, given none")
    try:
        return f"{text}\n".encode()
    except UnicodeEncodeError:
        raise ValueError("data: expected str without lone surrogates, given one") from None


cdef double check_keepalive(object keepalive) except -1:
    """Return the interval of comments in seconds, 0: none."""
    if keepalive is None:
        return 0
    if not isinstance(keepalive, (int, float)) or isinstance(keepalive, bool):
        raise TypeError(f"keepalive: expected seconds or None, given {keepalive!r}")
    if not (isfinite(keepalive) and keepalive > 0):
        raise ValueError(f"keepalive: expected more than 0 seconds or None, given {keepalive}")
    return keepalive


def keep_alive(reference):
    """Send a comment, if one is due, on a stream that is still there."""
    stream = reference()
    if stream is not None:
        stream._keep_alive()


cdef class Draining:
    """Waits until a client has taken most of what it was sent."""
    cdef object drained

    def __await__(self):
        try:
            yield from self.drained
        except CancelledError:
            # The client has gone. The task of its own listener is cancelled for that; any other
            # task has done nothing wrong, and goes on.
            if not self.drained.cancelled() or current_task().cancelling():
                raise
            raise ClientDisconnected("the client has gone") from None


cdef class EventStream:
    """A stream of server-sent events: what `response.event_stream()` returns.

    It may be sent to from anywhere in the loop's thread, and used as `async with`, which ends it.
    """

    def __init__(self, Response response not None, loop, keepalive):
        self.keepalive_s = check_keepalive(keepalive)
        self.response = response
        self.loop = loop
        self.sent_at = loop.time()
        if self.keepalive_s:
            self.set_timer()

    def __repr__(self):
        return f"<EventStream {'open' if self.is_open else 'ended'}>"

    @property
    def is_open(self):
        """Whether its client hears what is sent: neither side has ended it."""
        return not self.response._has_closed

    def send(self, data=None, *, event=None, id=None, retry=None):
        """Send one event; awaiting it waits while the backlog is over the high-water mark.

        `data` is str, of any number of lines, or a dict or list, which is sent as JSON. `event` is
        its type, "message" unless it is given. `id` comes back as `request.last_event_id` when the
        page connects again, `retry` milliseconds after it was disconnected. Without `data`, `id`
        and `retry` are kept by the client, and no event happens.

        Raises TypeError or ValueError for what cannot be sent, ConnectionError when the stream has
        ended, or the client has gone, or is so slow that `max_backlog` bytes wait for it: then it
        is disconnected.
        """
        drained = self.response._send_event(format_event(data, event, id, retry))
        self.sent_at = self.loop.time()
        return drained if type(drained) is Done else draining(drained)

    def end(self):
        """End the stream; nothing happens if it has ended. Its client will connect again, as it
        does whenever a stream ends."""
        self.cancel_timer()
        return self.response.end() if self.is_open else DONE

    def on(self, event, listener=MISSING):
        """Call `listener` at the event "close": see `Response.on`."""
        if listener is MISSING:
            return self.response.on(event)
        self.response.on(event, listener)
        return self

    async def __aenter__(self):
        return self

    async def __aexit__(self, kind, error, traceback):
        self.end()

    # ---- comments

    cdef int set_timer(self) except -1:
        when = self.sent_at + self.keepalive_s
        # By a weak reference: what nothing else refers to cannot be sent to, and need not be kept.
        self.timer = self.loop.call_at(when, keep_alive, weakref.ref(self))
        return 0

    cdef int cancel_timer(self) except -1:
        timer, self.timer = self.timer, None
        if timer is not None:
            timer.cancel()
        return 0

    def _keep_alive(self):
        """Send a comment, if nothing was sent for so long."""
        cdef double now = self.loop.time()
        if not self.is_open:
            return
        if self.sent_at + self.keepalive_s <= now:
            if not self.response._is_behind():
                self.response.write(COMMENT)
            self.sent_at = now
        self.set_timer()


cdef object draining(object drained):
    cdef Draining made = Draining.__new__(Draining)
    made.drained = drained
    return made

"""What a thread holds of a connection: the calls that block, each under the loop's lock."""

import warnings

from sockwave.core.session.closing cimport CONNECTED, ENDED
from sockwave.core.session.delivery_queue cimport TopicQueue
from sockwave.core.sync.session cimport seconds_of
from sockwave.core.sync.shared_loop cimport SharedLoop

from sockwave.close import encode_close
from sockwave.errors import ConnectionClosed, code_at_exit


cdef class Connection:
    """A WebSocket connection that `sockwave.sync.connect` has opened, for threads without asyncio.

    Any number of threads may send at once, and one may receive. `with` closes it in the end;
    `for message in conn` gives messages until it is closed.

    One that is dropped without `close` is reset, with a ResourceWarning.
    """

    def __cinit__(self, ThreadSession session not None):
        self.session = session

    def __del__(self):
        # It may be the collector of garbage that calls, amid anything: the loop does the rest.
        cdef ThreadSession session = self.session
        if session is None or session.state == ENDED or session.shared.has_ended():
            return
        text = f"unclosed {self!r}"     # before it ends
        session.shared.end_later(session)
        warnings.warn(text, ResourceWarning, source=self)

    def __repr__(self):
        return repr(self.session)

    cdef int begin(self, str call) except -1:
        """Begin a call that may block. Raises SockwaveError where the thread must not."""
        self.session.check_may_wait(call)
        return self.session.shared.enter()

    cdef int end(self) except -1:
        return self.session.shared.leave()

    # ---- messages

    def send(self, message, *, compress=None):
        """Send a str (text) or bytes-like (binary) message; wait while the server is behind.

        Messages leave in order and whole, whichever threads send them. It waits while more than
        `high_water` bytes are left to be sent. `compress` True or False overrides, for this
        message, whether one of its size is compressed.

        Raises ConnectionClosed when not connected, TypeError for anything but str and bytes-like
        (on a draft: anything but str), ValueError for a str with a lone surrogate. Serves RFC 6455,
        section 6.1.
        """
        cdef ThreadSession session = self.session
        if session.shared.hands_over():
            session.send_there(message, compress)
            return
        session.shared.enter()
        try:
            session.send_now(message, compress)
        finally:
            session.shared.leave()

    def recv(self, timeout=None):
        """Receive the next message; wait for it at most `timeout` seconds (None: without limit).

        Raises TimeoutError after `timeout`, ConnectionClosed when no message is left and none will
        come, SockwaveError where another thread receives already.
        """
        cdef double seconds = seconds_of(timeout)
        self.begin("recv")
        try:
            message = self.session.take_next(seconds)
        finally:
            self.end()
        return message

    def __iter__(self):
        return self

    def __next__(self):
        try:
            message = self.recv()
        except ConnectionClosed:
            raise StopIteration from None
        return message

    def ping(self, data=b""):
        """Send a ping, wait for its pong, and return the round trip in seconds (RFC 6455,
        section 5.5.2).

        The pong has to bring the same `data`, or that of a later ping.

        Raises ConnectionClosed when not connected, or when the connection ends before the pong;
        TimeoutError if that has not come within `ping_timeout`; TypeError on a draft, which has no
        ping, ValueError for more than 125 bytes.
        """
        cdef ThreadSession session = self.session
        session.check_may_wait("ping")
        future = None
        if session.shared.hands_over():
            future = session.shared.call_there(session._ping, (data,))
        self.begin("ping")
        try:
            seconds = session.await_future(session._ping(data) if future is None else future)
        finally:
            self.end()
        return seconds

    # ---- the end

    def close(self, code=1000, reason=""):
        """Close the connection (RFC 6455, section 7.1.2), and wait until it has ended.

        Nothing happens when it has ended already. Messages that have come and were not received
        are dropped where the server has gone. `close_timeout` bounds the wait for the server. When
        the interpreter ends, the connection does so too, without a wait. In a forked child nothing
        happens: the connection is the parent's.

        Raises TypeError or ValueError for a code or reason that cannot be sent. On a draft neither
        is sent.
        """
        cdef ThreadSession session = self.session
        encode_close(code, reason)      # a code that cannot be sent is an error in any case
        if session.shared.is_abandoned:
            return
        is_handed_over = session.shared.hands_over()
        if is_handed_over:
            session.shared.call_there(session._close, (code, reason))
        session.shared.enter()
        try:
            if not is_handed_over:
                session._close(code, reason)
            if session.may_wait():
                session.await_end_now()
        finally:
            session.shared.leave()

    def abort(self):
        """Reset the connection now, without a closing handshake."""
        cdef SharedLoop shared = self.session.shared
        if shared.is_abandoned:
            return
        if shared.hands_over():
            shared.call_there(self.session.abort, ())
            return
        shared.enter()
        try:
            self.session.abort()
        finally:
            shared.leave()

    def __enter__(self):
        return self

    def __exit__(self, kind, error, traceback):
        self.close(code_at_exit(error))

    # ---- what the application asks about

    @property
    def id(self):
        """Counts upwards, and is never used again in this process: a name, no secret."""
        return self.session.id

    @property
    def version(self):
        """The protocol version: "draft75", "draft76", "hybi-07", "hybi-08" or "rfc6455"."""
        return self.session.version

    @property
    def ready_state(self):
        """The state of the connection: a `ReadyState`."""
        return self.session.ready_state

    @property
    def is_open(self):
        """Whether messages can be sent: `send` raises ConnectionClosed where it is false."""
        return self.session.state == CONNECTED

    @property
    def request(self):
        """The request of the opening handshake."""
        return self.session.request

    @property
    def response_headers(self):
        """The Headers of the server's answer to the handshake."""
        return self.session.response_headers

    @property
    def subprotocol(self):
        """The subprotocol that the server has chosen, or None."""
        return self.session.subprotocol

    @property
    def data(self):
        """A dict for the application's own use."""
        return self.session.data

    @property
    def tls(self):
        """What the TLS handshake has agreed on with the server: a `TLSInfo`; None without TLS."""
        return self.session.tls

    @property
    def is_secure(self):
        """Whether the connection uses TLS."""
        return self.session.is_secure

    @property
    def remote_address(self):
        """The server's end: (host, port); ("", 0) on a Unix socket."""
        return self.session.remote_address

    @property
    def local_address(self):
        """Our end: (host, port), or the path of a Unix socket."""
        return self.session.local_address

    @property
    def latency(self):
        """The latest round trip of a ping in seconds; None before the first pong. The pings of
        `ping_interval` keep it up to date."""
        return self.session.latency

    @property
    def lag(self):
        """How old the message is that was received last, in seconds; None without the option `lag`,
        and before the first message. See `ClientConnection.lag`."""
        return self.session.lag

    @property
    def backlog_size(self):
        """How many bytes wait to be sent."""
        return self.session.backlog_size

    @property
    def dropped_count(self):
        """How many messages were dropped: by `conflate`, or unsent when the connection ended."""
        return self.session.dropped_count

    @property
    def close_code(self):
        """How the connection ended: the server's close code, or ours if the server did something
        wrong; None before the end. 1005 stands for a close without a code, 1006 for an end without
        a close."""
        return self.session.close_code

    @property
    def close_reason(self):
        """The reason that came with the close code; None before the end."""
        return self.session.close_reason


cdef class Taken:
    """What the topics of a connection bring, one after the other."""

    def __cinit__(self, Connection connection not None, TopicQueue queue not None, str call):
        self.connection = connection
        self.queue = queue
        self.call = call

    def __iter__(self):
        return self

    def __next__(self):
        try:
            found = self.connection.session._take_of_topics(self.queue, self.call, None)
        except ConnectionClosed:
            raise StopIteration from None
        return found

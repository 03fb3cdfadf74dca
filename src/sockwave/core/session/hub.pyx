"""What the connections of one server share, and broadcasts to all of them."""

from libc.stdint cimport uint8_t

from sockwave.core.session.calls cimport FREE, OTHER, Call
from sockwave.core.protocol.frames cimport OUT_OF_MEMORY
from sockwave.core.protocol.framing cimport check_compress, payload_of
from sockwave.core.session.shared cimport SharedMessage, share_message
from sockwave.core.io.slow_peer cimport CLOSE_SLOW, policy_of
from sockwave.core.io.timers cimport ticks_of

from sockwave.json_codec import AS_JSON

cdef extern from "Python.h":
    Py_ssize_t PY_SSIZE_T_MAX


cdef class Hub:
    """What the connections of one server share."""

    def __cinit__(
        self, Emitter host, Engine engine, limits, Connections connections, str slow="close"
    ):
        self.host = host
        self.engine = engine
        self.thread = LoopThread() if engine is None else engine.thread
        self.limits = limits
        self.connections = connections
        self.calls = Calls(engine, host, limits)
        self.max_size = PY_SSIZE_T_MAX if limits.max_size is None else limits.max_size
        self.queue_count = limits.queue_count
        self.queue_size = limits.queue_size
        self.max_tasks = PY_SSIZE_T_MAX if limits.max_tasks is None else limits.max_tasks
        self.policy = policy_of(slow, None, CLOSE_SLOW)
        self.ping_ticks = ticks_of(limits.ping_interval)
        self.pong_ticks = ticks_of(limits.ping_timeout)
        self.idle_ticks = ticks_of(limits.idle_timeout)
        self.listen_ticks = ticks_of(limits.listen_timeout)
        self.max_lifetime = limits.max_lifetime or 0
        self.lifetime_jitter = limits.lifetime_jitter
        self.codecs = Codecs(self.max_size)
        self.json = AS_JSON

    def broadcast(
        self, message, Session besides=None, *, compress=None, slow=None, key=None
    ):
        """Send a message to every connected client except `besides`, on other workers and hosts
        too; return how many of this process it was queued for."""
        self.thread.check("server.broadcast" if besides is None else "conn.broadcast")
        if self.others is not None:
            self.others.check_publishing()
            if self.others.is_shared:
                # What cannot be sent to all of them is sent to nobody.
                self.own(message, compress=compress, slow=slow, key=key)
                self.others.send_broadcast(message, compress=compress, slow=slow, key=key)
        return self.deliver(message, besides, compress=compress, slow=slow, key=key)

    def deliver(
        self, message, Session besides=None, *, compress=None, slow=None, key=None
    ):
        """Send a broadcast to the connected clients of this process except `besides`; return how
        many it was queued for."""
        cdef SharedMessage shared
        cdef Py_ssize_t count = 0
        shared = share_message(message, compress, policy_of(slow, key, self.policy), key)
        for receiver in self.connections.places:
            # A cast: no check of the type for each of them.
            if receiver is not None and receiver is not besides:
                count += shared.send_to(<Session>receiver)
        return count

    def own(self, message, *, compress=None, slow=None, key=None):
        """Raise the errors that `broadcast` would raise; return the message as it is now, to be
        sent later."""
        cdef const uint8_t* data
        cdef size_t size
        cdef int opcode
        policy_of(slow, key, self.policy)
        check_compress(compress)
        return payload_of(message, &data, &size, &opcode)

    def measure(self, others):
        """Return how many bytes of memory all connections take, and `others`, not open yet."""
        cdef Session connection
        cdef size_t size = 0
        for connection in self.connections:
            size += connection.held_size()
        for connection in others:
            size += connection.held_size()
        return size

    def measure_each(self):
        """Return pairs of how many bytes of memory a connection takes, and the connection, for all
        that take any."""
        cdef Session connection
        cdef size_t size
        cdef list pairs = []
        for connection in self.connections:
            size = connection.held_size()
            if size:
                pairs.append((size, connection))
        return pairs

    def shed(self, Session connection):
        """Fail a connection because of the memory that it takes; return how many bytes that freed.
        """
        cdef size_t size = connection.held_size()
        connection.give_up(OUT_OF_MEMORY)
        connection.forget_received()
        if connection.held_size() > self.engine.cork.marks.high_water:
            # A message that has been sent by half would take memory until the peer has read it.
            connection.transport.close_with(None)
        return size - min(size, connection.held_size())

    cdef int tell_server(self, int event, Session connection, object argument) except -1:
        """Call the server's listeners of an event of a connection, in the connection's context."""
        return self.tell(self.host, event, connection, argument)

    cdef int tell(self, Emitter host, int event, Session connection, object argument) except -1:
        """Call the listeners that `host` has of an event: the server's, or those of a route."""
        cdef Session previous = self.current
        if not host.hears(event):
            return 0
        entered = connection.enter_context()
        self.current = connection
        try:
            return host.emit(event, connection, argument)
        finally:
            self.current = previous
            connection.leave_context(entered)

    # ---- calls

    def start_task(self, coroutine, Session connection=None, *, bint is_free=False):
        """Run the coroutine of an asynchronous listener as a task: the server's own, or a
        connection's. That ends with the connection, unless `is_free`."""
        self.calls.start(coroutine, connection, FREE if is_free else OTHER)

    @property
    def call_count(self):
        """How many calls, and connections with messages left, the server's shutdown waits for."""
        return self.calls.bound_count

    def when_idle(self, call):
        """Set what is called when `call_count` falls to 0; None: nothing."""
        self.calls.when_idle = call

    def cancel_calls(self):
        """Cancel the calls that are left when all connections have ended, and all later ones."""
        self.calls.cancel_all()

    def excuse(self, task):
        """Let the server's shutdown not wait for a task that waits for the shutdown."""
        cdef Session connection
        if task is not None and not self.calls.excuse(task):
            for connection in self.connections:
                call = connection.find_call(task)
                if call is not None:
                    self.calls.excuse_call(call)

    def tasks(self):
        """Return the tasks of all calls that have one for themselves."""
        cdef Call call
        tasks = [call.task for call in self.calls.tasks]
        for connection in self.connections:
            tasks += connection._tasks()
        return tasks

    def begin_last_calls(self):
        """From now on, let the shutdown wait for the calls of the server's own listeners, which get
        a time of their own, and for no other call."""
        self.calls.bound_count = 0
        self.calls.is_over = False
        self.calls.binds_all = True

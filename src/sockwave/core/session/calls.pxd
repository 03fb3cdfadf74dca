"""The calls of asynchronous listeners: how they share tasks, and when a call has its own task."""

from libc.stdint cimport uint32_t

from sockwave.core.events.emitter cimport Emitter
from sockwave.core.events.strand cimport Strand
from sockwave.core.events.waiter cimport Waiter
from sockwave.core.io.engine cimport Beginner, Engine
from sockwave.core.flag cimport flag
from sockwave.core.session.session cimport Session
from sockwave.core.limits.counters cimport Limit

# What a call is of. OF_MESSAGE: a listener of `message`, whose calls count for `max_tasks`; FREE: a
# listener whose call may go on when its connection has ended; OF_REQUEST: an application that
# answers a request, which belongs to no connection, and which the shutdown waits for; OTHER: any
# other listener.
cdef enum Kind:
    OTHER
    OF_MESSAGE
    FREE
    OF_REQUEST

cdef class Call
cdef class Runner

cdef class Calls(Beginner):
    """The calls of the asynchronous listeners of one server, in the order in which they were made.

    Calls share a task, as long as the application cannot tell the difference: a call that ends
    without having waited costs no task. Between the turns of the loop, this task is parked. A call
    that waits keeps the task that it began in for itself, and the calls behind it begin in others.
    """
    cdef Engine engine
    cdef Emitter host
    cdef set tasks              # calls with a task that outlive their connection, or have none
    # Calls of these that have to end within `finish_timeout`, and connections that have ended while
    # the application had messages left to receive → the deadline of each, in seconds of the loop's
    # clock; the oldest first.
    cdef dict finishing
    cdef object alarm           # the loop's handle of the next `_look`; None: none is due
    cdef double finish_s        # `finish_timeout`, in seconds; 0: no limit
    cdef Py_ssize_t max_finishing       # entries of `finishing`, at most
    # How many calls, and connections with messages left, the server's shutdown waits for.
    cdef readonly Py_ssize_t bound_count
    cdef object when_idle       # called when `bound_count` falls to 0, if not None
    cdef bint is_over           # the time is up: calls that would have to end in time are cancelled
    cdef bint binds_all         # the shutdown waits for calls of the server's own listeners too
    cdef object waiting         # a deque of the calls that have not begun
    cdef list spare             # runners whose tasks are parked
    cdef bint has_used_spare    # in this tick
    cdef Py_ssize_t runner_count        # tasks that have been created and have not begun
    cdef uint32_t promised      # the wheel's tick at which the latest of them was created
    cdef Call beginning         # the call that is in its first step
    cdef object beginner        # the task that runs this step

    cdef int start(self, object coroutine, Session connection, Kind kind) except -1
    cdef int adopt(self, object task, Session connection) except -1
    cdef bint is_promised(self) noexcept
    cdef bint can_share(self) except -1
    cdef int add(self, Call call) except -1
    cdef int ask_for_task(self) except -1
    cdef int ask_for_new_task(self) except -1
    cdef Py_ssize_t begin_parked(self, Runner runner, Py_ssize_t count) except -1
    cdef Py_ssize_t begin_some(self, Runner runner, Py_ssize_t count) except -1
    cdef bint has_begun(self, Runner runner, Call call) except -1
    cdef int add_runner(self) except -1
    cdef int promise(self) except -1
    cdef int let_go_on(self) except -1
    cdef int keep_task(self, Session connection) except -1
    cdef int bind(self) noexcept
    cdef int unbind(self) except -1
    cdef int watch(self, object one) except -1
    cdef int forget(self, object one) except -1
    cdef int set_alarm(self, double now) except -1
    cdef int stop(self, object one, Limit limit) except -1
    cdef int cancel_all(self) except -1
    cdef bint excuse(self, object task) except -1
    cdef int excuse_call(self, Call call) except -1

cdef class Call:
    """One call of a listener, and what happens when its task is done."""
    cdef Calls calls
    cdef object coroutine
    cdef object context         # that it runs in: a copy of its own, as each task has one
    cdef object task            # that it has for itself; None: it has none, or the task is done
    cdef Session connection     # None: the call belongs to the server alone
    # Its connection holds it. The end of the connection ends it, unless it is a call of `message`.
    cdef flag is_own
    cdef flag is_message        # it counts for `max_tasks`
    cdef flag is_free           # neither its connection's end nor `finish_timeout` ends it
    cdef flag is_adopted        # the application has made the task: `create_task`
    cdef flag is_bound          # the server's shutdown waits for it
    cdef flag has_task          # it has a task for itself
    cdef flag outlives          # it is in `Calls.tasks`
    cdef flag is_cancelled      # by us
    cdef flag is_told           # it has waited for the connection's end, and may finish its work

    cdef int have_task(self, object task) except -1
    cdef int outlive(self) except -1
    cdef int cancel(self) except -1
    cdef int let_go(self) except -1
    cdef bint is_late(self) except -1
    cdef int drop(self) except -1
    cdef int end(self) except -1

cdef class EndWaiter(Waiter):
    """What a task awaits until a connection has ended."""
    cdef Call call              # the connection's own, which runs in this task; None: it has none

cdef class Runner(Strand):
    """The strand of calls."""
    cdef Calls calls            # None: its calls have begun

"""The calls of asynchronous listeners: how they share tasks, and when each has one of its own."""

from cpython.object cimport PyObject
from libc.stdint cimport uint32_t

from sockwave.core.events.emitter cimport Emitter
from sockwave.core.io.engine cimport Engine
from sockwave.core.flag cimport flag
from sockwave.core.session.session cimport Session
from sockwave.core.limits.counters cimport Limit

# Whose a call is: of a listener of `message`, which counts as a task; of one that may go on when
# its connection has ended; of any other.
cdef enum Kind:
    OTHER
    OF_MESSAGE
    FREE

cdef class Call

cdef class Calls:
    """The calls of one hub, in their order.

    Those of a turn share one task, as far as nobody can tell: what a listener finishes without
    having waited costs no task. Who waits has the task that it began in for itself, and the rest
    get others.
    """
    cdef Engine engine
    cdef Emitter host
    cdef set tasks              # the calls that outlive their connection, each with its task
    # Of these, the ones that have to end in time, and connections that have ended while something
    # was left to receive → by when, in seconds of the loop's clock; the oldest first.
    cdef dict finishing
    cdef object alarm           # the handle of the next look at them; None: there is none
    cdef double finish_s        # how long they have; 0: for ever
    cdef Py_ssize_t max_finishing
    cdef readonly Py_ssize_t bound_count    # of calls that the end of the server waits for
    cdef object when_idle       # called when there are none any more, if not None
    cdef bint is_over           # they have no time left
    cdef bint binds_all         # the server waits for its own listeners' calls too
    cdef object waiting         # a deque of the calls that have not begun
    cdef Py_ssize_t runner_count        # of the tasks that have not begun
    cdef uint32_t promised      # the wheel's tick at which the latest of them was made
    cdef Call beginning         # the one in its first step
    cdef object beginner        # the task that takes this step

    cdef int start(self, object coroutine, Session connection, Kind kind) except -1
    cdef int adopt(self, object task, Session connection) except -1
    cdef bint is_promised(self) noexcept
    cdef bint can_share(self) except -1
    cdef int add(self, Call call) except -1
    cdef int add_runner(self) except -1
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
    """One call of a listener, and what is done when its task is."""
    cdef Calls calls
    cdef object coroutine
    cdef object context         # in which it runs: a copy of its own, as a task's
    cdef object task            # its own; None: it has none, or is done
    cdef Session connection     # None: it belongs to the server alone
    cdef flag is_own            # it is held by its connection, and but for a message ends with it
    cdef flag is_message        # it is one of those that `max_tasks` bounds
    cdef flag is_free           # nothing ends it
    cdef flag is_adopted        # the application has made it itself, and its task
    cdef flag is_bound          # the end of the server waits for it
    cdef flag has_task          # it has one of its own
    cdef flag outlives          # its connection has ended, and the server holds it
    cdef flag is_cancelled      # by us

    cdef int begin(self, object task, PyObject** result) except -1
    cdef int step(self, PyObject** result) except -1
    cdef int have_task(self, object task) except -1
    cdef int outlive(self) except -1
    cdef int cancel(self) except -1
    cdef int let_go(self) except -1
    cdef bint is_late(self) except -1
    cdef int drop(self) except -1
    cdef int end(self) except -1

cdef class Marks:
    """What a task looks like that nobody has come near: who finds another has to leave it alone."""
    cdef object task, name
    cdef Py_ssize_t reference_count, weak_count

    cdef bint are_left(self) except -1

cdef class Runner:
    """What a task runs: calls, one after the other, until one of them needs the task for itself.
    To the task, it is a coroutine."""
    cdef Calls calls            # None: it has begun
    cdef Call call              # the one that has the task for itself
    cdef Py_ssize_t share       # how many calls are still to begin here

    cdef int begin(self, PyObject** result) except -1
    cdef Calls take_share(self)
    cdef int drop_share(self) except -1
    cdef int take_calls(self, Calls calls, PyObject** result) except -1

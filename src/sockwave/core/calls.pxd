"""The calls of asynchronous listeners: how they share tasks, and when each has one of its own."""

from cpython.object cimport PyObject
from libc.stdint cimport uint32_t

from sockwave.core.emitter cimport Emitter
from sockwave.core.engine cimport Engine
from sockwave.core.flag cimport flag
from sockwave.core.session cimport Session

cdef class Call

cdef class Calls:
    """The calls of one hub, in their order.

    Those of a turn share one task, as far as nobody can tell: what a listener finishes without
    having waited costs no task. Who waits has the task that it began in for itself, and the rest
    get others.
    """
    cdef Engine engine
    cdef Emitter host
    cdef set tasks              # those that outlive their connection
    cdef object waiting         # a deque of the calls that have not begun
    cdef Py_ssize_t runner_count        # of the tasks that have not begun
    cdef uint32_t promised      # the wheel's tick at which the latest of them was made
    cdef Call beginning         # the one in its first step
    cdef object beginner        # the task that takes this step

    cdef int start(self, object coroutine, Session connection, bint is_message) except -1
    cdef bint is_promised(self) noexcept
    cdef bint can_share(self) except -1
    cdef int add(self, Call call) except -1
    cdef int add_runner(self) except -1
    cdef int let_go_on(self) except -1
    cdef int keep_task(self, Session connection) except -1

cdef class Call:
    """One call of a listener, and what is done when its task is."""
    cdef Calls calls
    cdef object coroutine
    cdef object context         # in which it runs: a copy of its own, as a task's
    cdef Session connection     # None: it belongs to the server alone
    cdef flag is_own            # it ends with its connection
    cdef flag is_message        # it is one of those that `max_tasks` bounds
    cdef flag has_task          # it has one of its own

    cdef int begin(self, object task, PyObject** result) except -1
    cdef int step(self, PyObject** result) except -1
    cdef set held_tasks(self)
    cdef int have_task(self, object task) except -1
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

"""The calls of asynchronous listeners: how they share tasks, and when a call has its own task."""

from asyncio import current_task
from collections import deque
from weakref import getweakrefcount

cimport cython
from cpython.object cimport PyObject
from cpython.ref cimport Py_DECREF, Py_INCREF

from sockwave.core.events.emitter cimport raise_pending
from sockwave.core.session.closing cimport ENDED, ENDING
from sockwave.core.limits.counters cimport FINISH_TIMEOUT, MAX_FINISHING, NO_LIMIT

cdef extern from "Python.h":
    int PYGEN_RETURN, PYGEN_NEXT
    # Returns a status, and stores the result: so no StopIteration has to be made.
    int send_to "PyIter_Send" (object coroutine, object value, PyObject** result) noexcept
    object copy_context "PyContext_CopyCurrent" ()
    int enter_context "PyContext_Enter" (object context) except -1
    int leave_context "PyContext_Exit" (object context) noexcept
    Py_ssize_t count_references "Py_REFCNT" (object)
    Py_ssize_t PY_SSIZE_T_MAX
    PyObject** attributes_of "_PyObject_GetDictPtr" (object) noexcept

cdef enum:
    LOST_TICKS = 20         # a task that has not begun after so many ticks of the wheel never will

# Seconds between two checks for calls whose time is up: each check goes through all of them.
cdef double LOOK_S = 0.05


cdef class Calls:
    """The calls of the asynchronous listeners of one server, in the order in which they were made.
    """

    def __cinit__(self, Engine engine, Emitter host, limits):
        self.engine = engine
        self.host = host
        self.tasks = set()
        self.waiting = deque()
        self.finishing = {}
        self.finish_s = limits.finish_timeout or 0
        self.max_finishing = PY_SSIZE_T_MAX if limits.max_finishing is None else (
            limits.max_finishing
        )

    cdef int start(self, object coroutine, Session connection, Kind kind) except -1:
        """Run the coroutine that a listener returned as a task, from the loop's next turn on."""
        cdef Call call = Call.__new__(Call)
        call.calls = self
        call.coroutine = coroutine
        call.connection = connection
        call.is_message = kind == OF_MESSAGE
        call.is_free = kind == FREE
        if connection is not None:
            call.is_own = call.is_message or connection.state < ENDING and kind != FREE
            connection.call_started(call.is_own, call.is_message)
        if connection is not None or self.binds_all or kind == OF_REQUEST:
            call.is_bound = True
            self.bind()
        try:
            if self.is_promised() or self.can_share():
                call.context = copy_context()
                self.add(call)
            else:
                call.have_task(self.engine.loop.create_task(coroutine))
        except BaseException:
            call.drop()
            raise
        return 0

    cdef int adopt(self, object task, Session connection) except -1:
        """Make a task that the application has created (`create_task`) end with a connection."""
        cdef Call call = Call.__new__(Call)
        call.calls = self
        call.connection = connection
        call.is_own = call.is_adopted = call.is_bound = True
        self.bind()
        return call.have_task(task)

    cdef bint is_promised(self) noexcept:
        """Tell whether a task has been created that will begin the waiting calls."""
        # A loop that runs out of memory can lose a callback that it has accepted.
        return self.runner_count > 0 and self.engine.wheel.tick - self.promised < LOST_TICKS

    cdef bint can_share(self) except -1:
        """Tell whether calls may share a task. They may not where the application has set a task
        factory, which has to see each task, nor in debug mode, which shows where each comes from.
        """
        loop = self.engine.loop
        return loop.get_task_factory() is None and not loop.get_debug()

    cdef int add(self, Call call) except -1:
        """Let a call wait for a task. All calls that are added before this task begins share it."""
        self.waiting.append(call)
        if self.is_promised():
            return 0
        self.runner_count = 0
        try:
            self.add_runner()
        except BaseException:
            self.waiting.pop()
            raise
        return 0

    cdef int add_runner(self) except -1:
        cdef Runner runner = Runner.__new__(Runner)
        runner.calls = self
        self.engine.loop.create_task(runner)
        self.runner_count += 1
        self.promised = self.engine.wheel.tick
        return 0

    cdef int let_go_on(self) except -1:
        """Create a task for each call that waits, so that none waits for more than one turn."""
        cdef Call call
        try:
            while self.runner_count < len(self.waiting):
                self.add_runner()
        except BaseException as error:
            while self.waiting and not self.runner_count:       # no task would begin them
                call = self.waiting.popleft()
                call.drop()
                self.host.listener_failed_for(error, call.connection)
        return 0

    cdef int keep_task(self, Session connection) except -1:
        """Give the running task to the call of this connection that is beginning in it, if there is
        one: then the connection knows the task."""
        cdef Call call = self.beginning
        if call is not None and call.connection is connection and not call.has_task and (
            current_task(self.engine.loop) is self.beginner
        ):
            call.have_task(self.beginner)
        return 0

    # ---- calls that outlive their connection

    cdef int bind(self) noexcept:
        """Let the server's shutdown wait for one call or connection more."""
        self.bound_count += 1
        return 0

    cdef int unbind(self) except -1:
        if self.bound_count:        # else the shutdown no longer waits for it
            self.bound_count -= 1
        if not self.bound_count and self.when_idle is not None:
            self.when_idle()
        return 0

    cdef int watch(self, object one) except -1:
        """Let a call, or an ended connection with messages left, go on for `finish_timeout`, and
        stop it then."""
        cdef double now = self.engine.loop.time()
        if self.is_over:
            return self.stop(one, NO_LIMIT)
        self.finishing.pop(one, None)
        self.finishing[one] = now + self.finish_s
        if len(self.finishing) > self.max_finishing:
            self.stop(next(iter(self.finishing)), MAX_FINISHING)
        return self.set_alarm(now)

    cdef int forget(self, object one) except -1:
        """Stop watching a call or connection that has ended."""
        self.finishing.pop(one, None)
        return 0

    cdef int set_alarm(self, double now) except -1:
        """Call `_look` when the first deadline has come. A call that ends earlier leaves the alarm
        set."""
        cdef double when
        if self.alarm is None and self.finishing and self.finish_s:
            # A call or connection that is watched again moves behind the others, with a later
            # deadline.
            when = max(min(self.finishing.values()), now + LOOK_S)
            self.alarm = self.engine.loop.call_at(when, self._look)
        return 0

    def _look(self):
        """Stop the calls and connections whose time is up."""
        cdef double now = self.engine.loop.time()
        self.alarm = None
        try:
            for one in [one for one, when in self.finishing.items() if when <= now]:
                self.stop(one, FINISH_TIMEOUT)
        except MemoryError:
            pass                    # the next check stops them
        finally:
            self.set_alarm(now)

    cdef int stop(self, object one, Limit limit) except -1:
        """Stop a call, or a connection that has messages left, because of a limit."""
        cdef Session connection
        cdef Call call
        cdef bint is_loss = True
        if isinstance(one, Call):
            call = one
            connection = call.connection
            call.cancel()
        else:
            connection = one
            is_loss = connection.end_in_time()
        self.finishing.pop(one, None)       # only now: where memory lacked, the next check retries
        if is_loss and limit != NO_LIMIT:
            self.engine.limit_counters.count(limit)
            self.host.warn_unfinished(connection, limit == MAX_FINISHING)
        return 0

    cdef int cancel_all(self) except -1:
        """Cancel all calls that the server's shutdown still waits for."""
        cdef Call call
        self.is_over = True
        for one in list(self.finishing):
            self.stop(one, NO_LIMIT)
        for call in list(self.tasks):
            if call.is_bound and call.task is not None:
                call.task.cancel()
        return 0

    cdef bint excuse(self, object task) except -1:
        """Let the server's shutdown not wait for the call that runs in this task, as the call waits
        for the shutdown. Returns whether the call was found here; if not, its connection has it."""
        cdef Call call
        if self.beginning is not None and task is self.beginner:
            if not self.beginning.has_task:
                self.beginning.have_task(task)
            self.excuse_call(self.beginning)
            return True
        for call in self.tasks:
            if call.task is task:
                self.excuse_call(call)
                return True
        return False

    cdef int excuse_call(self, Call call) except -1:
        if call.is_bound:
            call.is_bound = False
            self.unbind()
        return 0


@cython.freelist(64)
cdef class Call:
    """One call of a listener, and what happens when its task is done."""

    cdef int step(self, PyObject** result) except -1:
        """Run the coroutine until it waits or ends; return which: PYGEN_NEXT or PYGEN_RETURN."""
        cdef int status
        enter_context(self.context)
        status = send_to(self.coroutine, None, result)
        leave_context(self.context)
        return raise_pending() if status < 0 else status

    cdef int begin(self, object task, PyObject** result) except -1:
        """Take the first step, in a task. A call that raises in it keeps the task for itself."""
        cdef Calls calls = self.calls
        calls.beginning, calls.beginner = self, task
        try:
            return self.step(result)
        except BaseException:
            if not self.has_task:
                self.have_task(task)
            raise
        finally:
            calls.beginning = calls.beginner = None

    cdef int have_task(self, object task) except -1:
        """Give the call a task for itself, which is held until it is done."""
        self.has_task = True
        self.task = task
        try:
            # An error of the call is reported in the call's context, not in that of the code that
            # created the task.
            task.add_done_callback(self, context=self.context)
            if self.is_own:
                self.connection.keep_call(self)
            if not self.is_own or self.connection.state == ENDED:
                self.outlive()
                if self.is_own:
                    self.connection.end_calls()
        except BaseException as error:      # out of memory: it costs the connection
            task.remove_done_callback(self)
            self.let_go()
            self.calls.host.listener_failed_for(error, self.connection)
            self.end()
        return 0

    cdef int outlive(self) except -1:
        """Let the server hold the call, and end it in time if it belongs to a connection."""
        self.outlives = True
        self.calls.tasks.add(self)
        if self.is_bound and not self.is_free and (self.is_message or not self.is_own):
            self.calls.watch(self)
        return 0

    cdef int cancel(self) except -1:
        """Cancel the call's task, but only once: since then it may be cleaning up."""
        if not self.is_cancelled:
            self.task.cancel()
            self.is_cancelled = True
        return 0

    cdef int let_go(self) except -1:
        """Take the call out of the connection's and the server's lists."""
        if self.is_own:
            self.connection.forget_call(self)
        if self.outlives:
            self.calls.tasks.discard(self)
            self.calls.forget(self)
        self.task = None
        return 0

    def __call__(self, task):
        """Called by the loop when the task is done."""
        self.let_go()
        if self.connection is not None:
            self.connection.note_end_of(task)
        try:
            if not task.cancelled() and task.exception() is not None:
                self.calls.host.call_failed(task.exception(), self.connection)
        finally:
            self.end()

    cdef bint is_late(self) except -1:
        """Tell whether the call comes too late to begin, like a task that is cancelled before its
        first step: its connection has ended, and there is nothing left to receive."""
        return (
            self.is_own and not self.is_message
            and self.connection.state == ENDED and not self.connection.has_left()
        )

    cdef int drop(self) except -1:
        """End a call that has not begun."""
        self.coroutine.close()
        return self.end()

    cdef int end(self) except -1:
        if self.connection is not None:
            self.connection.call_ended(self.is_own and not self.is_adopted, self.is_message)
        if self.is_bound:
            self.is_bound = False
            self.calls.unbind()
        return 0


cdef bint has_attributes(object task) noexcept:
    """Tell whether the application has set attributes of a task. To read `__dict__` would make one.
    """
    cdef PyObject** attributes = attributes_of(task)
    return attributes is not NULL and attributes[0] is not NULL


cdef class Marks:
    """What a task looks like before a call begins in it. If the task looks different afterwards,
    the application knows this task, and no other call may begin in it."""

    def __cinit__(self, task):
        self.task = task
        self.name = task.get_name()
        self.weak_count = getweakrefcount(task)
        self.reference_count = count_references(task)

    cdef bint are_left(self) except -1:
        """Tell whether the application has neither kept nor changed the task since the marks were
        made."""
        return (
            count_references(self.task) == self.reference_count
            and not has_attributes(self.task)
            and not self.task._callbacks
            and not self.task._must_cancel      # `uncancel` may leave it set
            and getweakrefcount(self.task) == self.weak_count
            and self.task.get_name() is self.name
        )


cdef class Runner:
    """What a task runs: calls, one after the other, until one of them needs the task for itself.
    To the task, a runner is a coroutine."""

    def __await__(self):
        return self

    def __next__(self):
        cdef PyObject* given = NULL
        cdef int status
        if self.call is not None:
            status = self.call.step(&given)
        else:
            status = self.begin(&given)
        result = <object>given
        Py_DECREF(result)
        if status == PYGEN_NEXT:
            return result
        if result is None:
            raise StopIteration
        raise StopIteration(result)

    def send(self, value):
        """Go on. A task sends nothing but None into its coroutine, so `value` is not used."""
        return self.__next__()

    def throw(self, *error):
        """Raise an error where the call waits. If no call has begun, close all that would have
        begun in this task."""
        cdef Call call = self.call
        if call is None:
            self.drop_share()
            raise error[0]
        enter_context(call.context)
        try:
            return call.coroutine.throw(*error)
        finally:
            leave_context(call.context)

    def close(self):
        if self.call is not None:
            self.call.coroutine.close()
        elif self.calls is not None:
            self.drop_share()

    def __getattr__(self, name):
        """Look like the coroutine that runs, where asyncio lists tasks and shows their stacks."""
        if self.call is None:
            raise AttributeError(name)
        return getattr(self.call.coroutine, name)

    cdef int begin(self, PyObject** result) except -1:
        """Begin the calls that wait. When one keeps the task, other tasks begin the rest."""
        cdef Calls calls = self.take_share()
        try:
            return self.take_calls(calls, result)
        finally:
            if self.share:
                calls.let_go_on()

    cdef Calls take_share(self):
        """Take over all calls that wait now; calls that are added later get another task."""
        cdef Calls calls = self.calls
        if calls is None:
            raise RuntimeError("expected a task that has not ended yet")
        self.calls = None
        calls.runner_count = max(calls.runner_count - 1, 0)
        self.share = len(calls.waiting)
        return calls

    cdef int drop_share(self) except -1:
        cdef Calls calls = self.take_share()
        while self.share:
            self.share -= 1
            (<Call>calls.waiting.popleft()).drop()
        return 0

    cdef int take_calls(self, Calls calls, PyObject** result) except -1:
        """Begin calls until one waits, or has changed the task; return how its step ended."""
        cdef Call call
        cdef Marks marks
        cdef int status
        task = current_task(calls.engine.loop)
        marks = Marks(task)
        while self.share:
            self.share -= 1
            call = calls.waiting.popleft()
            if call.is_own and call.is_late():
                call.drop()
                continue
            status = call.begin(task, result)
            if status == PYGEN_NEXT:
                self.call = call
            if status == PYGEN_NEXT or call.has_task or not marks.are_left():
                if not call.has_task:
                    call.have_task(task)
                return status
            Py_DECREF(<object>result[0])
            call.end()
        result[0] = <PyObject*>None
        Py_INCREF(None)
        return PYGEN_RETURN

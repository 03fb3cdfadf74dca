"""The calls of asynchronous listeners: how they share tasks, and when each has one of its own."""

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
    # Tells how it went by what it returns, and gives the result: no StopIteration is made.
    int send_to "PyIter_Send" (object coroutine, object value, PyObject** result) noexcept
    object copy_context "PyContext_CopyCurrent" ()
    int enter_context "PyContext_Enter" (object context) except -1
    int leave_context "PyContext_Exit" (object context) noexcept
    Py_ssize_t count_references "Py_REFCNT" (object)
    Py_ssize_t PY_SSIZE_T_MAX
    PyObject** attributes_of "_PyObject_GetDictPtr" (object) noexcept

cdef enum:
    LOST_TICKS = 20         # a task that has not begun in so many of the wheel will not

# Between two looks at calls whose time may be up, in seconds: a look goes through all of them.
cdef double LOOK_S = 0.05


cdef class Calls:
    """The calls of one hub, in their order."""

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
        """Run what a listener returned as a task, from the next turn of the loop on."""
        cdef Call call = Call.__new__(Call)
        call.calls = self
        call.coroutine = coroutine
        call.connection = connection
        call.is_message = kind == OF_MESSAGE
        call.is_free = kind == FREE
        if connection is not None:
            call.is_own = call.is_message or connection.state < ENDING and kind != FREE
            connection.call_started(call.is_own, call.is_message)
        if connection is not None or self.binds_all:
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
        """Have a task that the application has asked for end with a connection."""
        cdef Call call = Call.__new__(Call)
        call.calls = self
        call.connection = connection
        call.is_own = call.is_adopted = call.is_bound = True
        self.bind()
        return call.have_task(task)

    cdef bint is_promised(self) noexcept:
        """Tell whether a task will begin what waits."""
        # For want of memory a loop can lose a call that it has promised.
        return self.runner_count > 0 and self.engine.wheel.tick - self.promised < LOST_TICKS

    cdef bint can_share(self) except -1:
        """Tell whether nobody minds that calls share a task: neither who makes the tasks of this
        loop in another way, nor who debugs it, and reads of each where it comes from."""
        loop = self.engine.loop
        return loop.get_task_factory() is None and not loop.get_debug()

    cdef int add(self, Call call) except -1:
        """Let it wait for a task, which all share that come before that task begins."""
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
        """Give each call that waits a task, so that none has to wait for more than one turn."""
        cdef Call call
        try:
            while self.runner_count < len(self.waiting):
                self.add_runner()
        except BaseException as error:
            while self.waiting and not self.runner_count:       # nobody would begin them
                call = self.waiting.popleft()
                call.drop()
                self.host.listener_failed_for(error, call.connection)
        return 0

    cdef int keep_task(self, Session connection) except -1:
        """Let the connection know of the running task, if it is that of one of its calls."""
        cdef Call call = self.beginning
        if call is not None and call.connection is connection and not call.has_task and (
            current_task(self.engine.loop) is self.beginner
        ):
            call.have_task(self.beginner)
        return 0

    # ---- those that outlive their connection

    cdef int bind(self) noexcept:
        """Let the end of the server wait for something more."""
        self.bound_count += 1
        return 0

    cdef int unbind(self) except -1:
        if self.bound_count:        # else it is not waited for any more
            self.bound_count -= 1
        if not self.bound_count and self.when_idle is not None:
            self.when_idle()
        return 0

    cdef int watch(self, object one) except -1:
        """See to it that a call, or what a connection has left, ends in time."""
        cdef double now = self.engine.loop.time()
        if self.is_over:
            return self.stop(one, NO_LIMIT)
        self.finishing.pop(one, None)
        self.finishing[one] = now + self.finish_s
        if len(self.finishing) > self.max_finishing:
            self.stop(next(iter(self.finishing)), MAX_FINISHING)
        return self.set_alarm(now)

    cdef int forget(self, object one) except -1:
        """Watch it no more: it has ended."""
        self.finishing.pop(one, None)
        return 0

    cdef int set_alarm(self, double now) except -1:
        """Look again when the time of the first is up. One that ends before leaves the alarm."""
        cdef double when
        if self.alarm is None and self.finishing and self.finish_s:
            # What has come back since stands behind others, and at times later than they do.
            when = max(min(self.finishing.values()), now + LOOK_S)
            self.alarm = self.engine.loop.call_at(when, self._look)
        return 0

    def _look(self):
        """Stop those whose time is up."""
        cdef double now = self.engine.loop.time()
        self.alarm = None
        try:
            for one in [one for one, when in self.finishing.items() if when <= now]:
                self.stop(one, FINISH_TIMEOUT)
        except MemoryError:
            pass                    # the next look does it
        finally:
            self.set_alarm(now)

    cdef int stop(self, object one, Limit limit) except -1:
        """Stop a call, or what a connection has left, at a limit."""
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
        self.finishing.pop(one, None)       # not before: memory may lack, and it is tried again
        if is_loss and limit != NO_LIMIT:
            self.engine.limit_counters.count(limit)
            self.host.warn_unfinished(connection, limit == MAX_FINISHING)
        return 0

    cdef int cancel_all(self) except -1:
        """Cancel whatever the end of the server still waits for."""
        cdef Call call
        self.is_over = True
        for one in list(self.finishing):
            self.stop(one, NO_LIMIT)
        for call in list(self.tasks):
            if call.is_bound and call.task is not None:
                call.task.cancel()
        return 0

    cdef bint excuse(self, object task) except -1:
        """Let the end of the server not wait for the call that a task is: it waits for the server.
        Gives whether it has been found here, and not at its connection."""
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
    """One call of a listener, and what is done when its task is."""

    cdef int step(self, PyObject** result) except -1:
        """Run the coroutine up to where it waits, or to its end, and tell which it was."""
        cdef int status
        enter_context(self.context)
        status = send_to(self.coroutine, None, result)
        leave_context(self.context)
        return raise_pending() if status < 0 else status

    cdef int begin(self, object task, PyObject** result) except -1:
        """Take the first step, in a task; who fails in it has the task for itself."""
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
        """Have a task of its own, which is held until it is done."""
        self.has_task = True
        self.task = task
        try:
            # What it fails with is told in its own context, not in that of whoever made the task.
            task.add_done_callback(self, context=self.context)
            if self.is_own:
                self.connection.keep_call(self)
            if not self.is_own or self.connection.state == ENDED:
                self.outlive()
                if self.is_own:
                    self.connection.end_calls()
        except BaseException as error:      # for want of memory: it costs the connection
            task.remove_done_callback(self)
            self.let_go()
            self.calls.host.listener_failed_for(error, self.connection)
            self.end()
        return 0

    cdef int outlive(self) except -1:
        """Be held by the server, which sees to the end of what belongs to a connection."""
        self.outlives = True
        self.calls.tasks.add(self)
        if self.is_bound and not self.is_free and (self.is_message or not self.is_own):
            self.calls.watch(self)
        return 0

    cdef int cancel(self) except -1:
        """Cancel its task, once: it may be cleaning up since."""
        if not self.is_cancelled:
            self.task.cancel()
            self.is_cancelled = True
        return 0

    cdef int let_go(self) except -1:
        """Be held by nobody any more."""
        if self.is_own:
            self.connection.forget_call(self)
        if self.outlives:
            self.calls.tasks.discard(self)
            self.calls.forget(self)
        self.task = None
        return 0

    def __call__(self, task):
        """Note that the task is done."""
        self.let_go()
        if self.connection is not None:
            self.connection.note_end_of(task)
        try:
            if not task.cancelled() and task.exception() is not None:
                self.calls.host.call_failed(task.exception(), self.connection)
        finally:
            self.end()

    cdef bint is_late(self) except -1:
        """Tell whether it is not to begin any more, as a task that is cancelled before it has."""
        return (
            self.is_own and not self.is_message
            and self.connection.state == ENDED and not self.connection.has_left()
        )

    cdef int drop(self) except -1:
        """End it before it has begun."""
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
    """Tell whether somebody has given it attributes; a look at `__dict__` would make one."""
    cdef PyObject** attributes = attributes_of(task)
    return attributes is not NULL and attributes[0] is not NULL


cdef class Marks:
    """What a task looks like that nobody has come near: who finds another has to leave it alone."""

    def __cinit__(self, task):
        self.task = task
        self.name = task.get_name()
        self.weak_count = getweakrefcount(task)
        self.reference_count = count_references(task)

    cdef bint are_left(self) except -1:
        """Tell whether nobody keeps the task, or has changed it, since the marks were made."""
        return (
            count_references(self.task) == self.reference_count
            and not has_attributes(self.task)
            and not self.task._callbacks
            and not self.task._must_cancel      # which `uncancel` may leave as it is
            and getweakrefcount(self.task) == self.weak_count
            and self.task.get_name() is self.name
        )


cdef class Runner:
    """What a task runs: calls, one after the other, until one of them needs the task for itself.
    To the task, it is a coroutine."""

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
        """Go on; what a coroutine waits for gives it nothing, so that there is never a value."""
        return self.__next__()

    def throw(self, *error):
        """Raise an error where the call waits; those that have not begun are closed."""
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
        """Be seen as the coroutine that runs, where tasks are listed and their stacks are shown."""
        if self.call is None:
            raise AttributeError(name)
        return getattr(self.call.coroutine, name)

    cdef int begin(self, PyObject** result) except -1:
        """Begin the calls that wait; the rest goes to others when one keeps the task."""
        cdef Calls calls = self.take_share()
        try:
            return self.take_calls(calls, result)
        finally:
            if self.share:
                calls.let_go_on()

    cdef Calls take_share(self):
        """Take over all calls that wait now; those that come meanwhile get another task."""
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
        """Begin calls until one waits, or has left a mark on the task, and tell how that went."""
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

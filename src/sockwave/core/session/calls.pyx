"""The calls of asynchronous listeners: how they share tasks, and when a call has its own task."""

from asyncio import current_task
from collections import deque

cimport cython

from sockwave.core.session.closing cimport ENDED, ENDING
from sockwave.core.limits.counters cimport FINISH_TIMEOUT, MAX_FINISHING, NO_LIMIT

cdef extern from "Python.h":
    object copy_context "PyContext_CopyCurrent" ()
    Py_ssize_t PY_SSIZE_T_MAX

cdef enum:
    SPARE_COUNT = 16        # tasks that are parked: a turn may bring some calls that wait
    LOST_TICKS = 20         # a task that has not begun after so many ticks of the wheel never will

# Seconds between two checks for calls whose time is up: each check goes through all of them.
cdef double LOOK_S = 0.05


cdef class Calls(Beginner):
    """The calls of the asynchronous listeners of one server, in the order in which they were made.
    """

    def __cinit__(self, Engine engine, Emitter host, limits):
        self.engine = engine
        self.host = host
        self.tasks = set()
        self.waiting = deque()
        self.spare = []
        self.finishing = {}
        if engine is not None:
            engine.beginners.append(self)
        self.finish_s = limits.finish_timeout or 0
        self.max_finishing = PY_SSIZE_T_MAX if limits.max_finishing is None else (
            limits.max_finishing
        )

    cdef int start(self, object coroutine, Session connection, Kind kind) except -1:
        """Run the coroutine that a listener returned as a task, from the loop's next turn on."""
        cdef Call call = Call.__new__(Call)
        self.engine.call_count += 1
        call.calls = self
        call.coroutine = coroutine
        call.connection = connection
        call.is_message = kind == OF_MESSAGE
        call.is_free = kind == FREE or kind == OF_REQUEST
        if connection is not None:
            call.is_own = call.is_message or (
                connection.state < ENDING and kind != FREE and not connection.is_telling_end
            )
            connection.call_started(call.is_own, call.is_message)
        if connection is not None or self.binds_all or kind == OF_REQUEST:
            call.is_bound = True
            self.bind()
        try:
            if self.waiting or self.can_share():
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

    # ---- which task a call begins in

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
        """Let a call wait for the end of the turn, or for a task that begins in the next one."""
        self.waiting.append(call)
        try:
            self.ask_for_task()
        except BaseException:
            self.waiting.pop()
            raise
        return 0

    cdef int ask_for_task(self) except -1:
        """Have the calls that wait begun in parked tasks, at the end of the turn, or in a new one.
        All calls that are added before this task begins share it."""
        return self.engine.ask_to_begin() if self.spare else self.ask_for_new_task()

    cdef int ask_for_new_task(self) except -1:
        if self.is_promised():
            return 0
        self.runner_count = 0
        return self.add_runner()

    cdef int add_runner(self) except -1:
        cdef Runner runner = Runner.__new__(Runner)
        runner.calls = self
        runner.wake_queue = self.engine.wake_queue
        self.engine.loop.create_task(runner)
        return self.promise()

    cdef int promise(self) except -1:
        """Note that one task more has yet to begin, and that it takes the calls that wait."""
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

    cdef int begin_calls(self) except -1:
        """Begin the calls that wait now, in the tasks that are parked; new tasks begin the rest."""
        cdef Py_ssize_t count = len(self.waiting)
        cdef Py_ssize_t before
        cdef bint has_tried = False
        try:
            while count and self.spare:
                has_tried = True
                before = count
                count = self.begin_parked(self.spare[len(self.spare) - 1], count)
                if count == before:         # none can begin
                    break
        finally:
            if count and has_tried:
                self.let_go_on()
            elif count:
                self.ask_for_new_task()
        return 0

    cdef Py_ssize_t begin_parked(self, Runner runner, Py_ssize_t count) except -1:
        """Begin `count` of the calls that wait in a parked task, as `begin_some` does."""
        if runner.marks is None:
            runner.mark()
        try:
            count = self.begin_some(runner, count)
        finally:
            if runner.coroutine is not None:    # from now on, the task is that of this call
                if runner in self.spare:
                    self.spare.remove(runner)
                runner.hand_over()
        return count

    cdef Py_ssize_t begin_some(self, Runner runner, Py_ssize_t count) except -1:
        """Begin `count` of the calls that wait, until one keeps the runner's task; return how many
        of them are left then."""
        cdef Call call
        self.has_used_spare = True
        while count and runner.coroutine is None:
            count -= 1
            call = self.waiting.popleft()
            if call.is_own and call.is_late():
                call.drop()
            elif not self.has_begun(runner, call):
                self.waiting.appendleft(call)
                return count + 1
        return count

    cdef bint has_begun(self, Runner runner, Call call) except -1:
        """Let a call take its first step; false if it cannot. If it has ended then, without a
        trace, the runner is free again; else the task is the call's."""
        cdef bint is_possible
        self.beginning, self.beginner = call, runner.task
        try:
            is_possible = runner.begin(call.coroutine, call.context)
        except BaseException:               # no memory
            call.drop()
            raise
        finally:
            self.beginning = self.beginner = None
        if not is_possible or call.has_task:
            return is_possible
        if runner.is_spent():
            call.have_task(runner.task)
        else:
            runner.clear()
            call.end()
        return True

    cdef int pass_tick(self, bint is_last) except -1:
        """End the tasks that are parked and have not been used for a tick."""
        if is_last or not self.has_used_spare:
            self.end_tasks()
        self.has_used_spare = False
        return 0

    cdef int end_tasks(self) except -1:
        """End the tasks that are parked."""
        cdef Runner runner
        while self.spare:
            runner = self.spare[len(self.spare) - 1]
            runner.end()
            self.spare.pop()
        return 0

    cdef int forget_tasks(self) except -1:
        self.spare.clear()
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


cdef class EndWaiter(Waiter):
    """What a task awaits until a connection has ended."""


cdef class Runner(Strand):
    """The strand of calls."""

    cdef int fill(self) except -1:
        """Begin the calls that wait; those that are added later get another task. When one keeps
        the task, other tasks begin the rest."""
        cdef Calls calls = self.calls
        cdef Py_ssize_t count = len(calls.waiting)
        calls.runner_count = max(calls.runner_count - 1, 0)
        try:
            count = calls.begin_some(self, count)
        finally:
            if count:
                calls.let_go_on()
        return 0

    cdef bint may_park(self) except -1:
        """Tell whether the task is kept for later calls. Where nothing tells of ticks, nothing
        would end it."""
        return len(self.calls.spare) < SPARE_COUNT and bool(self.calls.engine.ticks)

    cdef int parked(self) except -1:
        self.calls.spare.append(self)
        return 0

    cdef int cancelled(self) except -1:
        """Let the calls that wait end with the last of the tasks that would have begun them."""
        cdef Calls calls = self.calls
        if self in calls.spare:
            calls.spare.remove(self)
            if not calls.spare and calls.waiting:
                self.has_begun = False
                calls.promise()
        return 0

    cdef int drop(self) except -1:
        cdef Calls calls = self.calls
        cdef Py_ssize_t count = len(calls.waiting)
        calls.runner_count = max(calls.runner_count - 1, 0)
        while count:
            count -= 1
            (<Call>calls.waiting.popleft()).drop()
        return 0

"""A task in which coroutines begin, one after the other, until one of them needs it for itself."""

from asyncio import current_task
from asyncio.tasks import _enter_task, _leave_task
from weakref import getweakrefcount

from cpython.object cimport PyObject
from cpython.ref cimport Py_DECREF

from sockwave.core.events.emitter cimport raise_pending

cdef extern from "Python.h":
    int PYGEN_NEXT
    # Returns a status, and stores the result: so no StopIteration has to be made.
    int send_to "PyIter_Send" (object coroutine, object value, PyObject** result) noexcept
    int enter_context "PyContext_Enter" (object context) except -1
    int leave_context "PyContext_Exit" (object context) noexcept
    Py_ssize_t count_references "Py_REFCNT" (object)
    PyObject** attributes_of "_PyObject_GetDictPtr" (object) noexcept


cdef bint has_attributes(object task) noexcept:
    """Tell whether the application has set attributes of a task. To read `__dict__` would make one.
    """
    cdef PyObject** attributes = attributes_of(task)
    return attributes is not NULL and attributes[0] is not NULL


cdef class Marks:
    """What a task looks like before a coroutine begins in it. If the task looks different
    afterwards, the application knows this task, and no other coroutine may begin in it."""

    def __cinit__(self, task):
        self.task = task
        self.name = task.get_name()
        self.weak_count = getweakrefcount(task)

    cdef int count(self) except -1:
        """Count the references to the task, as `are_left` does."""
        self.reference_count = count_references(self.task)
        return 0

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


cdef class Parking(Waiter):
    """What the task of a parked strand waits for."""

    def cancel(self, msg=None):
        """Cancel the parked task. False while a coroutine is in its first step: asyncio notes then
        that the task must be cancelled, as for any task that is running."""
        if self.is_done or self.strand.coroutine is not None:
            return False
        self.strand.cancelled()
        return Waiter.cancel(self, msg)


cdef class Strand:
    """What a task runs. To the task, a strand is a coroutine."""

    # ---- called by subclasses, and by those who have coroutines to begin

    cdef bint begin(self, object coroutine, object context) except -1:
        """Let a coroutine take its first step; its outcome is kept. False: it has not begun, as
        another task is running, from within which the application lets the loop run.

        A task that is parked has been marked before. A strand that is spent must be handed over
        next.
        """
        cdef bint is_entered = True
        if self.parking is None:            # its task is running
            self.take_step(coroutine, context)
            return True
        try:
            _enter_task(self.wake_queue.loop, self.task)
        except RuntimeError:
            is_entered = False
        if is_entered:
            self.take_step(coroutine, context)
            _leave_task(self.wake_queue.loop, self.task)
        return is_entered

    cdef int mark(self) except -1:
        """Note what the task looks like; nothing may hold a reference to it for a moment only."""
        self.marks = Marks(self.task)
        return self.marks.count()

    cdef int take_step(self, object coroutine, object context) except -1:
        cdef PyObject* result = NULL
        cdef int status
        self.coroutine, self.context = coroutine, context
        enter_context(context)
        try:
            status = send_to(coroutine, None, &result)
            if status < 0:
                raise_pending()
            self.outcome = WAITS if status == PYGEN_NEXT else RETURNED
            self.given = <object>result
            Py_DECREF(self.given)
        except BaseException as error:
            self.outcome, self.given = RAISED, error
        leave_context(context)
        return 0

    cdef bint is_spent(self) except -1:
        """Tell whether the coroutine that has begun last needs the task for itself."""
        return self.outcome == WAITS or self.outcome == RAISED or not self.marks.are_left()

    cdef int clear(self) except -1:
        """Forget the coroutine that has begun last, which has ended without a trace."""
        self.outcome = NONE
        self.coroutine = self.context = self.given = None
        return 0

    cdef int hand_over(self) except -1:
        """Let the parked task go on as that of the coroutine that has begun last. At once, as the
        task has to know what the coroutine waits for."""
        cdef Parking parking = self.parking
        self.parking = None
        self.task._log_destroy_pending = True
        parking.is_done = True
        try:
            parking.call_back()
        except MemoryError:
            self.wake_queue.put(parking)    # the task has not gone on
            raise
        return 0

    cdef int end(self) except -1:
        """Let the parked task end, in the loop's next turn."""
        return self.parking.wake()

    # ---- for subclasses

    cdef int fill(self) except -1:
        return 0

    cdef bint may_park(self) except -1:
        return False

    cdef int parked(self) except -1:
        return 0

    cdef int cancelled(self) except -1:
        return 0

    cdef int drop(self) except -1:
        return 0

    # ---- the coroutine of its task

    def __await__(self):
        return self

    def __next__(self):
        cdef PyObject* result = NULL
        cdef int status
        if self.outcome != NONE:
            return self.tell()
        if self.coroutine is None:
            if self.has_begun:              # woken to end
                self.let_go()
                raise StopIteration
            self.has_begun = True
            self.task = current_task(self.wake_queue.loop)
            self.mark()
            self.fill()
            self.marks = None
            return self.park() if self.outcome == NONE else self.tell()
        if self.late_error is not None:
            error, self.late_error = self.late_error, None
            return self.throw(error)
        enter_context(self.context)
        status = send_to(self.coroutine, None, &result)
        leave_context(self.context)
        if status < 0:
            raise_pending()
        given = <object>result
        Py_DECREF(given)
        if status == PYGEN_NEXT:
            return given
        if given is None:
            raise StopIteration
        raise StopIteration(given)

    cdef object park(self):
        """Return what the task waits for until more coroutines begin in it; else end."""
        if not self.may_park():
            self.let_go()
            raise StopIteration
        self.parking = Parking.__new__(Parking)
        self.parking.wake_queue = self.wake_queue
        self.parking.strand = self
        self.parking.is_blocking = True
        # A loop that is left with a parked task has left no work undone.
        self.task._log_destroy_pending = False
        self.parked()
        return self.parking

    cdef object tell(self):
        """Tell the task how the first step of its coroutine has ended."""
        cdef Outcome outcome = self.outcome
        given, self.given = self.given, None
        self.outcome = NONE
        self.let_go()
        if outcome == WAITS:
            return given
        if outcome == RAISED:
            raise given
        if given is None:
            raise StopIteration
        raise StopIteration(given)

    cdef int let_go(self) except -1:
        """Forget the task, which refers to the strand."""
        self.task = self.marks = self.parking = None
        return 0

    def send(self, value):
        """Go on. A task sends nothing but None into its coroutine, so `value` is not used."""
        return self.__next__()

    def throw(self, *error):
        """Raise an error where the coroutine waits."""
        if self.outcome == WAITS:
            # The task was cancelled in the coroutine's first step: as asyncio does it, what the
            # coroutine waits for is cancelled, or else the coroutine when it is resumed.
            given = self.tell()
            if given is None or not given.cancel(*error[0].args):
                self.late_error = error[0]
            return given
        if self.outcome == RAISED:
            return self.tell()
        if self.outcome == RETURNED or self.coroutine is None:
            self.outcome = NONE
            if not self.has_begun:
                self.drop()
            self.let_go()
            raise error[0]
        enter_context(self.context)
        try:
            return self.coroutine.throw(*error)
        finally:
            leave_context(self.context)

    def close(self):
        """End without going on."""
        if self.coroutine is not None:
            self.coroutine.close()
        elif not self.has_begun:
            self.drop()
        self.let_go()

    def __getattr__(self, name):
        """Look like the coroutine that runs, where asyncio lists tasks and shows their stacks."""
        if self.coroutine is None:
            raise AttributeError(name)
        return getattr(self.coroutine, name)

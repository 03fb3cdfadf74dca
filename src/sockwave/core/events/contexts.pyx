"""The contexts that listeners run in (PEP 567): one for each connection and each request.

When a listener has set a variable, its connection keeps the context: the object itself, so that a
later listener can reset the variable by its token. A context in which nothing has been set is used
again for another connection or request.
"""

from contextvars import ContextVar

from cpython.object cimport PyObject

cdef extern from "contexts.h":
    const void* context_root(object context) noexcept
    PyObject* current_context() noexcept
    ctypedef struct ContextStruct "struct sockwave_context":
        pass

cdef extern from "Python.h":
    object copy_current "PyContext_CopyCurrent" ()
    object copy_of "PyContext_Copy" (object context)
    int enter_context "PyContext_Enter" (object context) except -1
    int leave_context "PyContext_Exit" (object context) except -1
    Py_ssize_t count_references "Py_REFCNT" (object context) noexcept


cdef bint find_roots() except -1:
    """Try whether the root of a context changes when a variable is set, and only then."""
    cdef const void* root
    variable = ContextVar("sockwave.trial")
    context = copy_current()
    other = context.copy()
    if type(context).__basicsize__ < <Py_ssize_t>sizeof(ContextStruct):
        return False
    root = context_root(context)
    if root is NULL or context_root(other) is not root:
        return False
    context.run(variable.set, None)
    return (
        context_root(context) is not root and context_root(other) is root
        and context_root(context.copy()) is context_root(context)
    )


# False: each connection keeps a context from its first listener on, which is slower.
cdef bint roots_are_seen = find_roots()


cdef bint is_current(object context) noexcept:
    """Tell whether a context is the current one of this thread."""
    return current_context() is <PyObject*>context


cdef bint have_same_values(object context, object other) noexcept:
    """Tell whether both have the same variables with the same values; false if that is not known.
    """
    return roots_are_seen and context_root(context) is context_root(other)


cdef object enter_or_copy(object context):
    """Enter a context, or a copy of it if it is entered already; returns the one to leave.

    It is entered already when a listener of a connection has caused an event of another connection,
    and a listener of that one has caused this event. Variables set in the copy are lost.
    """
    try:
        enter_context(context)
    except RuntimeError:
        context = copy_of(context)
        enter_context(context)
    return context


cdef class Contexts:
    """Gives each connection and each request a context of its own, as if copied when it begins."""

    def __cinit__(self):
        self.entered = []
        self.renew()

    def renew(self):
        """Let all contexts begin as copies of the current context from now on."""
        self.base = copy_current()
        self.spare = None

    cdef object take(self):
        """Return a context for a connection or request that begins."""
        context, self.spare = self.spare, None
        return copy_of(self.base) if context is None else context

    cdef bint is_unchanged(self, object context, Py_ssize_t reference_count) noexcept:
        """Tell whether no variable has been set in a context, and only we refer to it, by
        `reference_count` references. The application may refer to it by a token, even where the
        variable has been reset."""
        return have_same_values(context, self.base) and count_references(context) <= reference_count

    cpdef object enter(self):
        """Enter a context for a request that begins; `leave` must follow."""
        context = self.take()
        enter_context(context)
        self.entered.append(context)

    cpdef object leave(self):
        """Leave the context entered last. Returns it if a variable has been set in it, else None.
        """
        context = self.entered.pop()
        leave_context(context)
        if self.is_unchanged(context, 1):
            self.spare = context
            return None
        return context

    def run(self, function, *arguments):
        """Call a function in a context of its own."""
        self.enter()
        try:
            return function(*arguments)
        finally:
            self.leave()

"""The contexts that listeners run in (PEP 567): one for each connection and each request.

A context that a listener has set a variable in becomes that of its connection: the object itself,
so that a token can be reset in a later listener. One that has been left as it was is used again.
"""

from contextvars import ContextVar

from cpython.object cimport PyObject

cdef extern from "contexts.h":
    const void* context_root(object context) noexcept
    PyObject* present_context() noexcept
    ctypedef struct ContextStruct "struct sockwave_context":
        pass

cdef extern from "Python.h":
    object copy_present "PyContext_CopyCurrent" ()
    object copy_of "PyContext_Copy" (object context)
    int enter_context "PyContext_Enter" (object context) except -1
    int leave_context "PyContext_Exit" (object context) except -1
    Py_ssize_t count_references "Py_REFCNT" (object context) noexcept


cdef bint find_roots() except -1:
    """Tell whether a look at its root tells that a context has changed."""
    cdef const void* root
    variable = ContextVar("sockwave.trial")
    context = copy_present()
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


# Where not, each connection keeps a context from its first listener on: slower, and as right.
cdef bint roots_are_seen = find_roots()


cdef bint is_present(object context) noexcept:
    """Tell whether a context is the one that runs."""
    return present_context() is <PyObject*>context


cdef bint are_alike(object context, object other) noexcept:
    """Tell whether nothing has been set in one that has not been set in the other."""
    return roots_are_seen and context_root(context) is context_root(other)


cdef object enter_or_copy(object context):
    """Enter a context, or a copy of one that has been left for another and not yet gone back to:
    a listener has caused an event elsewhere, whose listener has caused this one. What is set then
    is lost. Gives the one to leave."""
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
        """Let the present context be the one that all begin as copies of."""
        self.base = copy_present()
        self.spare = None

    cdef object take(self):
        """Give a context for somebody who begins."""
        context, self.spare = self.spare, None
        return copy_of(self.base) if context is None else context

    cdef bint is_untouched(self, object context, Py_ssize_t reference_count) noexcept:
        """Tell whether nothing has been set in a context, and nobody has got hold of it: a token
        refers to it, even one of a variable that was set to what it was before."""
        return are_alike(context, self.base) and count_references(context) <= reference_count

    def enter(self):
        """Enter a context of somebody who begins; `leave` has to follow."""
        context = self.take()
        enter_context(context)
        self.entered.append(context)

    def leave(self):
        """Leave the context entered last, and give it where something has been set in it, else
        None."""
        context = self.entered.pop()
        leave_context(context)
        if self.is_untouched(context, 1):
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

"""The contexts that listeners run in (PEP 567): one for each connection and each request."""

cdef class Contexts:
    """Gives each connection and each request a context of its own, as if copied when it begins.

    A context in which no variable has been set is used again for the next connection or request.
    Only a connection or request whose listeners have set a variable keeps its context.
    """
    cdef object base            # the context that each one is a copy of; nothing ever runs in it
    cdef object spare           # such a copy, in which nothing has been set; None: there is none

    cdef list entered           # those that `enter` has entered; only this list refers to them

    cdef object take(self)
    cpdef object enter(self)
    cpdef object leave(self)
    cdef bint is_unchanged(self, object context, Py_ssize_t reference_count) noexcept

cdef bint is_current(object context) noexcept
cdef bint have_same_values(object context, object other) noexcept
cdef object enter_or_copy(object context)

"""The contexts that listeners run in (PEP 567): one for each connection and each request."""

cdef class Contexts:
    """Gives each connection and each request a context of its own, as if copied when it begins.

    What no variable has been set in is a copy like any other, and is given to the next one: an
    object is kept only by those whose listeners have set something.
    """
    cdef object base            # what each begins as a copy of; nothing ever runs in it
    cdef object spare           # such a copy, in which nothing has been set; None: there is none

    cdef list entered           # by `enter`: nobody else refers to them

    cdef object take(self)
    cdef bint is_untouched(self, object context, Py_ssize_t reference_count) noexcept

cdef bint is_present(object context) noexcept
cdef bint are_alike(object context, object other) noexcept
cdef object enter_or_copy(object context)

"""A bint in one byte: a connection has many of them."""

cdef extern from "<stdbool.h>" nogil:
    ctypedef bint flag "_Bool"

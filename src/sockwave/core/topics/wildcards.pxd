"""Names of topics, and patterns with wildcards by level: `room/*`, `room/**`."""

cpdef bint is_pattern(str name) except -1
cpdef str check_topic_name(object name, Py_ssize_t most=*)
cpdef str check_pattern(object pattern, Py_ssize_t most=*)

cdef class Node:
    """What follows one level of the patterns that begin alike."""
    cdef dict children          # by the next level, spelled out; None: none
    cdef Node one               # the next level is '*'
    cdef bint has_value         # a pattern ends here
    cdef bint has_rest          # a pattern ends here with '**'
    cdef object value, rest     # of these two patterns

    cdef Node child(self, str level, bint makes)
    cdef bint is_empty(self) except -1

cdef class Patterns:
    """Patterns and names, each with a value: finds those that match the name of a topic."""
    cdef Node root
    cdef readonly Py_ssize_t count
    cdef readonly unsigned long long generation     # changes with each `add` and `remove`

    cpdef add(self, str pattern, value)
    cpdef remove(self, str pattern)
    cpdef list match(self, str name)
    cpdef best(self, str name)
    cdef int prune(self, Node node, list path) except -1

"""How many of an event's arguments a listener takes: found out once, when it is added."""

cdef int count_taken(object listener, str event, int offered) except -1

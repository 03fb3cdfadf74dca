"""The calls of one connection that have a task: None, one Call, or a dict of them by task.

Most connections have only one: a dict would take four times the memory.
"""

cdef object add_call(object calls, object call)
cdef object remove_call(object calls, object call)
cdef object call_of(object calls, object task)
cdef list list_calls(object calls)

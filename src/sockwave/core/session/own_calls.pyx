"""The calls of one connection that have a task: None, one Call, or a dict of them by task.

Most connections have only one: a dict would take four times the memory.
"""

from sockwave.core.session.calls cimport Call


cdef object add_call(object calls, object call):
    """Return the calls with one more."""
    if calls is None:
        return call
    if type(calls) is not dict:
        calls = {(<Call>calls).task: calls}
    (<dict>calls)[(<Call>call).task] = call
    return calls


cdef object remove_call(object calls, object call):
    """Return the calls without one, which may be none of them."""
    if calls is call:
        return None
    if type(calls) is dict:
        (<dict>calls).pop((<Call>call).task, None)
        if not calls:
            return None
    return calls


cdef object call_of(object calls, object task):
    """Return the call that runs in a task; None: none does."""
    if type(calls) is dict:
        return (<dict>calls).get(task)
    return calls if calls is not None and (<Call>calls).task is task else None


cdef list list_calls(object calls):
    """List the calls, so that some may go meanwhile."""
    if type(calls) is dict:
        return list((<dict>calls).values())
    return [] if calls is None else [calls]

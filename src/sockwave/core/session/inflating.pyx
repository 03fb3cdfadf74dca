"""How much of a compressed message a turn inflates."""

from time import perf_counter

from sockwave.core.io.turn_budget cimport spend_inflated

# Seconds to inflate one byte, input or output, of what most messages are: JSON and other text.
# Empty blocks take a hundred times as long.
cdef double BYTE_S = 2e-9

cdef enum:
    # A message that takes so many times as long is inflated in short slices, as other connections
    # wait during each slice.
    DEAR_FACTOR = 8


cdef bint inflate_some(Inflation inflation, TurnBudget* budget, Violation* violation) except -1:
    """Inflate a message as far as a turn's budget allows; return whether it is over: the message is
    whole, or there is a violation."""
    cdef bint is_over
    cdef Py_ssize_t size = 0
    cdef Py_ssize_t timed_size, cost
    cdef double begin_s = perf_counter()
    while True:
        is_over = inflation.advance(violation)
        size += inflation.slice_size
        # Input counts like output. A message that takes longer than usual costs as many bytes as
        # could usually be inflated in its time.
        timed_size = <Py_ssize_t>((<double>perf_counter() - begin_s) / BYTE_S)
        cost = max(size, timed_size)
        inflation.is_dear = timed_size > DEAR_FACTOR * size
        if is_over or (cost >= budget.inflatable and inflation.is_between):
            break
    spend_inflated(budget, cost)
    return is_over

"""How much a turn of the loop may do before other connections and tasks have theirs."""

cdef enum:
    # Messages that a wake-up may deliver before the application's own tasks get their turn.
    TURN_MESSAGE_COUNT = 4096
    # Bytes that a turn of the loop may inflate, compressed ones counted as well, before the other
    # connections have their turn: long compressed messages wait. Short ones may use a reserve too.
    TURN_INFLATED_SIZE = 262144
    TURN_RESERVE_SIZE = 1048576

cdef struct TurnBudget:
    int message_count           # messages that this wake-up may still deliver
    Py_ssize_t inflatable       # bytes that this turn may still inflate, or their worth in time
    double slow_end             # until then it may serve slow requests; 0: none was served

cdef inline int refill_messages(TurnBudget* budget) noexcept:
    """Start a wake-up."""
    budget.message_count = TURN_MESSAGE_COUNT
    return 0

cdef inline int refill(TurnBudget* budget) noexcept:
    """Start a turn: reset what it may inflate, and its time for slow requests."""
    budget.inflatable = TURN_INFLATED_SIZE
    budget.slow_end = 0
    return 0

cdef inline bint has_messages(const TurnBudget* budget) noexcept:
    """Return whether this wake-up may deliver one more message."""
    return budget.message_count > 0

cdef inline int take_message(TurnBudget* budget) noexcept:
    budget.message_count -= 1
    return 0

cdef inline bint has_inflatable(const TurnBudget* budget) noexcept:
    return budget.inflatable > 0

cdef inline bint has_reserve(const TurnBudget* budget) noexcept:
    """Return whether a short message may be inflated: for those there is a reserve, when others
    have used up the turn's budget."""
    return budget.inflatable > -TURN_RESERVE_SIZE

cdef inline int spend_inflated(TurnBudget* budget, Py_ssize_t size) noexcept:
    """Subtract what inflating a message has cost. One message may use up the turn's budget, but not
    the reserve as well."""
    cdef bint is_left = budget.inflatable > 0
    budget.inflatable -= size
    if is_left and budget.inflatable < 0:
        budget.inflatable = 0
    return 0

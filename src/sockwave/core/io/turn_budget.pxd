"""How much a turn of the loop may do before everybody else has theirs."""

cdef enum:
    # Messages that a wake-up may deliver before the application's own tasks get their turn.
    TURN_MESSAGE_COUNT = 4096
    # What a turn of the loop may inflate, in bytes, compressed ones counted as well, before others
    # have theirs: the messages that may take longest have to wait. Short ones may go on for so much
    # more.
    TURN_INFLATED_SIZE = 262144
    TURN_RESERVE_SIZE = 1048576

cdef struct TurnBudget:
    int message_count           # messages that this wake-up may still deliver
    Py_ssize_t inflatable       # bytes, or their time's worth, that this turn may still inflate
    double slow_end             # until then it may serve slow requests; 0: it has served none

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
    """Say whether this wake-up may deliver one more message."""
    return budget.message_count > 0

cdef inline int take_message(TurnBudget* budget) noexcept:
    budget.message_count -= 1
    return 0

cdef inline bint has_inflatable(const TurnBudget* budget) noexcept:
    return budget.inflatable > 0

cdef inline bint has_reserve(const TurnBudget* budget) noexcept:
    """Say whether a short message may be inflated whatever others have used, as there is a reserve
    for those."""
    return budget.inflatable > -TURN_RESERVE_SIZE

cdef inline int spend_inflated(TurnBudget* budget, Py_ssize_t size) noexcept:
    """Take what inflating a message has cost. It may use up what the turn has, but not the reserve
    as well."""
    cdef bint is_left = budget.inflatable > 0
    budget.inflatable -= size
    if is_left and budget.inflatable < 0:
        budget.inflatable = 0
    return 0

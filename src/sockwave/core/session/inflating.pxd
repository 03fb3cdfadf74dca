"""How much of a compressed message a turn inflates."""

from sockwave.core.io.turn_budget cimport TurnBudget
from sockwave.core.protocol.frames cimport Violation
from sockwave.core.protocol.inflation cimport Inflation

cdef bint inflate_some(Inflation inflation, TurnBudget* budget, Violation* violation) except -1

"""Who has come and gone in topics with presence, until the application takes it."""

from sockwave.core.session.delivery_queue cimport TopicQueue

cdef class MemberChanges(TopicQueue):
    """The members of which the application has to be told, in the order of their changes."""
    cdef object pending         # (subscription, key) of each; an OrderedDict
    cdef bint is_wanted         # the application has asked

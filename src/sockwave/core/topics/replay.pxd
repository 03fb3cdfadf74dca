"""SUB: from this step on a link wants a topic; what it has missed comes first."""

from sockwave.core.topics.links cimport Link
from sockwave.core.topics.ordered_topic cimport OrderedTopic
from sockwave.core.topics.records cimport Head
from sockwave.core.topics.registry cimport Registry

cdef int subscribe(
    Registry registry, Link link, OrderedTopic topic, const Head* head
) except -1
cdef int tell_gaps(Registry registry, Link link) except -1

"""Deliveries of topics that wait for a client's application: docs/sockwave.1.md, "Coming back".

Compiled, for threads: no handler of a signal runs between what is taken out and what is noted.
"""

from collections import deque

cdef enum:
    # What a delivery that waits takes besides its message, in bytes.
    OVERHEAD_SIZE = 256


cdef class Entry:
    """A delivery, or a position alone, which is known once all before it has been taken."""

    def __cinit__(self, subscription, position, delivery, *, bint is_placed):
        self.subscription = subscription
        self.position = position
        self.delivery = delivery
        self.is_placed = is_placed
        message = None if delivery is None else delivery.message
        self.size = OVERHEAD_SIZE + (0 if message is None else len(message))


cdef class TopicQueue:
    """What topics have brought, until the application takes it."""

    cdef object take_next(self):
        raise NotImplementedError


cdef class DeliveryQueue(TopicQueue):
    """The deliveries of one connection, in order."""

    def __cinit__(self):
        self.entries = deque()
        self.noun = "deliveries"

    def __len__(self):
        return len(self.entries)

    def put(self, Entry entry not None):
        """Add what has come last."""
        self.entries.append(entry)
        self.size += entry.size

    def pass_on(self, Entry entry not None):
        """Note that the application has what has just come: nothing waits. Returns the delivery."""
        self.note_taken(entry)
        return entry.delivery

    def take(self):
        """Take out the delivery that has come first, and note where its subscription has come to;
        None: none waits."""
        return self.take_next()

    cdef object take_next(self):
        cdef Entry entry
        cdef object found = None
        while found is None and self.entries:
            entry = self.entries.popleft()
            self.size -= entry.size
            self.note_taken(entry)
            found = entry.delivery
        return found

    cdef Py_ssize_t count_behind(self) except -1:
        """Return how many wait behind the first one."""
        return max(len(self.entries) - 1, 0)

    cdef Py_ssize_t size_behind(self) except -1:
        """Return how many bytes wait behind the first one."""
        return self.size - (<Entry>self.entries[0]).size if self.entries else 0

    cdef int note_taken(self, Entry entry) except -1:
        if entry.is_placed:
            entry.subscription.since = entry.position
        return 0

    def drop(self, subscription=None):
        """Drop what waits, of one subscription, or of all."""
        cdef Entry entry
        kept = deque()
        self.size = 0
        for entry in self.entries:
            if subscription is not None and entry.subscription is not subscription:
                kept.append(entry)
                self.size += entry.size
        self.entries = kept

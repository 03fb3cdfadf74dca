"""A topic as the sequencer knows it: its order, its history, and which links want it."""

cimport cython
from libc.stdlib cimport free, realloc
from libc.string cimport memset

cdef enum:
    FIRST_CAPACITY = 2


@cython.no_gc       # nothing in it refers back
cdef class OrderedTopic:
    """One topic."""

    def __cinit__(self, bytes name, uint32_t number, uint64_t serial, uint64_t epoch):
        self.name = name
        self.number = number
        self.serial = serial
        self.epoch = epoch
        self.history.topic = number

    def __dealloc__(self):
        # The registry has cleared the history, as it takes part in the store's list.
        free(self.interests)

    cdef Interest* find(self, Link link) noexcept:
        """Return what a link has to do with the topic; NULL: nothing."""
        cdef uint32_t i
        for i in range(self.interest_count):
            if self.interests[i].link == <PyObject*>link:
                return &self.interests[i]
        return NULL

    cdef Interest* provide(self, Link link) except NULL:
        """Return what a link has to do with the topic, from now on.

        Any change of the interests moves what was returned.
        """
        cdef Interest* interest = self.find(link)
        cdef uint32_t capacity
        if interest is not NULL:
            return interest
        if self.interest_count == self.capacity:
            capacity = 2 * self.capacity if self.capacity else FIRST_CAPACITY
            interest = <Interest*>realloc(self.interests, capacity * sizeof(Interest))
            if interest is NULL:
                raise MemoryError
            self.interests = interest
            self.capacity = capacity
        interest = &self.interests[self.interest_count]
        memset(interest, 0, sizeof(Interest))
        interest.link = <PyObject*>link
        self.interest_count += 1
        return interest

    cdef Interest* set_wants(self, Interest* interest, bint by_name, bint by_pattern) noexcept:
        """Change whether a link wants the topic; return where its interest stands then."""
        cdef bint wanted = wants(interest)
        cdef Interest* other
        cdef Interest moved
        interest.by_name = by_name
        interest.by_pattern = by_pattern
        if wanted == (by_name or by_pattern):
            return interest
        # The first that does not want it, or the last that does.
        if not wanted:
            self.want_count += 1
        other = &self.interests[self.want_count - 1]
        if wanted:
            self.want_count -= 1
        moved = other[0]
        other[0] = interest[0]
        interest[0] = moved
        return other

    cdef int remove_unneeded(self, Link link) noexcept:
        """Forget a link that has nothing to do with the topic any more, but that knows it."""
        cdef Interest* interest = self.find(link)
        if interest is not NULL and not (
            interest.name_count or interest.is_known or interest.is_watching or wants(interest)
        ):
            self.remove_at(<uint32_t>(interest - self.interests))
        return 0

    cdef int remove_at(self, uint32_t place) noexcept:
        """Remove an interest, whatever it is."""
        cdef Interest* interest = self.set_wants(&self.interests[place], False, False)
        self.interest_count -= 1
        interest[0] = self.interests[self.interest_count]
        return 0

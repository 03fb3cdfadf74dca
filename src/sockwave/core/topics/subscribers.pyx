"""Who hears a topic on this worker: dense arrays on both sides, so that nothing is searched.

A topic has an array of its subscribers, a connection one of its topics, and each entry says where
its counterpart stands: 32 bytes together. To leave is to move the last entry into the gap.
"""

from libc.stdlib cimport free, realloc

cdef enum:
    FEW_COUNT = 4
    # A connection with more topics finds them by a dict: to look through so many takes as long.
    SCANNED_COUNT = 64


cdef class Subscribers:
    """The subscribers of one topic, or of one pattern, on this worker."""

    def __cinit__(self, str name, bint is_pattern, settings):
        self.name = name
        self.is_pattern = is_pattern
        self.settings = settings
        self.is_sequenced = settings.is_sequenced and not is_pattern
        self.policy = settings.policy
        self.is_used = True

    def __dealloc__(self):
        free(self.places)

    def __len__(self):
        return self.size()

    def __repr__(self):
        return f"<Subscribers of {self.name!r}: {self.size()}>"

    cdef uint32_t size(self) noexcept:
        return self.count - self.left_count


cdef class Subscriptions:
    """The topics of one connection."""

    def __cinit__(self, bint has_commands):
        self.has_commands = has_commands

    def __dealloc__(self):
        free(self.held)

    def __len__(self):
        return self.count

    cdef Py_ssize_t find(self, Connection connection, Subscribers topic) except -2:
        """Return where a topic stands in `held`; -1: the connection does not hear it."""
        cdef uint32_t i
        if self.places is not None:
            return self.places.get(topic, -1)
        if topic.count < self.count:
            for i in range(topic.count):
                if topic.places[i].connection == <PyObject*>connection:
                    return topic.places[i].back
            return -1
        for i in range(self.count):
            if self.held[i].topic == <PyObject*>topic:
                return i
        return -1

    def names(self):
        """List the names of the topics and patterns, in no order."""
        cdef uint32_t i
        return [(<Subscribers>self.held[i].topic).name for i in range(self.count)]


cdef int join(Connection connection, Subscribers topic, int kind) except -1:
    """Add a connection to the subscribers of a topic, of which it is none yet."""
    cdef Subscriptions mine = connection.subscriptions
    topic.places = <Place*>provide(topic.places, topic.count, &topic.capacity, sizeof(Place))
    mine.held = <Held*>provide(mine.held, mine.count, &mine.capacity, sizeof(Held))
    if mine.places is not None:
        mine.places[topic] = mine.count
    elif mine.count == SCANNED_COUNT:
        mine.places = {
            <Subscribers>mine.held[i].topic: i for i in range(mine.count)
        }
        mine.places[topic] = mine.count
    topic.places[topic.count].connection = <PyObject*>connection
    topic.places[topic.count].back = mine.count
    topic.places[topic.count].kind = kind
    mine.held[mine.count].topic = <PyObject*>topic
    mine.held[mine.count].place = topic.count
    topic.count += 1
    mine.count += 1
    mine.pattern_count += topic.is_pattern
    return 0


cdef void* provide(void* rows, uint32_t count, uint32_t* capacity, size_t size) except? NULL:
    """Return the rows, of `size` bytes each, with room for one more than there are."""
    cdef uint32_t most = capacity[0]
    if count < most:
        return rows
    most += max(most // 2, <uint32_t>FEW_COUNT)
    rows = realloc(rows, most * size)
    if rows is NULL:
        raise MemoryError
    capacity[0] = most
    return rows


cdef bint leave(Connection connection, Subscribers topic) except -1:
    """Remove a connection from the subscribers of a topic; return whether it was one."""
    cdef Subscriptions mine = connection.subscriptions
    cdef Py_ssize_t index = -1 if mine is None else mine.find(connection, topic)
    if index < 0:
        return False
    leave_at(mine, index)
    return True


cdef int leave_at(Subscriptions mine, uint32_t index) except -1:
    """Remove a connection from the subscribers of its topic number `index`. Allocates nothing."""
    cdef Subscribers topic = <Subscribers>mine.held[index].topic
    cdef Subscribers moved
    cdef uint32_t place = mine.held[index].place
    if topic.walk_count:
        topic.places[place].connection = NULL       # nobody moves while somebody walks
        topic.left_count += 1
    else:
        remove_place(topic, place)
    mine.pattern_count -= topic.is_pattern
    mine.count -= 1
    if index < mine.count:
        mine.held[index] = mine.held[mine.count]
        moved = <Subscribers>mine.held[index].topic
        moved.places[mine.held[index].place].back = index
        if mine.places is not None:
            mine.places[moved] = index
    if mine.places is not None:
        mine.places.pop(topic)
    return 0


cdef int remove_place(Subscribers topic, uint32_t place) noexcept:
    """Move the last subscriber to a place that is free."""
    cdef Subscriptions other
    cdef Connection connection
    topic.count -= 1
    if place < topic.count:
        topic.places[place] = topic.places[topic.count]
        if topic.places[place].connection is not NULL:
            connection = <Connection>topic.places[place].connection
            other = connection.subscriptions
            other.held[topic.places[place].back].place = place
    if not topic.count:
        free(topic.places)
        topic.places = NULL
        topic.capacity = 0
    return 0


cdef int end_walk(Subscribers topic) except -1:
    """End a walk over the subscribers: the last one closes the gaps of those who have left."""
    cdef uint32_t place
    topic.walk_count -= 1
    if topic.walk_count or not topic.left_count:
        return 0
    place = topic.count
    while place:
        place -= 1
        if topic.places[place].connection is NULL:
            remove_place(topic, place)
    topic.left_count = 0
    return 0

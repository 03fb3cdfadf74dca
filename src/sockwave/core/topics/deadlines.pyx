"""What is due later: a heap of times, each with what it is for."""

from libc.stdlib cimport free, realloc


cdef int add_deadline(Deadlines* deadlines, const Deadline* deadline) except -1:
    cdef size_t capacity = deadlines.capacity
    cdef Deadline* heap = deadlines.heap
    cdef size_t place = deadlines.count
    if place == capacity:
        capacity = 2 * capacity if capacity else 16
        heap = <Deadline*>realloc(heap, capacity * sizeof(Deadline))
        if heap is NULL:
            raise MemoryError
        deadlines.heap = heap
        deadlines.capacity = capacity
    deadlines.count += 1
    while place and heap[(place - 1) // 2].due_s > deadline.due_s:
        heap[place] = heap[(place - 1) // 2]
        place = (place - 1) // 2
    heap[place] = deadline[0]
    return 0


cdef bint take_due(Deadlines* deadlines, double now_s, Deadline* taken) noexcept:
    """Take off the earliest deadline, if it is due."""
    cdef Deadline* heap = deadlines.heap
    cdef Deadline last
    cdef size_t count, child
    cdef size_t place = 0
    if not deadlines.count or heap[0].due_s > now_s:
        return False
    taken[0] = heap[0]
    deadlines.count -= 1
    count = deadlines.count
    last = heap[count]
    while 2 * place + 1 < count:
        child = 2 * place + 1
        if child + 1 < count and heap[child + 1].due_s < heap[child].due_s:
            child += 1
        if heap[child].due_s >= last.due_s:
            break
        heap[place] = heap[child]
        place = child
    heap[place] = last
    return True


cdef int free_deadlines(Deadlines* deadlines) noexcept:
    free(deadlines.heap)
    deadlines.heap = NULL
    deadlines.count = deadlines.capacity = 0
    return 0

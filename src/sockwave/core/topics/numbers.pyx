"""What the numbers of one link stand for: a table of small whole numbers and pointers."""

from libc.stdlib cimport calloc, free

cdef enum:
    FIRST_CAPACITY = 16


cdef int resize(Numbers* numbers, uint32_t capacity) except -1:
    cdef NumberSlot* before = numbers.slots
    cdef uint32_t before_capacity = numbers.mask + 1 if before is not NULL else 0
    cdef uint32_t i
    cdef NumberSlot* slots = <NumberSlot*>calloc(capacity, sizeof(NumberSlot))
    if slots is NULL:
        raise MemoryError
    numbers.slots = slots
    numbers.mask = capacity - 1
    for i in range(before_capacity):
        if before[i].number:
            put(numbers, before[i].number, before[i].value)
    free(before)
    return 0


cdef int put(Numbers* numbers, uint32_t number, void* value) noexcept:
    cdef uint32_t place = number & numbers.mask
    while numbers.slots[place].number and numbers.slots[place].number != number:
        place = (place + 1) & numbers.mask
    numbers.slots[place].number = number
    numbers.slots[place].value = value
    return 0


cdef int set_number(Numbers* numbers, uint32_t number, void* value) except -1:
    """Have a number, which has stood for nothing, stand for `value`."""
    if numbers.slots is NULL:
        resize(numbers, FIRST_CAPACITY)
    elif 3 * numbers.count >= 2 * numbers.mask:
        resize(numbers, 2 * (numbers.mask + 1))
    put(numbers, number, value)
    numbers.count += 1
    return 0


cdef void* remove_number(Numbers* numbers, uint32_t number) noexcept:
    """Return what a number has stood for until now; NULL: nothing."""
    cdef uint32_t mask = numbers.mask
    cdef NumberSlot* slots = numbers.slots
    cdef uint32_t place = number & mask
    cdef uint32_t next_place, home
    cdef void* value
    if find_number(numbers, number) is NULL:
        return NULL
    while slots[place].number != number:
        place = (place + 1) & mask
    value = slots[place].value
    # Those behind it that would no longer be found move forward.
    next_place = (place + 1) & mask
    while slots[next_place].number:
        home = slots[next_place].number & mask
        if ((next_place - home) & mask) >= ((next_place - place) & mask):
            slots[place] = slots[next_place]
            place = next_place
        next_place = (next_place + 1) & mask
    slots[place].number = 0
    numbers.count -= 1
    return value


cdef int free_numbers(Numbers* numbers) noexcept:
    free(numbers.slots)
    numbers.slots = NULL
    numbers.mask = numbers.count = 0
    return 0

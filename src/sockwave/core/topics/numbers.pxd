"""What the numbers of one link stand for: a table of small whole numbers and pointers."""

from libc.stdint cimport uint32_t

cdef struct NumberSlot:
    uint32_t number         # 0: free
    void* value

# A hash table with open addressing. A number's first place is the number itself, so that numbers
# that were given one after the other stand as in an array.
# Its owner initializes it with zeros and frees it by `free_numbers`.
cdef struct Numbers:
    NumberSlot* slots
    uint32_t mask           # their count - 1
    uint32_t count          # of those that are taken

cdef int set_number(Numbers* numbers, uint32_t number, void* value) except -1
cdef void* remove_number(Numbers* numbers, uint32_t number) noexcept
cdef int free_numbers(Numbers* numbers) noexcept


cdef inline void* find_number(const Numbers* numbers, uint32_t number) noexcept nogil:
    """Return what a number, other than 0, stands for; NULL: nothing."""
    cdef uint32_t place
    if numbers.slots is NULL:
        return NULL
    place = number & numbers.mask
    while numbers.slots[place].number != number:
        if not numbers.slots[place].number:
            return NULL
        place = (place + 1) & numbers.mask
    return numbers.slots[place].value

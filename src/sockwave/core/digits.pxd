"""Numbers in digits: snprintf takes as long for one as a small response takes without it."""

from libc.stdint cimport uint8_t, uint64_t


cdef inline uint8_t* put_digits(uint8_t* to, uint64_t number, uint64_t base) noexcept:
    """Write a number in the digits of a base, of 10 or 16, and return where the next bytes go."""
    cdef uint8_t digits[20]
    cdef int at = 20
    cdef uint8_t digit
    while True:
        digit = <uint8_t>(number % base)
        number //= base
        at -= 1
        digits[at] = digit + (c'0' if digit < 10 else c'a' - 10)
        if not number:
            break
    while at < 20:
        to[0] = digits[at]
        to += 1
        at += 1
    return to

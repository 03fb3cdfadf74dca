"""Requests for a part of a file: RFC 9110, section 14."""

from sockwave.core.http.headers import Headers

# No file's size has more digits; longer numbers cost time to parse.
_DIGIT_COUNT = 20


def find_range(headers: Headers, size: int) -> tuple[int, int] | None:
    """Return start and end of the one range that is asked for, None to send the whole file."""
    given = headers.get_all("range")
    return parse_range(given[0], size) if len(given) == 1 else None


def parse_range(text: str, size: int) -> tuple[int, int] | None:
    """Return start and end of the one range requested, None to send the whole file.

    An empty range cannot be satisfied. Several ranges, other units and malformed fields are ignored
    (RFC 9110, 14.2).
    """
    unit, separator, value = text.partition("=")
    first, dash, last = (part.strip(" \t") for part in value.partition("-"))
    if unit.strip(" \t").lower() != "bytes" or not separator or not dash:
        return None
    for digits in (first, last):
        if digits and not (digits.isascii() and digits.isdigit() and len(digits) <= _DIGIT_COUNT):
            return None
    if first:
        start, end = int(first), int(last) + 1 if last else size
        return None if last and end <= start else (start, min(end, size))
    if last:
        return max(size - int(last), 0), size
    return None

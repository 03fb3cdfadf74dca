"""Dates as they stand in header fields: RFC 9110, section 5.6.7."""

import calendar
from email.utils import formatdate, parsedate_tz


def format_date(seconds: float) -> str:
    """Return a time in seconds since the epoch as an IMF-fixdate."""
    return formatdate(int(seconds), usegmt=True)


def parse_date(text: str) -> float | None:
    """Parse any of the three date formats to seconds since the epoch; None for anything else."""
    try:
        parsed = parsedate_tz(text)
        if parsed is None:
            return None
        return calendar.timegm((*parsed[:6], 0, 0, 0)) - (parsed[9] or 0)
    except (ValueError, TypeError, IndexError, OverflowError):
        return None

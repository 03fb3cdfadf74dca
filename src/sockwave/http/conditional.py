"""Conditions of a request for a file: RFC 9110, sections 8.8 and 13."""

import os
import re
from dataclasses import dataclass

from sockwave.core.http.headers import Headers
from sockwave.core.http.response_head import present_second
from sockwave.http.dates import format_date, parse_date

# Tools that make every build alike set the time of each file to the beginning of the epoch, or one
# second behind it, whatever is in it: such a time tells no two versions apart.
_FIRST_TIME_S = 2

# RFC 9110, 8.8.3: entity-tag = [ weak ] opaque-tag. A comma may stand within the quotes.
_TAG = re.compile(r'[ \t]*(W/)?("[\x21\x23-\x7e\x80-\xff]*")[ \t]*(?:,[ \t,]*|$)')


@dataclass(frozen=True, slots=True)
class Validators:
    """What tells one version of a file from another; None for what cannot."""

    #: A strong entity tag, in its quotes.
    tag: str | None
    #: Of the last modification, in seconds since the epoch.
    modified: int | None

    @classmethod
    def of(cls, found: os.stat_result, coding: str = "") -> "Validators":
        """Return those of a file; `coding` is its content coding, "" for none."""
        # RFC 9110, 8.8.3.3: two codings of the same data need two tags.
        tail = f"-{coding}" if coding else ""
        if found.st_mtime_ns < _FIRST_TIME_S * 10**9:
            return cls(None, None)
        # RFC 9110, 8.8.2.1: a date in the future "MUST [be replaced] with the message origination
        # date", which the Date field tells.
        modified = min(found.st_mtime_ns // 10**9, present_second())
        return cls(f'"{found.st_size:x}-{found.st_mtime_ns:x}{tail}"', modified)

    def fields(self) -> list[tuple[str, str]]:
        """Return the header fields that tell them."""
        if self.tag is None or self.modified is None:
            return []
        return [("ETag", self.tag), ("Last-Modified", format_date(self.modified))]


def evaluate(headers: Headers, validators: Validators) -> int:
    """Return the status of a GET or HEAD for a file that is there: 200, 304 or 412.

    The order is that of RFC 9110, section 13.2.2.
    """
    if "if-match" in headers:
        # 13.1.1: "using the strong comparison function".
        if not _has_tag(headers, "if-match", validators.tag, is_weak=False):
            return 412
    elif validators.modified is not None:
        date = _date_in(headers, "if-unmodified-since")
        if date is not None and validators.modified > date:
            return 412
    if "if-none-match" in headers:
        # 13.1.2: "A recipient MUST use the weak comparison function".
        return 304 if _has_tag(headers, "if-none-match", validators.tag, is_weak=True) else 200
    # 13.1.3 has every date from the file's own on mean that nothing has changed. But who goes back
    # to an older version of a file has changed it: only the date that we gave counts.
    date = _date_in(headers, "if-modified-since")
    return 304 if date is not None and date == validators.modified else 200


def allows_range(headers: Headers, validators: Validators) -> bool:
    """Tell whether If-Range, if the request has one, is about this version: section 13.1.5."""
    given = headers.get_all("if-range")
    if not given:
        return True
    if len(given) > 1:
        return False
    if given[0].startswith(('"', "W/")):
        # "using the strong comparison function": our tag is strong, and one with W/ is another.
        return given[0] == validators.tag
    # A client that keeps to 8.8.2.2 asks by date only if it got the file a second behind it.
    return validators.modified is not None and given[0] == format_date(validators.modified)


def _has_tag(headers: Headers, name: str, tag: str | None, *, is_weak: bool) -> bool:
    """Tell whether a list of tags has ours; `is_weak`: by the weak comparison (8.8.3.2).

    "*" has any. A malformed list has none behind its fault.
    """
    text = ",".join(headers.get_all(name)).strip(" \t,")
    if text == "*":
        return True
    at = 0
    while found := _TAG.match(text, at):
        if found[2] == tag and (is_weak or not found[1]):
            return True
        at = found.end()
    return False


def _date_in(headers: Headers, name: str) -> float | None:
    """Return the one date of a field; None if there is none, or the field is not valid."""
    given = headers.get_all(name)
    return parse_date(given[0]) if len(given) == 1 else None

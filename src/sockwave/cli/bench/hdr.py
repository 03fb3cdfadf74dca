"""HdrHistogram: its encoding V2, its logs, and percentiles of what is in them.

The layout is that of a histogram from 1 ns to an hour with three digits, which is that of
`sockwave.loadgen.latencies` too.
"""

import base64
import struct
import time
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

_DIGITS = 3
_HIGHEST_NS = 3600 * 10**9
_STEP_BITS = 10
# "V2", and in the tenth place the size of a word, which is 1 as numbers have no fixed size.
_COOKIE = 0x1C849303 | 0x10
_COMPRESSED_COOKIE = 0x1C849304 | 0x10
_MAX_NUMBER_SIZE = 9
_HEADER = struct.Struct(">iiiiqqd")
_COMPRESSED_HEADER = struct.Struct(">ii")
#: A log has its greatest values in milliseconds.
_MILLISECOND_NS = 1_000_000


@dataclass(frozen=True, slots=True)
class Slot:
    """Values from `low` to `high`, in nanoseconds, and how many there are."""

    low: int
    high: int
    count: int

    @property
    def middle(self) -> float:
        """The value that stands for all of them."""
        return (self.low + self.high) / 2


class Histogram:
    """Counts of latencies."""

    def __init__(self, payload: bytes = b"", greatest_ns: int = 0) -> None:
        self.payload = payload
        self.greatest_ns = greatest_ns
        self.slots = list(_read_slots(payload))
        self.count = sum(slot.count for slot in self.slots)

    def percentile_ns(self, share: float) -> float:
        """Return the latency that this share of them did not exceed; 0 when there are none."""
        wanted = share * self.count
        seen = 0
        for slot in self.slots:
            seen += slot.count
            if seen >= wanted and seen:
                return float(min(slot.middle, self.greatest_ns))
        return float(self.greatest_ns)

    @property
    def mean_ns(self) -> float:
        """The mean; 0 when there are none."""
        return sum(slot.middle * slot.count for slot in self.slots) / max(self.count, 1)

    @property
    def least_ns(self) -> int:
        """The shortest one, to the width of a step; 0 when there are none."""
        return self.slots[0].low if self.slots else 0

    def encode(self) -> str:
        """Return it compressed, in base64, as other programs read it."""
        header = _HEADER.pack(_COOKIE, len(self.payload), 0, _DIGITS, 1, _HIGHEST_NS, 1.0)
        compressed = zlib.compress(header + self.payload)
        head = _COMPRESSED_HEADER.pack(_COMPRESSED_COOKIE, len(compressed))
        return base64.b64encode(head + compressed).decode()


def _read_numbers(payload: bytes) -> Iterator[int]:
    """Read numbers in ZigZag and LEB128, of at most nine bytes: the ninth has eight bits."""
    value = shift = 0
    for byte in payload:
        is_last = shift == 7 * (_MAX_NUMBER_SIZE - 1) or byte < 0x80
        value |= (byte if is_last else byte & 0x7F) << shift
        shift += 7
        if is_last:
            yield value >> 1 ^ -(value & 1)
            value = shift = 0


def _read_slots(payload: bytes) -> Iterator[Slot]:
    index = 0
    for number in _read_numbers(payload):
        if number < 0:
            index -= number
            continue
        power = max((index >> _STEP_BITS) - 1, 0)
        low = index - (power << _STEP_BITS) << power
        yield Slot(low, low + (1 << power) - 1, number)
        index += 1


def write_log(begin: float, intervals: Iterable[tuple[float, float, Histogram]]) -> Iterator[str]:
    """Return the lines of a log, for intervals with their start and length in seconds.

    `begin` is when the first one began, in seconds of the epoch.
    """
    when = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(begin))
    yield "#[Logged by sockwave bench, values in nanoseconds]"
    yield "#[Histogram log format version 1.3]"
    yield f"#[StartTime: {begin:.3f} (seconds since epoch), {when}]"
    yield f"#[BaseTime: {begin:.3f} (seconds since epoch)]"
    yield '"StartTimestamp","Interval_Length","Interval_Max","Interval_Compressed_Histogram"'
    for start, length, histogram in intervals:
        greatest = histogram.greatest_ns / _MILLISECOND_NS
        yield f"{start:.3f},{length:.3f},{greatest:.3f},{histogram.encode()}"

"""Latencies as HdrHistogram has them, held against the package of that name."""

import base64
import struct
import zlib
from pathlib import Path

import pytest
from commands import run, serving
from hdrh.histogram import HdrHistogram
from hdrh.log import HistogramLogReader
from hypothesis import given
from hypothesis import strategies as st

from sockwave.cli.bench.hdr import Histogram, write_log

HOUR_NS = 3600 * 10**9
latencies = st.lists(
    st.tuples(st.integers(1, HOUR_NS), st.integers(1, 2**31)), min_size=1, max_size=50
)


def make_reference(values: list[tuple[int, int]]) -> HdrHistogram:
    reference = HdrHistogram(1, HOUR_NS, 3)
    for value, count in values:
        reference.record_value(value, count)
    return reference


def read_payload(reference: HdrHistogram) -> bytes:
    """Give the counts that the package writes, without its headers."""
    data = base64.b64decode(reference.encode())
    return zlib.decompress(data[8:])[40:]


def read(values: list[tuple[int, int]]) -> tuple[HdrHistogram, Histogram]:
    reference = make_reference(values)
    return reference, Histogram(read_payload(reference), max(value for value, _ in values))


@given(latencies)
def test_what_the_package_writes_is_read(values: list[tuple[int, int]]) -> None:
    reference, ours = read(values)
    assert ours.count == reference.get_total_count()
    for slot in ours.slots:
        assert reference.get_count_at_value(slot.low) == slot.count
        assert reference.get_count_at_value(slot.high) == slot.count


@given(latencies)
def test_what_we_write_is_read_by_the_package(values: list[tuple[int, int]]) -> None:
    reference, ours = read(values)
    decoded = HdrHistogram.decode(ours.encode())
    assert decoded.get_total_count() == reference.get_total_count()
    for value, _ in values:
        assert decoded.get_count_at_value(value) == reference.get_count_at_value(value)
    header = struct.unpack(">iiiiqqd", zlib.decompress(base64.b64decode(ours.encode())[8:])[:40])
    assert (header[0], *header[3:]) == (0x1C849313, 3, 1, HOUR_NS, 1.0)


@pytest.mark.slow
@given(latencies, st.floats(0.01, 0.9999))
def test_percentiles_are_those_of_the_package(values: list[tuple[int, int]], share: float) -> None:
    reference, ours = read(values)
    expected = reference.get_value_at_percentile(share * 100)
    # Where the share falls between two values, either is one that so many do not exceed.
    near = [ours.percentile_ns(share * factor) for factor in (1 - 1e-9, 1, 1 + 1e-9)]
    assert any(value == pytest.approx(expected, rel=0.002, abs=1) for value in near)


def test_empty_histogram_has_no_latencies() -> None:
    empty = Histogram()
    assert (empty.count, empty.percentile_ns(0.5), empty.mean_ns, empty.least_ns) == (0, 0, 0, 0)
    assert HdrHistogram.decode(empty.encode()).get_total_count() == 0


@pytest.mark.slow
def test_log_is_read_by_the_package(tmp_path: Path) -> None:
    path = tmp_path / "log"
    with serving("echo", "--port", "0") as (_, url):
        ended = run("bench", url, "--duration", "0.5", "--warmup", "0", "--hdr", str(path))
    assert ended.returncode == 0, ended.stderr
    total = HdrHistogram(1, HOUR_NS, 3)
    reader = HistogramLogReader(str(path), total)
    parts = []
    while (part := reader.get_next_interval_histogram()) is not None:
        parts.append(part)
        total.add(part)
    reader.close()
    assert len(parts) >= 3
    count = int(ended.stdout.split(" replies")[0].rsplit("\n", 1)[1].replace(",", ""))
    assert total.get_total_count() == count
    assert total.get_value_at_percentile(50) > 1_000  # nanoseconds: no echo is as fast


def test_log_has_the_lines_of_the_format() -> None:
    lines = list(write_log(1_000_000_000.5, [(0.0, 0.25, Histogram(b"", 0))]))
    assert lines[1] == "#[Histogram log format version 1.3]"
    assert lines[2] == "#[StartTime: 1000000000.500 (seconds since epoch), 2001-09-09T01:46:40Z]"
    assert lines[4].startswith('"StartTimestamp","Interval_Length","Interval_Max",')
    assert lines[5].startswith("0.000,0.250,0.000,HISTF")

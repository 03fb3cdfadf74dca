"""The report and the page of `sockwave bench`: what they say before and beside the figures."""

import base64
import io
import itertools

import pytest
from hdrh.histogram import HdrHistogram
from rich.console import Console
from test_hdr import HOUR_NS, read_payload

from sockwave.cli.bench.hdr import Histogram
from sockwave.cli.bench.page import make_page
from sockwave.cli.bench.plan import Plan, read_plan
from sockwave.cli.bench.report import draw_bar, group, print_report
from sockwave.cli.bench.results import Results, format_size, format_time

PLAN = Plan(
    uri="ws://<host>/",
    mode="echo",
    address="127.0.0.1",
    port=80,
    authority="host",
    path="/",
    server_name="host",
    is_secure=False,
    ca=None,
    insecure=False,
    fields=[],
    connections=2,
    size=20,
    depth=1,
    binary=False,
    deflate=False,
    rate=10,
    ramp=0.0,
    warmup=0.0,
    duration=1.0,
    count=None,
    timeout=1.0,
)


def make_results(*latencies_ns: int, **facts: object) -> Results:
    """Make the results of a load that had these latencies."""
    histogram = HdrHistogram(1, HOUR_NS, 3)
    for latency_ns in latencies_ns:
        histogram.record_value(latency_ns)
    counts = base64.b64encode(read_payload(histogram)).decode()
    common = {"seconds": 1.0, "count": len(latencies_ns), "bytes": 22 * len(latencies_ns)}
    common |= {"counts": counts, "greatest_ns": max(latencies_ns, default=0)}
    results = Results(PLAN, 0.0)
    results.take({"event": "tick", "at": 0.0, **common})
    ended = {"missing": 0, "cpu_s": 0.1, "interrupted": False, "error": None}
    results.take({"event": "result", **common, **ended, **facts})
    return results


def report(results: Results) -> str:
    written = io.StringIO()
    print_report(results, Console(file=written, width=100))
    return written.getvalue()


@pytest.mark.parametrize(
    ("facts", "said", "on_page"),
    [
        ({"interrupted": True}, "Interrupted", "Interrupted"),
        ({"missing": 7}, "7 of 9 replies are missing", "7 replies are missing"),
        ({"cpu_s": 0.95}, "nearly all of a processor", "nearly all of a processor"),
        ({"error": "a <b>"}, "", "Ended by an error: a &lt;b&gt;"),
    ],
)
def test_what_a_reader_has_to_know_is_said(
    facts: dict[str, object], said: str, on_page: str
) -> None:
    results = make_results(1000, 2000, **facts)
    assert said in report(results)
    assert on_page in make_page(results)


def test_address_cannot_write_into_the_page() -> None:
    page = make_page(make_results(1000))
    assert "<host>" not in page
    assert "ws://&lt;host&gt;/" in page


def test_load_that_was_too_short_for_a_rate_has_no_plot_over_time() -> None:
    results = make_results(1000, 2000)
    assert make_page(results).count("<svg") == 4
    results.ticks[0].seconds = results.plan.tick / 4
    page = make_page(results)
    assert page.count("<svg") == page.count("</svg>") == 2
    assert "over time" not in page
    assert "a second</h2>" not in page


def test_load_without_a_reply_is_an_error() -> None:
    results = make_results()
    assert results.error == "no reply has come in 1.0 s"
    assert "<svg" in make_page(results)
    assert "0 replies" in report(results)


def test_plan_survives_its_way_to_the_process() -> None:
    assert read_plan(PLAN.dump()) == PLAN
    assert "fields" not in PLAN.describe()  # where Authorization is


@pytest.mark.parametrize(
    ("ns", "text"),
    [(0, "0 ns"), (999, "999 ns"), (1000, "1.00 µs"), (12_345_000, "12.3 ms"), (2e9, "2.00 s")],
)
def test_times_have_three_digits_and_a_unit(ns: float, text: str) -> None:
    assert format_time(ns) == text


@pytest.mark.parametrize(("size", "text"), [(0, "0 B"), (1536, "1.5 KiB"), (1 << 30, "1.0 GiB")])
def test_sizes_have_a_unit(size: int, text: str) -> None:
    assert format_size(size) == text


def test_ranges_hold_all_latencies() -> None:
    latencies = make_results(100, 10_000, 10_000, 5_000_000).latencies
    ranges = group(latencies)
    assert sum(count for _, _, count in ranges) == 4
    assert ranges[0][0] <= 100
    assert ranges[-1][1] >= 5_000_000 * 0.999
    assert all(
        before[1] == pytest.approx(behind[0]) for before, behind in itertools.pairwise(ranges)
    )


def test_one_latency_makes_ranges_too() -> None:
    assert sum(count for _, _, count in group(make_results(500).latencies)) == 1
    assert Histogram().count == 0


def test_bars_are_drawn_with_what_the_terminal_has() -> None:
    assert draw_bar(0.5, 4, "utf-8") == "██  "
    assert draw_bar(0.001, 4, "utf-8") == "▏   "
    assert draw_bar(0, 4, "utf-8") == "    "
    assert draw_bar(0.5, 4, "ascii") == "##  "

"""What the benchmarks make of their figures: exponents, plots, and the page of figures."""

import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the benchmarks are Linux's")

BENCHMARKS = Path(__file__).resolve().parents[1] / "benchmarks"

if str(BENCHMARKS) not in sys.path:
    sys.path.append(str(BENCHMARKS))

if sys.platform == "linux":
    import growth
    import plot
    import report

TABLE = {
    "title": "An echo",
    "columns": ["server", "CPU us/message", "waited", "runs"],
    "rows": [["sockwave", "3.60", "1%", "5/5"], ["floor", "3.40", "0%", "5/5"]],
    "sentences": ["FAILED ws: it said nothing"],
}
RECORD: dict[str, Any] = {
    "benchmark": "echo",
    "command": "python benchmarks/echo.py",
    "machine": {"processor": "a processor", "cores": 2, "kernel": "6.18", "load": 0.0},
    "versions": {"sockwave": {"python": "3.11.7", "sockwave": "0.1.0"}},
    "skipped": [],
    "tables": [TABLE],
}
PAGE = """Above.

<!-- results: echo -->
old
<!-- end -->

<!-- results: growth -->
not measured since
<!-- end -->
"""


@pytest.mark.parametrize("exponent", [0.0, 1.0, 2.0, -0.5])
def test_the_exponent_of_a_power_is_found(exponent: float) -> None:
    points = [(10.0**power, 3 * 10 ** (power * exponent)) for power in range(1, 5)]
    assert growth.find_exponent(points) == pytest.approx(exponent)


def test_a_table_is_put_where_its_name_stands_and_nothing_else_changes() -> None:
    page = report.fill_page(PAGE, {"echo": RECORD})
    assert "old" not in page
    assert "| sockwave | 3.60 |\n| floor | 3.40 |\n" in page
    assert "- FAILED ws: it said nothing" in page
    assert "$ python benchmarks/echo.py" in page
    assert page.startswith("Above.\n")
    assert "not measured since" in page
    assert report.fill_page(page, {"echo": RECORD}) == page


@pytest.mark.parametrize(("share", "is_shared"), [(0.05, False), (0.051, True)])
def test_a_machine_on_which_servers_wait_for_their_core_is_called_shared(
    share: float, is_shared: bool
) -> None:
    runs = [{"waited_share": waited} for waited in (0.9, share, 0.0)]
    record = RECORD | {"answers": [{"servers": {"sockwave": {"runs": runs}}}]}
    page = report.fill_page(PAGE, {"echo": record})
    assert f"servers waited for their core {share:.1%} of the time" in page
    assert ("shared with others" in page) is is_shared
    assert "waited" not in report.fill_page(PAGE, {"echo": RECORD})


def test_the_page_of_figures_has_a_place_for_every_benchmark() -> None:
    page = report.PAGE.read_text("utf-8")
    places = {match[2] for match in report.BLOCK.finditer(page)}
    assert places >= {benchmark for benchmark, *_ in report.PANELS} | {"growth", "memory"}


def test_bars_are_as_long_as_their_values_and_plots_are_well_formed() -> None:
    drawing = plot.draw_bars(
        "Costs <all>", "Less & less", [plot.Bars("Echo", "µs", [("ours", 2.0), ("theirs", 4.0)])]
    )
    root = ElementTree.fromstring(drawing)
    _, ours, theirs = root.iter("{http://www.w3.org/2000/svg}rect")
    assert float(theirs.attrib["width"]) == pytest.approx(2 * float(ours.attrib["width"]), abs=0.2)
    assert "Costs <all>" in "".join(root.itertext())


def test_lines_rise_with_their_values() -> None:
    series = {"ours": [(10.0, 1.0), (100.0, 10.0)], "floor": [(10.0, 1.0), (100.0, 1.0)]}
    panel = plot.Lines("Sizes", "µs", [(10.0, "10"), (100.0, "100"), (1e6, "beyond")], series)
    root = ElementTree.fromstring(plot.draw_lines("Growth", "both", [panel]))
    lines = [line.attrib["points"] for line in root.iter("{http://www.w3.org/2000/svg}polyline")]
    heights = [[float(point.split(",")[1]) for point in line.split()] for line in lines]
    assert heights[0][1] < heights[0][0]  # downwards is more
    assert heights[1][1] == heights[1][0]
    assert "beyond" not in "".join(root.itertext())

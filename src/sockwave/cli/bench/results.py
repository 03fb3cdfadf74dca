"""What a load has given: from the events of its process to figures."""

import base64
from dataclasses import dataclass, field
from typing import Any

from sockwave.cli.bench.hdr import Histogram
from sockwave.cli.bench.plan import Plan

#: What is told of the latencies.
PERCENTILES = (0.5, 0.75, 0.9, 0.99, 0.999, 0.9999)
#: A process that is this busy may be what bounds the load.
BUSY_SHARE = 0.9


def read_histogram(event: dict[str, Any]) -> Histogram:
    """Return the latencies of an event."""
    return Histogram(base64.b64decode(event["counts"]), event["greatest_ns"])


def name_percentile(share: float) -> str:
    """Return how a percentile is called: p50, p99.9."""
    return f"p{share * 100:.10g}"


@dataclass(slots=True)
class Tick:
    """A part of the load: when it began and how long it was, in seconds."""

    at: float
    seconds: float
    count: int
    size: int
    latencies: Histogram


@dataclass(slots=True)
class Results:
    """All figures of one load, complete once it has ended."""

    plan: Plan
    begin: float
    ticks: list[Tick] = field(default_factory=list)
    opening: dict[str, Any] | None = None
    handshakes: Histogram = field(default_factory=Histogram)
    latencies: Histogram = field(default_factory=Histogram)
    seconds: float = 0.0
    count: int = 0
    size: int = 0
    missing: int = 0
    cpu_s: float = 0.0
    is_interrupted: bool = False
    error: str | None = None
    is_complete: bool = False

    def take(self, event: dict[str, Any]) -> None:
        """Take an event of the process."""
        match event["event"]:
            case "open":
                self.opening = event
                self.handshakes = read_histogram(event)
            case "tick":
                latencies = read_histogram(event)
                self.ticks.append(
                    Tick(event["at"], event["seconds"], event["count"], event["bytes"], latencies)
                )
                self.count += event["count"]
                self.seconds = event["at"] + event["seconds"]
            case "result":
                self.latencies = read_histogram(event)
                self.seconds = event["seconds"]
                self.count, self.size = event["count"], event["bytes"]
                self.missing, self.cpu_s = event["missing"], event["cpu_s"]
                self.is_interrupted, self.error = event["interrupted"], event["error"]
                self.is_complete = True
                if self.error is None and not self.is_interrupted and self._lacks_all:
                    self.error = f"no reply has come in {self.seconds:.1f} s"
            case "error":
                self.error = event["error"]
                self.is_interrupted = event.get("interrupted", False)

    @property
    def _lacks_all(self) -> bool:
        """Whether nothing has come, where something had to."""
        return self.count == 0 and self.plan.mode != "idle"

    @property
    def is_in_vain(self) -> bool:
        """Whether Ctrl-C came before there was any figure."""
        return self.is_interrupted and (self._lacks_all or not self.is_complete)

    @property
    def rate(self) -> float:
        """Replies, or handshakes, in a second."""
        return self.count / self.seconds if self.seconds else 0.0

    @property
    def is_busy(self) -> bool:
        """Whether the load generator used nearly all of a processor, and may be what was slow."""
        return self.seconds > 0 and self.cpu_s / self.seconds > BUSY_SHARE

    def export(self) -> dict[str, Any]:
        """Return the figures as values that JSON has."""
        return {
            "plan": self.plan.describe(),
            "begin": self.begin,
            "seconds": self.seconds,
            "count": self.count,
            "rate": self.rate,
            "bytes": self.size,
            "missing": self.missing,
            "interrupted": self.is_interrupted,
            "error": self.error,
            "load_cpu_s": self.cpu_s,
            "extension": self.opening["extension"] if self.opening else None,
            "latency_us": summarize(self.latencies),
            "handshake_us": summarize(self.handshakes) if self.opening else None,
            "histogram": self.latencies.encode(),
            "ticks": [
                {"at": tick.at, "seconds": tick.seconds, "count": tick.count, "bytes": tick.size}
                | {"latency_us": summarize(tick.latencies)}
                for tick in self.ticks
            ],
        }


def summarize(latencies: Histogram) -> dict[str, float]:
    """Return the percentiles of latencies in microseconds."""
    named = {name_percentile(share): latencies.percentile_ns(share) / 1e3 for share in PERCENTILES}
    return {
        "min": latencies.least_ns / 1e3,
        "mean": latencies.mean_ns / 1e3,
        **named,
        "max": latencies.greatest_ns / 1e3,
    }


def format_time(ns: float) -> str:
    """Return a time with a unit that suits it, and three digits."""
    for unit, size in (("s", 1e9), ("ms", 1e6), ("µs", 1e3)):
        if ns >= size:
            value = ns / size
            return f"{value:.{0 if value >= 100 else 1 if value >= 10 else 2}f} {unit}"
    return f"{ns:.0f} ns"


def format_size(size: float) -> str:
    """Return a size with a unit that suits it."""
    for unit, least in (("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)):
        if size >= least:
            return f"{size / least:.1f} {unit}"
    return f"{size:.0f} B"

"""What Prometheus asks of an application that it scrapes."""

from asking import Question, ask, get, in_turn

OPEN_METRICS = "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5"

# The metrics of a counter have the time of its first use, in no format that could be masked.
WITHOUT_TIMES = "name[]=answer&name[]=requests_total"

QUESTIONS: dict[str, Question] = {
    "metrics": in_turn(
        get("/count/a", "counted"),
        get("/count/b", "counted"),
        get(f"/metrics/?{WITHOUT_TIMES}", 'requests_total{path="/count/a"}'),
    ),
    "metrics without a slash": get("/metrics", status=307),
    "metrics in OpenMetrics": get(
        f"/metrics/?{WITHOUT_TIMES}", "# EOF", headers={"Accept": OPEN_METRICS}
    ),
    "metrics in gzip": get(
        f"/metrics/?{WITHOUT_TIMES}",
        "answer 42.0",
        headers={"Accept-Encoding": "gzip"},
        clients=("httpx", "aiohttp"),
    ),
    "metrics without gzip": get(f"/plain/?{WITHOUT_TIMES}", headers={"Accept-Encoding": "gzip"}),
    "one metric": get("/metrics/?name[]=answer", "answer 42.0"),
    "HEAD of metrics": ask("HEAD", f"/metrics/?{WITHOUT_TIMES}"),
    "OPTIONS of metrics": ask("OPTIONS", f"/metrics/?{WITHOUT_TIMES}"),
}

"""Prometheus: the application of metrics, mounted as its documentation has it."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, make_asgi_app
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Mount, Route

registry = CollectorRegistry()
REQUESTS = Counter("requests", "Requests.", ["path"], registry=registry)
SIZES = Histogram("sizes", "Sizes.", registry=registry, buckets=(1, 10, 100))
Gauge("answer", "The answer.", registry=registry).set(42)


async def count(request: Request) -> Response:
    REQUESTS.labels(request.url.path).inc()
    SIZES.observe(5)
    return PlainTextResponse("counted")


app = Starlette(
    routes=[
        Route("/count/{name}", count),
        Mount("/metrics", make_asgi_app(registry=registry)),
        Mount("/plain", make_asgi_app(registry=registry, disable_compression=True)),
    ]
)

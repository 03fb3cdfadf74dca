"""Sentry: its ASGI middleware around an application, with a transport that keeps the events."""

import json
from typing import Any

import sentry_sdk
from sentry_sdk.envelope import Envelope
from sentry_sdk.integrations.asgi import SentryAsgiMiddleware
from sentry_sdk.transport import Transport

KEPT: list[Any] = []


class KeepingTransport(Transport):
    def capture_envelope(self, envelope: Envelope) -> None:
        for item in envelope.items:
            event = item.payload.json
            if not event:
                continue
            request = event.get("request", {})
            KEPT.append(
                {
                    "type": item.type,
                    "transaction": event.get("transaction"),
                    "method": request.get("method"),
                    "url": request.get("url", "").split("/", 3)[-1],
                    "query": request.get("query_string"),
                    "errors": [one["type"] for one in event.get("exception", {}).get("values", [])],
                    "status": event.get("contexts", {}).get("response", {}).get("status_code"),
                    "op": event.get("contexts", {}).get("trace", {}).get("op"),
                }
            )


sentry_sdk.init(
    dsn="http://key@127.0.0.1:9/1",
    transport=KeepingTransport,
    traces_sample_rate=1.0,
    auto_session_tracking=False,
    default_integrations=False,
)


async def answer(send: Any, status: int, body: bytes) -> None:
    headers = [(b"content-type", b"text/plain"), (b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def inner(scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] == "lifespan":
        assert (await receive())["type"] == "lifespan.startup"
        await send({"type": "lifespan.startup.complete"})
        assert (await receive())["type"] == "lifespan.shutdown"
        await send({"type": "lifespan.shutdown.complete"})
    elif scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.accept"})
        await receive()
        raise LookupError("in a WebSocket")
    elif scope["path"] == "/kept":
        await answer(send, 200, json.dumps(KEPT).encode())
    elif scope["path"] == "/message":
        sentry_sdk.capture_message("a message")
        await answer(send, 202, b"told")
    elif scope["path"] == "/fails":
        raise ZeroDivisionError("on purpose")
    else:
        trace = sentry_sdk.get_traceparent() or ""
        await answer(send, 200, f"traced {trace.split('-')[0]}".encode())


app = SentryAsgiMiddleware(inner)

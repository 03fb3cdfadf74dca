"""What Sentry's middleware is for: errors and traces of an application."""

import json
from typing import Any

from asking import Question, connect, get
from talking import talk
from transcript import mask

TRACE = "0123456789abcdef0123456789abcdef-0123456789abcdef-1"


async def kept(base: str) -> Any:
    """Give what the middleware has told Sentry so far."""
    async with connect(base) as client:
        return json.loads(mask((await client.get("/kept")).text))


QUESTIONS: dict[str, Question] = {
    "a trace that goes on": get("/trace", "traced UUID", headers={"sentry-trace": TRACE}),
    "a message": get("/message", "told", status=202),
    "an error": get("/fails?a=b", status=500),
    "an error in a WebSocket": talk("/ws", "x"),
    "what Sentry was told": kept,
}

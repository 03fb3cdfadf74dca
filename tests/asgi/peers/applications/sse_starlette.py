"""sse-starlette: server-sent events, with pings, retries, and clients that go."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

from sse_starlette import EventSourceResponse, JSONServerSentEvent, ServerSentEvent
from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket

EVENTS: list[str] = []


async def numbers(request: Request) -> Response:
    async def count() -> AsyncIterator[dict[str, Any]]:
        for number in range(5):
            yield {"data": number}
            await asyncio.sleep(0)

    task = BackgroundTask(EVENTS.append, "background")
    return EventSourceResponse(count(), background=task, headers={"X-Events": "numbers"})


async def rich(request: Request) -> Response:
    last = request.headers.get("last-event-id")

    async def events() -> AsyncIterator[Any]:
        yield ServerSentEvent("two\nlines", event="multi", id="1", retry=5000, comment="a comment")
        yield JSONServerSentEvent({"é": [1]}, event="json")
        yield {"event": "last", "data": str(last)}

    return EventSourceResponse(events(), sep="\n")


async def pings(request: Request) -> Response:
    async def quiet() -> AsyncIterator[dict[str, Any]]:
        await asyncio.sleep(0.25)
        yield {"data": "behind pings"}

    def ping() -> ServerSentEvent:
        return ServerSentEvent(event="ping", data="still here")

    return EventSourceResponse(quiet(), ping=1, ping_message_factory=ping)


async def endless(request: Request) -> Response:
    async def ticks() -> AsyncIterator[dict[str, Any]]:
        try:
            while True:
                yield {"data": "tick"}
                await asyncio.sleep(0.01)
        finally:  # cancelled, or closed where `send` has raised
            EVENTS.append("endless over")

    return EventSourceResponse(ticks())


async def silent(request: Request) -> Response:
    async def nothing() -> AsyncIterator[dict[str, Any]]:
        yield {"data": "the only one"}
        try:
            await asyncio.sleep(2)
            EVENTS.append("silent given up")
        except asyncio.CancelledError:
            EVENTS.append("silent cancelled")
            raise

    async def closed(message: Any) -> None:
        EVENTS.append("silent closed")

    return EventSourceResponse(nothing(), client_close_handler_callable=closed)


async def fails(request: Request) -> Response:
    async def events() -> AsyncIterator[dict[str, Any]]:
        yield {"data": "one"}
        raise ZeroDivisionError

    return EventSourceResponse(events())


async def events(request: Request) -> Response:
    return JSONResponse(EVENTS)


async def shout(request: Request) -> Response:
    return JSONResponse({"shouted": (await request.json())["text"].upper()})


async def echo(websocket: WebSocket) -> None:
    await websocket.accept(subprotocol="peers")
    async for text in websocket.iter_text():
        if text == "close":
            await websocket.close(4000, "as asked")
            return
        await websocket.send_text(text)


PAGE = """<!doctype html><title>peers</title><pre id="lines"></pre><script>
const lines = []
const finish = name => { lines.push(name) }
async function fetches() {
  const answer = await fetch("/shout", {method: "POST", body: JSON.stringify({text: "é"})})
  finish("fetch " + answer.status + " " + (await answer.json()).shouted)
  const missing = await fetch("/missing")
  finish("fetch " + missing.status)
  const reader = (await fetch("/numbers")).body.getReader()
  let size = 0
  for (let part; !(part = await reader.read()).done;) size += part.value.length
  finish("stream " + size)
  const stopping = new AbortController()
  const endless = await fetch("/endless", {signal: stopping.signal})
  await endless.body.getReader().read()
  stopping.abort()
  finish("aborted")
}
const source = () => new Promise(resolve => {
  const events = new EventSource("/rich")
  events.addEventListener("multi", event => finish("multi " + event.lastEventId + event.data))
  events.addEventListener("json", event => finish("json " + event.data))
  events.addEventListener("last", event => {
    finish("last " + event.data)
    events.close()
    resolve()
  })
})
const talk = () => new Promise(resolve => {
  const socket = new WebSocket("ws://" + location.host + "/ws", ["peers"])
  socket.onopen = () => {
    finish("open " + socket.protocol)
    socket.send("hé")
    socket.send("close")
  }
  socket.onmessage = event => finish("message " + event.data)
  socket.onclose = event => { finish(`closed ${event.code} ${event.reason}`); resolve() }
})
const refused = () => new Promise(resolve => {
  const socket = new WebSocket("ws://" + location.host + "/none")
  socket.onclose = event => { finish("refused " + event.code); resolve() }
})
fetches().then(source).then(talk).then(refused).then(() => {
  document.getElementById("lines").textContent = lines.join("\\n")
  document.title = "done"
})
</script>"""


async def page(request: Request) -> Response:
    return HTMLResponse(PAGE)


app = Starlette(
    routes=[
        Route("/", page),
        Route("/numbers", numbers),
        Route("/rich", rich),
        Route("/pings", pings),
        Route("/endless", endless),
        Route("/silent", silent),
        Route("/fails", fails),
        Route("/events", events),
        Route("/shout", shout, methods=["POST"]),
        WebSocketRoute("/ws", echo),
    ]
)
